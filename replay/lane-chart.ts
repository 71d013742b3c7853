/** Which of a few states holds, step after step. Invariant: each step has one bar, in the lane of its state. */
import type { CustomSeriesRenderItemReturn, SeriesOption } from 'echarts'
import { categoryAxis, plane } from './chart-axes.ts'
import { chartDefaults, ink, palette, renderChart } from './chart-svg.ts'
import type { ChartFrame } from './chart-svg.ts'

export interface LaneChart extends ChartFrame {
  /** Names of the states, top to bottom. */
  readonly lanes: readonly string[]
  /** What happened at each step, and the lane that holds from then on. */
  readonly steps: readonly { readonly name: string; readonly lane: number }[]
}

/** Bars in lanes, one per step, joined where the state changes. */
export function laneChart(chart: LaneChart): Promise<string> {
  const series: SeriesOption[] = [
    {
      type: 'custom',
      data: chart.steps.map(({ lane }, step) => [step, lane]),
      renderItem: ({ dataIndex }, api): CustomSeriesRenderItemReturn => {
        const [x = 0, y = 0] = api.coord([api.value(0), api.value(1)])
        const [width = 0, height = 0] = api.size!([1, 1]) as number[]
        const thick = Math.min(26, height * 0.5)
        const left = x - width / 2
        const before = chart.steps[dataIndex - 1]
        const from = before === undefined ? y : (api.coord([api.value(0), before.lane])[1] ?? y)
        const half = (Math.sign(y - from) * thick) / 2
        return {
          type: 'group',
          children: [
            { type: 'line', shape: { x1: left, x2: left, y1: from + half, y2: y - half }, style: { stroke: palette[0]!, lineWidth: 2 } },
            { type: 'rect', shape: { x: left, y: y - thick / 2, width, height: thick }, style: { fill: palette[0]! } },
          ],
        }
      },
    },
  ]
  const width = chart.width ?? chartDefaults.width
  const x = categoryAxis(
    chart.steps.map(({ name }) => name),
    width,
  )
  const y = { ...categoryAxis(chart.lanes), inverse: true, splitLine: { show: true, lineStyle: { color: ink.grid } } }
  return renderChart({ ...plane(x, y, []), series }, chart)
}
