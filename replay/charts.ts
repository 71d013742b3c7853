/**
 * The charts of reports: each takes numbers and gives one static SVG text.
 * Invariant: color is never the only sign; lines also differ by dash, points by shape, and every axis says what it counts.
 */
import type { EChartsOption, SeriesOption } from 'echarts'
import { addReferences, categoryAxis, dashes, numberAxis, plane, shapes } from './chart-axes.ts'
import type { Axis, ReferenceLine } from './chart-axes.ts'
import { chartDefaults, fontFamily, ink, palette, renderChart } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'
import { formatNumber } from './number-text.ts'

/** Points of one name; null breaks a line. */
export interface PointSeries {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number | null])[]
  /** Number of its color, dash and shape, so that a name looks alike in several charts. @default its place among the series */
  readonly look?: number
  /** A thin, pale line, for values that another line smooths. */
  readonly faint?: boolean
}

export interface LineChart extends ChartFrame {
  readonly x: Axis
  readonly y: Axis
  readonly series: readonly PointSeries[]
  /** Horizontal lines to compare with. */
  readonly references?: readonly ReferenceLine[]
}

/** Lines over a number or time. */
export function lineChart(chart: LineChart): Promise<string> {
  const longest = Math.max(0, ...chart.series.map(({ points }) => points.length))
  const series = chart.series.map(({ name, points, faint = false, look }, at): SeriesOption => {
    const i = look ?? at
    return {
      type: 'line',
      name,
      ...(look !== undefined && { color: palette[i % palette.length]! }),
      data: points.map(([x, y]) => [x, y ?? '-']),
      symbol: longest <= 40 ? shapes[i % shapes.length]! : 'none',
      symbolSize: 7,
      z: faint ? 1 : 2,
      sampling: 'lttb',
      lineStyle: faint ? { width: 1, opacity: 0.6, color: ink.line } : { width: 2.25, type: dashes[i % dashes.length]! },
    }
  })
  addReferences(series, chart.references, 'yAxis', chart.series[0]?.points[0]?.[0] ?? 0)
  const names = chart.series.map(({ name }) => name)
  return renderChart(
    { ...plane(numberAxis(chart.x), numberAxis(chart.y), names, { hasPoints: longest <= 40, width: chart.width }), series },
    chart,
  )
}

export interface BarChart extends ChartFrame {
  readonly categories: readonly string[]
  readonly y: Axis
  /** One bar per category; null leaves it out. */
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[]
  readonly references?: readonly ReferenceLine[]
}

/** Bars side by side, grouped by category, each with its value. */
export function barChart(chart: BarChart): Promise<string> {
  const texts = chart.series.flatMap(({ values }) => values.map((value) => formatNumber(value).length))
  const barWidth = (((chart.width ?? chartDefaults.width) - 115) * 0.86) / texts.length
  const hasRoom = Math.max(0, ...texts) * 6 <= barWidth
  const series = chart.series.map(({ name, values }, i): SeriesOption => {
    return {
      type: 'bar',
      name,
      data: values.map((value) => value ?? '-'),
      barMaxWidth: 56,
      barGap: '8%',
      barCategoryGap: '14%',
      itemStyle: { color: palette[i % palette.length]! },
      label: { show: hasRoom, position: 'top', fontFamily, fontSize: 11, color: ink.text, formatter: labelOf },
    }
  })
  addReferences(series, chart.references, 'yAxis', 0)
  const names = chart.series.map(({ name }) => name)
  return renderChart(
    {
      ...plane(categoryAxis(chart.categories, chart.width ?? chartDefaults.width), numberAxis(chart.y, false), names, {
        width: chart.width,
      }),
      series,
    },
    chart,
  )
}

export interface UsageChart extends ChartFrame {
  /** How many items have each code, per level, any order. */
  readonly levels: readonly { readonly name: string; readonly counts: ArrayLike<number> }[]
  /** Upper end of the axis, %, for charts that are compared. */
  readonly max?: number
}

/** Code usage per level: share of items per code, codes sorted by use. A flat line is even use, zeros at the end are dead codes. */
export function usageChart(chart: UsageChart): Promise<string> {
  const widest = Math.max(1, ...chart.levels.map(({ counts }) => counts.length))
  const series = chart.levels.map(({ name, counts }, i): SeriesOption => {
    const sorted = Float64Array.from(counts).sort().reverse()
    const total = sorted.reduce((sum, count) => sum + count, 0)
    const shares = Array.from(sorted, (count) => (total === 0 ? 0 : (100 * count) / total))
    return {
      type: 'line',
      name,
      step: 'end',
      data: [...shares, shares.at(-1) ?? 0].map((share, rank) => [rank, share]),
      symbol: 'none',
      lineStyle: { width: 2.25, type: dashes[i % dashes.length]! },
    }
  })
  addReferences(series, [{ name: 'even use', value: 100 / widest }], 'yAxis', 0)
  const x = numberAxis({ name: 'codes, most used first', min: 0, max: widest })
  const y = numberAxis({ name: 'share of items, %', min: 0, ...(chart.max !== undefined && { max: chart.max }) })
  const names = chart.levels.map(({ name }) => name)
  return renderChart({ ...plane(x, y, names, { hasPoints: false }), series }, chart)
}

export interface HeatStrip extends ChartFrame {
  /** Names along the bottom. */
  readonly columns: readonly string[]
  /** One strip per row, `values[i]` belongs to `columns[i]`; null is left white. */
  readonly rows: readonly { readonly name: string; readonly values: readonly (number | null)[] }[]
  /** What a value is, with its unit. */
  readonly valueName: string
}

/** Strips of cells, darker for larger values; cells carry their number when there is room. */
export function heatStrip(chart: HeatStrip): Promise<string> {
  const values = chart.rows.flatMap((row) => row.values.filter((value) => value !== null))
  const least = Math.min(0, ...values)
  const most = Math.max(least + Number.MIN_VALUE, ...values)
  const cells = chart.rows.flatMap(({ values: row }, y) =>
    row.flatMap((value, x) => {
      if (value === null) return []
      const isDark = (value - least) / (most - least) > 0.55
      return [{ value: [x, chart.rows.length - 1 - y, value], label: { color: isDark ? '#ffffff' : ink.text } }]
    }),
  )
  const isRoomy = chart.columns.length <= 14
  const series: SeriesOption[] = [
    {
      type: 'heatmap',
      data: cells,
      itemStyle: { borderColor: '#ffffff', borderWidth: chart.columns.length <= 80 ? 1 : 0 },
      label: { show: isRoomy, fontFamily, fontSize: 12, formatter: ({ value }) => formatNumber((value as number[])[2]) },
    },
  ]
  const option: EChartsOption = {
    ...plane(
      categoryAxis(chart.columns, chart.width ?? chartDefaults.width),
      { ...categoryAxis(chart.rows.map(({ name }) => name).reverse()), splitLine: { show: false } },
      [],
      { extraTop: 26 },
    ),
    visualMap: {
      min: least,
      max: most,
      orient: 'horizontal',
      left: 8,
      top: 32,
      itemHeight: 120,
      itemWidth: 12,
      calculable: false,
      text: [`${formatNumber(most)} ${chart.valueName}`, formatNumber(least)],
      textStyle: { fontFamily, fontSize: 12, color: ink.soft },
      inRange: { color: ['#f1f6fb', '#9ecae1', '#3182bd', '#08306b'] },
    },
    series,
  }
  return renderChart(option, chart)
}

export interface ScatterChart extends ChartFrame {
  readonly x: Axis
  readonly y: Axis
  readonly series: readonly PointSeries[]
}

/** Points of two numbers. */
export function scatterChart(chart: ScatterChart): Promise<string> {
  const most = Math.max(0, ...chart.series.map(({ points }) => points.length))
  const series = chart.series.map(({ name, points }, i): SeriesOption => {
    return {
      type: 'scatter',
      name,
      data: points.filter(([, y]) => y !== null).map(([x, y]) => [x, y!]),
      symbol: shapes[i % shapes.length]!,
      symbolSize: most > 500 ? 4 : 8,
      itemStyle: { opacity: most > 500 ? 0.5 : 0.85 },
    }
  })
  const names = chart.series.map(({ name }) => name)
  return renderChart({ ...plane(numberAxis(chart.x), numberAxis(chart.y), names, { itemWidth: 12, width: chart.width }), series }, chart)
}

function labelOf({ value }: { value?: unknown }): string {
  return typeof value === 'number' ? formatNumber(value) : ''
}
