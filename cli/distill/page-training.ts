/** Pictures of how training went: loss, source weights, lambda*, temperatures. */

import { formatNumber, heatStrip, lineChart } from '../../replay/index.ts'
import type { Block, Chart, PointSeries, Section } from '../../replay/index.ts'
import type { DistillReport } from '../../pipeline/index.ts'
import { countText, smooth } from '../demo/report-text.ts'
import { idleStageText } from './left-out.ts'

/** Loss of every step, per stage and source. */
export async function lossSection(report: DistillReport): Promise<Section> {
  const { trace, stages } = report
  const title = 'Loss'
  if (trace.steps.loss.length === 0) return { title, blocks: [{ kind: 'text', text: 'No step was taken.' }] }
  const charts: Chart[] = []
  for (const [stage, { name, steps, losses, farthest }] of stages.entries()) {
    if (steps === 0) continue
    const series = seriesBySource(trace, stage, trace.steps.loss).flatMap(({ name: source, points, look }): PointSeries[] => {
      const smoothed = smooth(
        points.map(([, loss]) => loss ?? NaN),
        Math.max(1, Math.round(points.length / 20)),
      )
      return [{ name: source, ...(look !== undefined && { look }), points: points.map(([step], i) => [step, smoothed[i]!] as const) }]
    })
    charts.push({
      svg: await lineChart({
        title: series.length === 1 ? `Stage ${name}: ${series[0]!.name}` : `Stage ${name}`,
        description: `loss per pass: ${losses.map((loss) => formatNumber(loss, 3)).join(', ')}`,
        ...(stages.filter((one) => one.steps > 0).length === 1 && { width: 760 }),
        x: { name: 'step', whole: true },
        y: { name: 'loss, moving mean' },
        series,
      }),
      caption: `${countText(steps, 'step')}${farthest > 0 ? `, without the ${countText(farthest, 'row')} farthest apart` : ''}; mean loss per pass: ${losses.map((loss) => formatNumber(loss, 3)).join(', ')}.${series.length > 1 ? ' Losses of two sources cannot be compared: their negatives and terms differ.' : ''}`,
    })
  }
  const idle = stages.flatMap(({ name }, at) => {
    const why = idleStageText(report, at)
    return why === null ? [] : [`Stage ${name}: ${why}`]
  })
  return { title, blocks: [{ kind: 'charts', charts }, ...(idle.length > 0 ? [{ kind: 'list' as const, items: idle }] : [])] }
}

/** Weights of sources and where they come from. */
export async function balanceSection({ trace, stages }: DistillReport): Promise<Section> {
  const title = 'How sources shared the steps'
  const taken = stages.filter(({ steps }) => steps > 0)
  const names = [...new Set(taken.flatMap(({ sources }) => Object.keys(sources)))]
  if (names.length < 2) return { title, blocks: [{ kind: 'text', text: 'There was one source: it took every step.' }] }
  const shares = (source: string): (number | null)[] =>
    taken.map(({ steps, sources }) => (sources[source] === undefined ? null : Math.round((1000 * sources[source].steps) / steps) / 10))
  const charts: Chart[] = [
    {
      svg: await heatStrip({
        title: 'Share of the steps of each stage',
        description: taken.map(({ name }) => name).join(', '),
        columns: taken.map(({ name }) => name),
        rows: names.map((name) => ({ name, values: shares(name) })),
        valueName: '% of the steps',
        height: 130 + 32 * names.length,
        ...(trace.balances.length === 0 && { width: 760 }),
      }),
      caption: 'Each step takes all of its rows from one source. White: the stage does not train on it.',
    },
  ]
  for (const { stage, sources, tasks, scores, weights, effectiveSources } of trace.balances) {
    charts.push({
      svg: await heatStrip({
        title: `Likeness to the tasks, ${stages[stage]?.name ?? stage}`,
        description: sources.map((name, s) => `${name} ${formatNumber(weights[s], 2)}`).join(', '),
        columns: tasks,
        rows: sources.map((name, s) => ({ name, values: scores[s]! })),
        valueName: 'mean cosine',
        height: 130 + 42 * sources.length,
      }),
      caption: `Mean cosine of each source and held-out task under the Sinkhorn plan. Weights: ${sources.map((name, s) => `${name} ${formatNumber(weights[s], 2)}`).join(', ')}; as many as ${formatNumber(effectiveSources, 1)} sources drawn evenly.`,
    })
  }
  return { title, blocks: [{ kind: 'charts', charts }] }
}

/** lambda* and its F1, over the run. */
export async function miningSection({ trace }: DistillReport): Promise<Section> {
  const title = 'Hard negatives'
  const { mined } = trace
  if (mined.length === 0) return { title, blocks: [{ kind: 'text', text: 'No stage mined hard negatives.' }] }
  const names = [...new Set(mined.map(({ source }) => source))]
  const series = (value: 'lambda' | 'f1'): PointSeries[] =>
    names.map((name) => ({
      name,
      look: trace.sources.indexOf(name),
      points: mined.filter(({ source }) => source === name).map((one) => [one.step, one[value]] as const),
    }))
  const charts: Chart[] = [
    {
      svg: await lineChart({
        title: 'lambda*, the threshold with the best F1',
        description: names.join(', '),
        x: { name: 'step of the run', whole: true },
        y: { name: 'cosine', max: 1 },
        series: series('lambda'),
      }),
      caption: 'Negatives at or above lambda* are taken for false ones. It moves with the head and with the size of its sample.',
    },
    {
      svg: await lineChart({
        title: 'F1 at lambda*',
        description: names.join(', '),
        x: { name: 'step of the run', whole: true },
        y: { name: 'F1', min: 0, max: 1 },
        series: series('f1'),
      }),
      caption: 'How well the cosine tells positives from the other pairs of the sample.',
    },
  ]
  const rows = names.map((name) => {
    const own = mined.filter(({ source }) => source === name)
    return [
      name,
      own.length,
      own.reduce((sum, { dropped }) => sum + dropped, 0),
      own.reduce((sum, { empty }) => sum + empty, 0),
      own.at(-1)!.lambda,
      own.at(-1)!.f1,
    ]
  })
  const table: Block = {
    kind: 'table',
    columns: ['source', 'minings', 'false negatives dropped', 'places left empty', 'last lambda*', 'its F1'],
    decimals: [null, 0, 0, 0, 4, 4],
    rows,
  }
  // One point is no curve.
  const isCurve = mined.length > names.length
  return { title, blocks: isCurve ? [{ kind: 'charts', charts }, table] : [table] }
}

/** Temperatures that were learned. */
export async function temperatureSection({ trace, trainer }: DistillReport): Promise<Section> {
  const title = 'Temperatures'
  const learned = (trainer.sources ?? []).filter(({ tauMode }) => tauMode === 'learned').map(({ name }) => name)
  const fixed = trace.sources.filter((name) => !learned.includes(name))
  const last = (name: string): number | undefined => trace.steps.tau[trace.steps.source.lastIndexOf(trace.sources.indexOf(name))]
  const said = fixed.map((name) => `${name} ${formatNumber(last(name))}`).join(', ')
  const blocks: Block[] = fixed.length > 0 ? [{ kind: 'text', text: `Fixed: ${said}.` }] : []
  const series = learned.flatMap((name): PointSeries[] => {
    const source = trace.sources.indexOf(name)
    const points = trace.steps.tau.flatMap((tau, step) => (trace.steps.source[step] === source ? [[step + 1, tau] as const] : []))
    return points.length === 0 ? [] : [{ name, points, look: source }]
  })
  if (series.length > 0) {
    const svg = await lineChart({
      title: 'Learned temperatures',
      width: 760,
      description: series.map(({ name }) => `${name} ${formatNumber(last(name))}`).join(', '),
      x: { name: 'step of the run', whole: true },
      y: { name: 'temperature' },
      series,
    })
    blocks.push({ kind: 'charts', charts: [{ svg, caption: 'Lower favors warm items, higher favors cold ones.' }] })
  }
  return { title, blocks: blocks.length > 0 ? blocks : [{ kind: 'text', text: 'No step was taken.' }] }
}

/** Points of each source in a stage, by step of the run. */
function seriesBySource({ sources, steps }: DistillReport['trace'], stage: number, values: readonly number[]): PointSeries[] {
  return sources.flatMap((name, source): PointSeries[] => {
    const points = values.flatMap((value, at) =>
      steps.stage[at] === stage && steps.source[at] === source ? [[at + 1, value] as const] : [],
    )
    return points.length === 0 ? [] : [{ name, points, look: source }]
  })
}
