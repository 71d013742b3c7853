/**
 * Dots on rows: for values that are compared with each other or with a line, where a bar from 0 would say nothing.
 * Invariant: a dot stands at its value, its interval around it; series differ by shape as well as by color.
 */
import type { SeriesOption } from 'echarts'
import { addReferences, categoryAxis, numberAxis, plane, shapes } from './chart-axes.ts'
import type { Axis, ReferenceLine } from './chart-axes.ts'
import { fontFamily, ink, palette, renderChart } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'

/** One dot per row; null leaves it out. */
export interface DotSeries {
  readonly name: string
  readonly values: readonly (number | null)[]
  /** Interval of each value; null leaves it out. */
  readonly intervals?: readonly (readonly [low: number, high: number] | null)[]
  /** Text beside each dot; none without it. */
  readonly labels?: readonly string[]
}

export interface DotChart extends ChartFrame {
  readonly x: Axis
  /** Names of the rows, top to bottom. */
  readonly rows: readonly string[]
  readonly series: readonly DotSeries[]
  /** Vertical lines, e.g. what chance would give. */
  readonly references?: readonly ReferenceLine[]
}

/** Pixels between the dots of two series on one row. */
const spread = 17

/** Dots on named rows over a number, with intervals where there are any. */
export function dotChart(chart: DotChart): Promise<string> {
  const middle = (chart.series.length - 1) / 2
  const dots = chart.series.map(({ name, values, labels }, i): SeriesOption => {
    return {
      type: 'scatter',
      name,
      data: values.flatMap((value, row) => (value === null ? [] : [{ value: [value, row], name: labels?.[row] ?? '' }])),
      symbol: shapes[i % shapes.length]!,
      symbolSize: 10,
      symbolOffset: [0, (i - middle) * spread],
      itemStyle: { color: palette[i % palette.length]!, opacity: 1 },
      label: { show: labels !== undefined, position: 'right', distance: 6, fontFamily, fontSize: 11, color: ink.text, formatter: '{b}' },
    }
  })
  const intervals = chart.series.map(({ intervals: pairs = [] }, i): SeriesOption => {
    return {
      type: 'custom',
      silent: true,
      encode: { x: [0, 1], y: 2 },
      data: pairs.flatMap((pair, row) => (pair === null ? [] : [[...pair, row]])),
      renderItem: (_, api) => {
        const [x1 = 0, y = 0] = api.coord([api.value(0), api.value(2)])
        const [x2 = 0] = api.coord([api.value(1), api.value(2)])
        const at = y + (i - middle) * spread
        return { type: 'line', shape: { x1, x2, y1: at, y2: at }, style: { stroke: palette[i % palette.length]!, lineWidth: 2.5 } }
      },
    }
  })
  const series = [...dots, ...intervals.filter(({ data }) => Array.isArray(data) && data.length > 0)]
  addReferences(series, chart.references, 'xAxis', 0, 'start')
  const x = { ...numberAxis(chart.x), splitLine: { show: true, lineStyle: { color: ink.grid } } }
  const y = { ...categoryAxis(chart.rows), inverse: true, splitLine: { show: false } }
  const names = chart.series.map(({ name }) => name)
  return renderChart(
    { ...plane(x, y, names, { extraTop: chart.references?.length ? 20 : 0, itemWidth: 12, width: chart.width }), series },
    chart,
  )
}
