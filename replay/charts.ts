/**
 * The charts of reports: each takes numbers and gives one static SVG text.
 * Invariant: color is never the only sign; lines also differ by dash, points by shape, and every axis says what it counts.
 */
import type { EChartsOption, SeriesOption } from 'echarts'
import { chartDefaults, fontFamily, ink, palette, renderChart } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'
import { binValues, logTicks } from './histogram-bins.ts'
import { formatNumber } from './number-text.ts'

/** An axis of numbers. */
export interface Axis {
  /** What it counts, with its unit. */
  readonly name: string
  /** `time`: milliseconds since epoch, shown in UTC. @default 'value' */
  readonly scale?: 'value' | 'log' | 'time'
  readonly min?: number
  readonly max?: number
}

/** A horizontal or vertical line that the data are compared with. */
export interface ReferenceLine {
  readonly name: string
  readonly value: number
}

/** Points of one name; null breaks a line. */
export interface PointSeries {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number | null])[]
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
  const series = chart.series.map(({ name, points }, i): SeriesOption => {
    return {
      type: 'line',
      name,
      data: points.map(([x, y]) => [x, y ?? '-']),
      symbol: longest <= 40 ? shapes[i % shapes.length]! : 'none',
      symbolSize: 7,
      sampling: 'lttb',
      lineStyle: { width: 2.25, type: dashes[i % dashes.length]! },
    }
  })
  addReferences(series, chart.references, 'yAxis')
  const names = chart.series.map(({ name }) => name)
  return renderChart({ ...plane(numberAxis(chart.x), numberAxis(chart.y), names), series }, chart)
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
  addReferences(series, chart.references, 'yAxis')
  const names = chart.series.map(({ name }) => name)
  return renderChart({ ...plane(categoryAxis(chart.categories), numberAxis(chart.y, false), names), series }, chart)
}

export interface Histogram extends ChartFrame {
  readonly values: ArrayLike<number>
  /** What a value is, with its unit; `log` needs values above 0, others are counted in the first bin. */
  readonly x: Axis
  /** What is counted. @default 'count' */
  readonly counted?: string
  /** @default 30 */
  readonly bins?: number
  /** Vertical lines, e.g. median and 99th percentile. */
  readonly references?: readonly ReferenceLine[]
}

/** How often values fall into bins of equal width (equal ratio on a log axis). */
export function histogram(chart: Histogram): Promise<string> {
  const { edges, counts } = binValues(chart.values, chart.bins ?? 30, chart.x.scale === 'log')
  const series: SeriesOption[] = [
    {
      type: 'custom',
      encode: { x: [0, 1], y: 2 },
      data: Array.from(counts, (count, i) => [edges[i]!, edges[i + 1]!, count]),
      renderItem: (_, api) => {
        const [left = 0, top = 0] = api.coord([api.value(0), api.value(2)])
        const [right = 0, bottom = 0] = api.coord([api.value(1), 0])
        return {
          type: 'rect',
          shape: { x: left, y: top, width: Math.max(right - left - 1, 0.5), height: bottom - top },
          style: { fill: palette[0]! },
        }
      },
    },
  ]
  addReferences(series, chart.references, 'xAxis')
  const min = edges[0]!
  const max = edges[edges.length - 1]!
  const x = numberAxis({ min, max, ...chart.x })
  // The ends are the least and largest value: odd numbers, not ticks.
  const isLog = chart.x.scale === 'log'
  const ticks = isLog ? { customValues: logTicks(min, max) } : {}
  const labels = isLog ? ticks : { showMinLabel: false, showMaxLabel: false }
  const axis = { ...x, axisTick: ticks, axisLabel: { ...(x['axisLabel'] as object), ...labels } }
  const plot = plane(axis, numberAxis({ name: chart.counted ?? 'count', min: 0 }), [], hasReferences(chart) ? 20 : 0)
  return renderChart({ ...plot, series }, chart)
}

export interface UsageChart extends ChartFrame {
  /** How many items have each code, per level, any order. */
  readonly levels: readonly { readonly name: string; readonly counts: ArrayLike<number> }[]
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
  addReferences(series, [{ name: 'even use', value: 100 / widest }], 'yAxis')
  const x = numberAxis({ name: 'codes, most used first', min: 0, max: widest })
  const names = chart.levels.map(({ name }) => name)
  return renderChart({ ...plane(x, numberAxis({ name: 'share of items, %', min: 0 }), names), series }, chart)
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
      categoryAxis(chart.columns),
      { ...categoryAxis(chart.rows.map(({ name }) => name).reverse()), splitLine: { show: false } },
      [],
      26,
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
  return renderChart({ ...plane(numberAxis(chart.x), numberAxis(chart.y), names, 0, 12), series }, chart)
}

const dashes: readonly ('solid' | number[])[] = ['solid', [8, 4], [2, 3], [10, 3, 2, 3], [5, 2], [1, 2]]
const shapes: readonly string[] = ['circle', 'rect', 'triangle', 'diamond', 'roundRect', 'pin']

type AxisOption = Record<string, unknown>

function hasReferences({ references }: { readonly references?: readonly ReferenceLine[] }): boolean {
  return references !== undefined && references.length > 0
}

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

function numberAxis({ name, scale = 'value', min, max }: Axis, fits = true): AxisOption {
  return {
    type: scale,
    name,
    scale: fits,
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    axisLabel: { ...axisText, hideOverlap: true, formatter: scale === 'time' ? timeLabels : (value: number) => formatNumber(value) },
  }
}

function categoryAxis(names: readonly string[]): AxisOption {
  const longest = Math.max(0, ...names.map((name) => name.length))
  const isCrowded = longest > 4 && names.length * longest > 75
  return {
    type: 'category',
    data: [...names],
    axisTick: { show: false },
    axisLabel: { ...axisText, hideOverlap: true, ...(isCrowded && { rotate: 35, width: 130, overflow: 'truncate' }) },
  }
}

/** The plot area with its axes, below title and legend. */
function plane(x: AxisOption, y: AxisOption, legend: readonly string[], extraTop = 0, itemWidth = 30): EChartsOption {
  const hasLegend = legend.length > 1
  const line = { lineStyle: { color: ink.line } }
  return {
    ...(hasLegend && {
      legend: {
        data: [...legend],
        left: 4,
        top: 30,
        itemWidth,
        itemGap: 18,
        padding: [2, 4],
        textStyle: { fontFamily, fontSize: 13, color: ink.text },
      },
    }),
    grid: { left: 14, right: 28, top: (hasLegend ? 70 : 46) + extraTop, bottom: 12, outerBoundsMode: 'same', outerBoundsContain: 'all' },
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
      axisLine: { show: false },
      axisTick: { show: false },
      ...y,
      nameLocation: 'end',
      nameGap: 10,
      nameTextStyle: { fontFamily, fontSize: 13, color: ink.text, align: 'left', padding: [0, 0, 0, -10] },
    } as NonNullable<EChartsOption['yAxis']>,
  }
}

/** Adds dashed lines with their names to the first series. */
function addReferences(series: SeriesOption[], references: readonly ReferenceLine[] | undefined, axis: 'xAxis' | 'yAxis'): void {
  const first = series[0]
  if (first === undefined || references === undefined || references.length === 0) return
  Object.assign(first, {
    markLine: {
      silent: true,
      symbol: 'none',
      lineStyle: { color: ink.soft, type: [4, 4], width: 1.25 },
      label: { fontFamily, fontSize: 12, color: ink.text, position: axis === 'xAxis' ? 'end' : 'insideEndTop', formatter: '{b}' },
      data: references.map(({ name, value }) => ({ name, [axis]: value })),
    },
  })
}

function labelOf({ value }: { value?: unknown }): string {
  return typeof value === 'number' ? formatNumber(value) : ''
}
