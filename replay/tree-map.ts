/**
 * A tree map: areas inside areas, as large as what they hold.
 * Invariant: a cell's area is its value; shade is a second number and never the only sign of the first.
 */
import type { SeriesOption } from 'echarts'
import { fontFamily, ink, renderChart } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'

export interface TreeMapCell {
  /** Written in the cell where there is room. */
  readonly name: string
  /** At least that of all children; what they leave is drawn without a name. */
  readonly value: number
  /** 0 (pale) to 1 (dark). */
  readonly shade: number
  readonly children?: readonly TreeMapCell[]
}

export interface TreeMap extends ChartFrame {
  /** Outer cells, largest first. */
  readonly cells: readonly TreeMapCell[]
}

/** Cells in cells, two deep. */
export function treeMap(chart: TreeMap): Promise<string> {
  const series: SeriesOption[] = [
    {
      type: 'treemap',
      left: 8,
      right: 8,
      top: 34,
      bottom: 8,
      roam: false,
      nodeClick: false,
      breadcrumb: { show: false },
      silent: true,
      sort: 'desc',
      data: chart.cells.map(outerCell),
      itemStyle: { borderColor: '#ffffff', borderWidth: 1, gapWidth: 1 },
      upperLabel: { show: true, height: 18, fontFamily, fontSize: 11, color: ink.text, overflow: 'truncate', padding: [0, 6, 0, 2] },
      label: { fontFamily, fontSize: 11, overflow: 'truncate', padding: 2 },
      levels: [{ itemStyle: { borderWidth: 0, gapWidth: 3 }, upperLabel: { show: false } }, {}, {}],
    },
  ]
  return renderChart({ series }, chart)
}

function outerCell({ name, value, shade, children = [] }: TreeMapCell): Record<string, unknown> {
  if (children.length === 0) return innerCell({ name, value, shade })
  const rest = value - children.reduce((sum, child) => sum + child.value, 0)
  const inner = children.map(innerCell)
  if (rest > 0) inner.push(innerCell({ name: '…', value: rest, shade }))
  return { name, value, children: inner, itemStyle: { color: '#e8edf2', borderColor: '#e8edf2' } }
}

function innerCell({ name, value, shade }: TreeMapCell): Record<string, unknown> {
  return { name, value, itemStyle: { color: shadeColor(shade) }, label: { color: shade > 0.55 ? '#ffffff' : ink.text } }
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
