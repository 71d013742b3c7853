/** Histograms: of values, or of counts that stand in bins already. Invariant: a bar is as wide as its bin. */
import type { SeriesOption } from 'echarts'
import { addReferences, numberAxis, plane } from './chart-axes.ts'
import type { Axis, ReferenceLine } from './chart-axes.ts'
import { palette, renderChart } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'
import { binValues, logTicks } from './histogram-bins.ts'

/** What both kinds have. */
interface HistogramFrame extends ChartFrame {
  /** What a value is, with its unit; `log` needs values above 0, others are counted in the first bin. */
  readonly x: Axis
  /** What is counted. @default 'count' */
  readonly counted?: string
  /** Vertical lines, e.g. median and 99th percentile. */
  readonly references?: readonly ReferenceLine[]
}

export interface Histogram extends HistogramFrame {
  readonly values: ArrayLike<number>
  /** @default 30 */
  readonly bins?: number
}

/** How often values fall into bins of equal width (equal ratio on a log axis). */
export function histogram(chart: Histogram): Promise<string> {
  const { edges, counts } = binValues(chart.values, chart.bins ?? 30, chart.x.scale === 'log')
  return drawBins(
    chart,
    Array.from(counts, (count, i) => ({ from: edges[i]!, to: edges[i + 1]!, count })),
  )
}

/** Values of [from, to). */
export interface Bin {
  readonly from: number
  readonly to: number
  readonly count: number
}

export interface BinnedHistogram extends HistogramFrame {
  /** Ascending; empty ones at either end are left out. On a log axis a first bin from 0 is drawn as wide as half its end. */
  readonly bins: readonly Bin[]
}

/** A histogram of counts that were kept in bins. */
export function binnedHistogram(chart: BinnedHistogram): Promise<string> {
  const first = chart.bins.findIndex(({ count }) => count > 0)
  const last = chart.bins.findLastIndex(({ count }) => count > 0)
  const shown = first < 0 ? [] : chart.bins.slice(first, last + 1)
  const isLog = chart.x.scale === 'log'
  return drawBins(chart, isLog ? shown.map((bin) => (bin.from > 0 ? bin : { ...bin, from: bin.to / 2 })) : shown)
}

function drawBins(chart: HistogramFrame, bins: readonly Bin[]): Promise<string> {
  const isLog = chart.x.scale === 'log'
  const series: SeriesOption[] = [
    {
      type: 'custom',
      encode: { x: [0, 1], y: 2 },
      data: bins.map(({ from, to, count }) => [from, to, count]),
      renderItem: (_, api) => {
        const [left = 0, top = 0] = api.coord([api.value(0), api.value(2)])
        const [right = 0, bottom = 0] = api.coord([api.value(1), 0])
        return {
          type: 'rect',
          shape: { x: left, y: top, width: Math.max(right - left - 1, 0.5), height: bottom - top },
          style: { fill: palette[0]!, opacity: 0.75 },
        }
      },
    },
  ]
  const references = chart.references ?? []
  addReferences(series, references, 'xAxis', 0)
  const lines = references.map(({ value }) => value).filter((value) => Number.isFinite(value) && (!isLog || value > 0))
  const min = Math.min(bins[0]?.from ?? (isLog ? 1 : 0), ...lines)
  const max = Math.max(bins.at(-1)?.to ?? (isLog ? 10 : 1), ...lines)
  const x = numberAxis({ min, max, ...chart.x })
  // The ends are the least and largest value: odd numbers, not ticks.
  const ticks = isLog ? { customValues: logTicks(min, max) } : {}
  const labels = isLog ? ticks : { showMinLabel: false, showMaxLabel: false }
  const axis = { ...x, axisTick: ticks, axisLabel: { ...(x['axisLabel'] as object), ...labels } }
  const plot = plane(axis, numberAxis({ name: chart.counted ?? 'count', min: 0 }), [], { extraTop: references.length > 0 ? 20 : 0 })
  return renderChart({ ...plot, series }, chart)
}
