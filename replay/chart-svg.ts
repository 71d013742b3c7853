/**
 * Draws a chart as one static SVG text: echarts on the server side, then everything that only a live page needs is taken out.
 * Invariant: the same chart gives the same bytes, whatever was drawn before it and wherever; nothing in it moves, runs or loads.
 */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import type * as ECharts from 'echarts'
import type { EChartsOption } from 'echarts'

/** What every chart has. */
export interface ChartFrame {
  /** Drawn above the chart, and read to those who cannot see it. */
  readonly title: string
  /** What the chart shows, in a sentence, for those who cannot see it. */
  readonly description: string
  /** Pixels. @default 560 */
  readonly width?: number
  /** Pixels. @default 330 */
  readonly height?: number
}

/** Size of a chart unless it says otherwise, pixels. */
export const chartDefaults = { width: 560, height: 330 } as const

/** Okabe and Ito's colors, told apart by people with any kind of color vision; yellow is left out: too pale on white. */
export const palette: readonly string[] = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#3B3B3B']

/** Text and line colors on white; text has a contrast of at least 7. */
export const ink = { text: '#1f2933', soft: '#47525e', line: '#7b8794', grid: '#e4e7eb' } as const

export const fontFamily = 'system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif'

const load = createRequire(import.meta.url)

/**
 * SVG text of an echarts option. Loads echarts on first use.
 * @param option - complete option without title; animation and local time are turned off here
 */
export async function renderChart(option: EChartsOption, frame: ChartFrame): Promise<string> {
  // As one file: its ES modules are hundreds of files, and take four times as long.
  const echarts = load('echarts') as typeof ECharts
  const { width, height } = { ...chartDefaults, ...frame }
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption({
      animation: false,
      useUTC: true,
      color: [...palette],
      textStyle: { fontFamily, fontSize: 13, color: ink.text },
      title: {
        text: frame.title,
        left: 8,
        top: 6,
        padding: 0,
        textStyle: { fontFamily, fontSize: 16, fontWeight: 600, color: ink.text, width: width - 16, overflow: 'truncate' },
      },
      ...option,
    })
    return staticSvg(chart.renderToSVGString(), frame)
  } finally {
    chart.dispose()
  }
}

/** Takes out hover rules and bookkeeping, names ids by content, and adds title and description. */
export function staticSvg(drawn: string, { title, description }: ChartFrame): string {
  const still = drawn
    .replace(/<style[^>]*>[\s\S]*?<\/style>/g, '')
    .replace(/ (?:class|ecmeta_\w+|pointer-events|xmlns:xlink|baseProfile)="[^"]*"/g, '')
    .replace(/(id="|url\(#)zr\d+-/g, '$1zr-')
    .replace(/\n\s*\n/g, '\n')
    .trim()
  // Ids of two charts on one page must differ, and must not depend on how many charts were drawn before.
  const prefix = `c${createHash('sha256').update(`${title}\n${description}\n${still}`).digest('hex').slice(0, 10)}`
  const named = still.replace(/(id="|url\(#)zr-/g, `$1${prefix}-`)
  const label = `<title id="${prefix}-title">${escapeXml(title)}</title>\n<desc id="${prefix}-desc">${escapeXml(description)}</desc>`
  return named.replace(/^<svg ([^>]*)>/, (_, attributes: string) => {
    return `<svg ${attributes} role="img" aria-labelledby="${prefix}-title ${prefix}-desc">\n${label}`
  })
}

/** Text as it stands safely in HTML and SVG, in elements and in quoted attributes. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;')
}
