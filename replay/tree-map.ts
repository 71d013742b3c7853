/**
 * A tree map: areas inside areas, as large as what they hold.
 * Invariant: a cell's area is its value; shade is a second number and never the only sign of the first. A cell too small for its name
 * stands with its like in one cell that says how many they are: `12 others`, or `+12`.
 */
import { escapeXml, fontFamily, ink, chartDefaults, staticSvg } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'
import { formatNumber } from './number-text.ts'

export interface TreeMapCell {
  /** Written in the cell. */
  readonly name: string
  /** At least that of all children. */
  readonly value: number
  /** 0 (pale) to 1 (dark). */
  readonly shade: number
  /** What the cell is, shown where the pointer rests. */
  readonly detail?: string
  /** Written below the name where there is room. */
  readonly example?: string
  /** Largest first. */
  readonly children?: readonly TreeMapCell[]
  /** How many cells are not among the children; what the children leave of the value is theirs. @default 0 */
  readonly left?: number
}

export interface TreeMap extends ChartFrame {
  /** Outer cells, largest first. */
  readonly cells: readonly TreeMapCell[]
}

interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

const headRoom = 34
const edge = 8
const nameHeight = 18
const fontSize = 13
/** A digit and a bit, so that a text that is taken to fit does. */
const letterWidth = 7.4
const padding = 6
const least = { width: 30, height: 18 } as const
const paleInk = '#e8edf2'

/** Cells in cells, two deep. */
export function treeMap(chart: TreeMap): string {
  const { width, height } = { ...chartDefaults, ...chart }
  const box = { x: edge, y: headRoom, width: width - 2 * edge, height: height - headRoom - edge }
  const title = fitted(chart.title, width - 2 * edge, 9)
  const drawn = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${fontFamily}" font-size="${fontSize}">
<text x="8" y="20" font-size="16" font-weight="600" fill="${ink.text}">${escapeXml(title)}</text>
${placed(chart.cells, 0, 0, box).map(outerCell).join('\n')}
</svg>`
  return staticSvg(drawn, chart)
}

interface Placed {
  /** `brief`: written where the name does not fit. */
  readonly cell: TreeMapCell & { readonly brief?: string }
  readonly box: Box
  /** Whether it stands for several that were too small. */
  readonly isRest: boolean
}

/**
 * Cells with their boxes; the smallest join the rest until each that is left has room for its name.
 * @param left, leftValue - how many cells are in the rest already, and what they hold
 */
function placed(cells: readonly TreeMapCell[], left: number, leftValue: number, box: Box): Placed[] {
  for (let kept = cells.length; kept >= 0; kept--) {
    const own = cells.slice(0, kept)
    const small = cells.slice(kept)
    const count = left + small.length
    const value = leftValue + small.reduce((sum, cell) => sum + cell.value, 0)
    const rest = `${formatNumber(count)} ${count === 1 ? 'other' : 'others'}`
    const all =
      value > 0
        ? [...own, { name: rest, value, shade: 0, brief: `+${formatNumber(count)}`, detail: `${rest}: ${formatNumber(value)}` }]
        : own
    const boxes = squarified(
      all.map((cell) => cell.value),
      box,
    )
    const fits = boxes.slice(0, kept).every(({ width, height }) => width >= least.width && height >= least.height)
    if (fits) return all.map((cell, i) => ({ cell, box: boxes[i]!, isRest: i === kept }))
  }
  return []
}

function outerCell({ cell, box, isRest }: Placed): string {
  const { name, value, detail, children = [], left = 0 } = cell
  const inside = { x: box.x + 1, y: box.y + nameHeight, width: box.width - 3, height: box.height - nameHeight - 2 }
  if (isRest || children.length === 0 || inside.width < least.width || inside.height < least.height) return leaf({ cell, box, isRest })
  const held = children.reduce((sum, child) => sum + child.value, 0)
  return `<g>${hint(detail)}<rect ${frame(box, 2)} fill="${paleInk}"/>${line(name, box, 14, ink.text)}
${placed(children, left, value - held, inside)
  .map(leaf)
  .join('\n')}</g>`
}

function leaf({ cell: { name, brief = name, shade, detail, example }, box, isRest }: Placed): string {
  const shown = fitted(name, box.width - padding, letterWidth) === name ? name : brief
  const color = isRest ? '#f5f7fa' : shadeColor(shade)
  const text = isRest ? ink.soft : shade > 0.55 ? '#ffffff' : ink.text
  const second = example !== undefined && box.width >= 84 && box.height >= 36 ? line(example, box, 31, text) : ''
  return `<g>${hint(detail)}<rect ${frame(box, 1)} fill="${color}"${isRest ? ` stroke="${paleInk}"` : ''}/>${line(shown, box, 14, text)}${second}</g>`
}

function hint(detail: string | undefined): string {
  return detail === undefined ? '' : `<title>${escapeXml(detail)}</title>`
}

/** Attributes of a rectangle with a gap to the next. */
function frame({ x, y, width, height }: Box, gap: number): string {
  return `x="${short(x)}" y="${short(y)}" width="${short(Math.max(0, width - gap))}" height="${short(Math.max(0, height - gap))}"`
}

function line(text: string, { x, y, width, height }: Box, down: number, color: string): string {
  const shown = height < least.height ? '' : fitted(text, width - padding, letterWidth)
  return shown === '' ? '' : `<text x="${short(x + 3)}" y="${short(y + down)}" fill="${color}">${escapeXml(shown)}</text>`
}

/** As much of a text as fits, with … behind it; nothing where that would be less than two letters. */
function fitted(text: string, width: number, letter: number): string {
  const letters = Array.from(text)
  // Letters of East Asia are about twice as wide.
  const widthOf = (one: string): number => (one.codePointAt(0)! >= 0x2e80 ? 2 * letter : letter)
  let used = 0
  for (const one of letters) used += widthOf(one)
  if (used <= width) return text
  let [most, end] = [letter, 0]
  while (end < letters.length && most + widthOf(letters[end]!) <= width) most += widthOf(letters[end++]!)
  return end < 2 ? '' : `${letters.slice(0, end).join('').trimEnd()}…`
}

function short(value: number): string {
  return String(Math.round(value * 100) / 100)
}

/**
 * Boxes as large as the values, each as square as can be (squarified: a row takes boxes while they grow squarer).
 * @param values - above 0, largest first
 */
function squarified(values: readonly number[], box: Box): Box[] {
  const boxes: Box[] = []
  let { x, y, width, height } = box
  let left = values.reduce((sum, value) => sum + value, 0)
  for (let from = 0; from < values.length;) {
    const side = Math.min(width, height)
    const scale = left > 0 ? (width * height) / left : 0
    let to = from
    let [row, best] = [0, Infinity]
    while (to < values.length) {
      const next = row + values[to]!
      const own = values.slice(from, to + 1)
      const thick = (next * scale) / side
      const worst = Math.max(...own.map((value) => Math.max((value * scale) / thick / thick, (thick * thick) / (value * scale))))
      if (worst > best) break
      ;[row, best] = [next, worst]
      to++
    }
    to = Math.max(to, from + 1)
    row ||= values[from]!
    const thick = side > 0 ? (row * scale) / side : 0
    let along = 0
    for (const value of values.slice(from, to)) {
      const length = row > 0 ? (side * value) / row : 0
      boxes.push(width >= height ? { x, y: y + along, width: thick, height: length } : { x: x + along, y, width: length, height: thick })
      along += length
    }
    if (width >= height) [x, width] = [x + thick, width - thick]
    else [y, height] = [y + thick, height - thick]
    left -= row
    from = to
  }
  return boxes
}

const stops = [
  [0xdf, 0xec, 0xf7],
  [0x9e, 0xca, 0xe1],
  [0x31, 0x82, 0xbd],
  [0x08, 0x30, 0x6b],
] as const

/** Color of a shade between pale and dark blue. */
function shadeColor(shade: number): string {
  const place = Math.min(1, Math.max(0, shade)) * (stops.length - 1)
  const from = Math.min(stops.length - 2, Math.floor(place))
  const channels = stops[from]!.map((low, i) => Math.round(low + (place - from) * (stops[from + 1]![i]! - low)))
  return `#${channels.map((value) => value.toString(16).padStart(2, '0')).join('')}`
}
