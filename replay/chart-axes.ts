/**
 * Axes, legend and lines to compare with: what the charts share.
 * Invariant: a reference line is always inside the plot.
 */
import type { EChartsOption, SeriesOption } from 'echarts'
import { chartDefaults, fontFamily, ink } from './chart-svg.ts'
import { formatNumber } from './number-text.ts'

/** An axis of numbers. */
export interface Axis {
  /** What it counts, with its unit. */
  readonly name: string
  /** `time`: milliseconds since epoch, shown in UTC. @default 'value' */
  readonly scale?: 'value' | 'log' | 'time'
  readonly min?: number
  readonly max?: number
  /** Nothing stands between two whole numbers: no ticks there. @default false */
  readonly whole?: boolean
}

/** A horizontal or vertical line that the data are compared with. */
export interface ReferenceLine {
  readonly name: string
  readonly value: number
}

/** Dashes of lines, by series. */
export const dashes: readonly ('solid' | number[])[] = ['solid', [8, 4], [2, 3], [10, 3, 2, 3], [5, 2], [1, 2]]
/** Shapes of points, by series: each stands with its middle where the point is. */
export const shapes: readonly string[] = ['circle', 'rect', 'triangle', 'diamond', 'roundRect', 'emptyCircle']

/** An axis as echarts takes it. */
export type AxisOption = Record<string, unknown>

/** Labels of a time axis, coarser units in words that cannot be taken for hours. */
const timeLabels = {
  year: '{yyyy}',
  month: '{MMM} {yyyy}',
  day: '{d} {MMM}',
  hour: '{HH}:{mm}',
  minute: '{HH}:{mm}',
  second: '{HH}:{mm}:{ss}',
  millisecond: '{ss}.{SSS} s',
}

const axisText = { fontFamily, fontSize: 12, color: ink.soft }

/** @param fits - the axis need not begin at 0 */
export function numberAxis({ name, scale = 'value', min, max, whole = false }: Axis, fits = true): AxisOption {
  return {
    type: scale,
    name,
    scale: fits,
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(whole && { minInterval: 1 }),
    axisLabel: { ...axisText, hideOverlap: true, formatter: scale === 'time' ? timeLabels : (value: number) => formatNumber(value) },
  }
}

/**
 * An axis of names.
 * @param width - pixels of a horizontal axis, on which names without room are slanted; undefined: vertical
 */
export function categoryAxis(names: readonly string[], width?: number): AxisOption {
  const longest = Math.max(0, ...names.map((name) => name.length))
  const isCrowded = width !== undefined && longest > 4 && names.length * (longest + 1) * 6.2 > width - 95
  return {
    type: 'category',
    data: [...names],
    axisTick: { show: false },
    axisLabel: { ...axisText, hideOverlap: width !== undefined, ...(isCrowded && { rotate: 35, width: 130, overflow: 'truncate' }) },
  }
}

/** What differs between plot areas. */
interface PlaneLook {
  /** Pixels left free above. */
  readonly extraTop?: number
  /** Width of a sign in the legend, pixels. */
  readonly itemWidth?: number
  /** Whether lines have points on them. @default true */
  readonly hasPoints?: boolean
  /** Width of the chart, pixels, which says how many lines a long legend takes. @default 560 */
  readonly width?: number | undefined
}

/** Lines of a legend: names are wrapped where a line is full. Widths are estimated where no font is known. */
function legendLines(names: readonly string[], itemWidth: number, width: number): number {
  let [lines, used] = [1, 0]
  for (const name of names) {
    const own = itemWidth + 5 + 7.5 * name.length + legendGap
    if (used > 0 && used + own - legendGap > width - 16) {
      lines++
      used = 0
    }
    used += own
  }
  return lines
}

/** Names are wider in some fonts than reckoned: with less they run into the next sign. */
const legendGap = 28

/** The plot area with its axes, below title and legend. */
export function plane(x: AxisOption, y: AxisOption, legend: readonly string[], look: PlaneLook = {}): EChartsOption {
  const { extraTop = 0, itemWidth = 30, hasPoints = true, width = chartDefaults.width } = look
  const hasLegend = legend.length > 1
  const line = { lineStyle: { color: ink.line } }
  // Widths are estimated where no font is known: long names get a margin.
  const longest = Math.max(0, ...(y['type'] === 'category' ? (y['data'] as string[]) : []).map((name) => name.length))
  return {
    ...(hasLegend && {
      legend: {
        // Lines without points have none in the legend either.
        data: legend.map((name) => (hasPoints ? name : { name, itemStyle: { opacity: 0 } })),
        left: 4,
        top: 30,
        itemWidth,
        itemGap: legendGap,
        padding: [2, 4],
        textStyle: { fontFamily, fontSize: 13, color: ink.text },
      },
    }),
    grid: {
      left: 14 + longest,
      right: 28,
      top: (hasLegend ? 70 + (6 + legendGap) * (legendLines(legend, itemWidth, width) - 1) : 46) + extraTop,
      bottom: 12,
      outerBoundsMode: 'same',
      outerBoundsContain: 'all',
    },
    xAxis: {
      splitLine: { show: false },
      axisLine: { ...line, onZero: false },
      ...x,
      nameLocation: 'middle',
      nameGap: 28,
      nameTextStyle: { fontFamily, fontSize: 13, color: ink.text },
    } as NonNullable<EChartsOption['xAxis']>,
    yAxis: {
      splitLine: { lineStyle: { color: ink.grid } },
      axisLine: { show: false, onZero: false },
      axisTick: { show: false },
      ...y,
      nameLocation: 'end',
      nameGap: 10,
      nameTextStyle: { fontFamily, fontSize: 13, color: ink.text, align: 'left', padding: [0, 0, 0, -10] },
    } as NonNullable<EChartsOption['yAxis']>,
  }
}

/**
 * Adds dashed lines with their names to the first series, and points that are not drawn, so that the axis reaches them.
 * @param anchor - any place on the other axis
 * @param labelAt - end of a vertical line that bears its name
 */
export function addReferences(
  series: SeriesOption[],
  references: readonly ReferenceLine[] | undefined,
  axis: 'xAxis' | 'yAxis',
  anchor: number,
  labelAt: 'start' | 'end' = 'end',
): void {
  const first = series[0]
  if (first === undefined || references === undefined || references.length === 0) return
  Object.assign(first, {
    markLine: {
      z: 10,
      silent: true,
      symbol: 'none',
      lineStyle: { color: ink.soft, type: [4, 4], width: 1.25 },
      label: { fontFamily, fontSize: 12, color: ink.text, position: axis === 'xAxis' ? labelAt : 'insideEndTop', formatter: '{b}' },
      data: references.map(({ name, value }) => ({ name, [axis]: value })),
    },
  })
  const data = references.map(({ value }) => (axis === 'xAxis' ? [value, anchor] : [anchor, value]))
  series.push({ type: 'scatter', symbol: 'none', silent: true, data })
}
