/**
 * Builds a report as one HTML file that needs nothing else: no network, no script, readable on paper.
 * Invariant: all text is escaped, and the same content gives the same bytes.
 */
import { SidestreamError } from '../schemas/index.ts'
import { escapeXml } from './chart-svg.ts'
import { formatNumber } from './number-text.ts'
import { pageStyle } from './page-style.ts'

/** One piece of a section. */
export type Block =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'list'; readonly items: readonly string[] }
  | { readonly kind: 'code'; readonly text: string }
  /** A sentence that must not be missed; the tone is also said in its first word. */
  | { readonly kind: 'note'; readonly tone: 'good' | 'bad' | 'neutral'; readonly text: string }
  /** Headline numbers side by side. */
  | { readonly kind: 'figures'; readonly figures: readonly Figure[] }
  | Table
  /** Charts, side by side where there is room; each scrolls where there is less than its width. */
  | { readonly kind: 'charts'; readonly charts: readonly Chart[] }
  /** A chart over the whole width, which scrolls where there is less. */
  | { readonly kind: 'wide'; readonly chart: Chart }

/** A headline number. */
export interface Figure {
  readonly label: string
  readonly value: string | number | null
  readonly note?: string
}

/** A table; a column of numbers is right-aligned. */
export interface Table {
  readonly kind: 'table'
  readonly caption?: string
  readonly columns: readonly string[]
  /** Digits after the point, by column, so that points stand below each other; null: as few as say all. */
  readonly decimals?: readonly (number | null)[]
  /** Rows are one line high, and the table scrolls where it is wider than the page. */
  readonly oneLine?: boolean
  /** Cells by column; null is shown as a dash. */
  readonly rows: readonly (readonly (string | number | null)[])[]
}

/** A chart as `charts.ts` draws it. */
export interface Chart {
  readonly svg: string
  readonly caption?: string
}

export interface Section {
  readonly title: string
  readonly blocks: readonly Block[]
}

export interface Page {
  readonly title: string
  /** One or two sentences below the title. */
  readonly summary?: string
  readonly sections: readonly Section[]
  /** Small print at the end, e.g. versions and seeds. */
  readonly footer?: string
}

/**
 * HTML text of a page.
 * @throws SIDESTREAM_USAGE_INVALID when a chart is no static SVG
 */
export function htmlPage({ title, summary, sections, footer }: Page): string {
  const contents = sections.map((section, i) => `<li><a href="#s${i + 1}">${escapeXml(section.title)}</a></li>`)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${escapeXml(title)}</title>
<style>${pageStyle}</style>
</head>
<body>
<main>
<header>
<h1>${escapeXml(title)}</h1>${summary === undefined ? '' : `\n<p class="summary">${escapeXml(summary)}</p>`}
</header>${sections.length > 3 ? `\n<nav aria-label="Contents"><ol>${contents.join('')}</ol></nav>` : ''}
${sections.map(sectionHtml).join('\n')}${footer === undefined ? '' : `\n<footer>${escapeXml(footer)}</footer>`}
</main>
</body>
</html>
`
}

function sectionHtml({ title, blocks }: Section, index: number): string {
  return `<section id="s${index + 1}">\n<h2>${escapeXml(title)}</h2>\n${blocks.map(blockHtml).join('\n')}\n</section>`
}

function blockHtml(block: Block): string {
  switch (block.kind) {
    case 'text':
      return `<p>${escapeXml(block.text)}</p>`
    case 'list':
      return `<ul>${block.items.map((item) => `<li>${escapeXml(item)}</li>`).join('')}</ul>`
    case 'code':
      return `<pre tabindex="0"><code>${escapeXml(block.text)}</code></pre>`
    case 'note':
      return `<p class="note ${block.tone}">${escapeXml(block.text)}</p>`
    case 'figures':
      return `<dl class="figures">${block.figures.map(figureHtml).join('')}</dl>`
    case 'table':
      return tableHtml(block)
    case 'wide':
      return `<div class="wide">${chartHtml(block.chart)}</div>`
    case 'charts':
      return `<div class="charts">${block.charts.map(chartHtml).join('')}</div>`
  }
}

function figureHtml({ label, value, note }: Figure): string {
  const small = note === undefined ? '' : `<dd class="hint">${escapeXml(note)}</dd>`
  return `<div><dt>${escapeXml(label)}</dt><dd>${cellText(value)}</dd>${small}</div>`
}

function tableHtml({ caption, columns, rows, decimals = [], oneLine = false }: Table): string {
  const classes = columns.map((_, i) => {
    const cells = rows.map((row) => row[i] ?? null)
    return isNumeric(cells) ? ' class="number"' : isCodes(cells) ? ' class="codes"' : ''
  })
  const head = columns.map((name, i) => `<th scope="col"${classes[i]!}>${escapeXml(name)}</th>`).join('')
  const body = rows.map(
    (row) => `<tr>${columns.map((_, i) => `<td${classes[i]!}>${cellText(row[i] ?? null, decimals[i])}</td>`).join('')}</tr>`,
  )
  const title = caption === undefined ? '' : `<caption>${escapeXml(caption)}</caption>`
  return `<div class="scroll" tabindex="0"><table${oneLine ? ' class="lines"' : ''}>${title}<thead><tr>${head}</tr></thead><tbody>\n${body.join('\n')}\n</tbody></table></div>`
}

function isNumeric(cells: readonly (string | number | null)[]): boolean {
  const given = cells.filter((cell) => cell !== null)
  return given.length > 0 && given.every((cell) => typeof cell === 'number')
}

/** Numbers joined by hyphens, such as semantic IDs, which must not break there. */
function isCodes(cells: readonly (string | number | null)[]): boolean {
  return (
    cells.some((cell) => cell !== null) && cells.every((cell) => cell === null || (typeof cell === 'string' && /^\d+(-\d+)+$/.test(cell)))
  )
}

function cellText(value: string | number | null, decimals?: number | null): string {
  return typeof value === 'string' ? escapeXml(value) : formatNumber(value, decimals ?? undefined)
}

function chartHtml({ svg, caption }: Chart): string {
  if (!svg.startsWith('<svg ') || /<(?:script|foreignObject|iframe|image)|[\s"']on\w+=|href=/i.test(svg.replace(/>[^<]*</g, '><'))) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'a chart must be a static SVG, as the functions of charts.ts draw it')
  }
  return `<figure><div class="scroll" tabindex="0">${svg}</div>${caption === undefined ? '' : `<figcaption>${escapeXml(caption)}</figcaption>`}</figure>`
}
