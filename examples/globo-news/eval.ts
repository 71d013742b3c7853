/**
 * `npm run eval:globo -- --data DIR [--json FILE] [--ablations]`: the globo-news protocol with the reference figures beside ours.
 * Every arm is scored on the same events; trained arms run with every seed of theirs. Exits with 1 when a figure of an arm
 * stays below its reference by more than the tolerance. `--ablations` prints the table of docs/ablations.md instead; FILE then
 * keeps its figures, and a second run goes on from them.
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { bootstrapMean, neighborRecall } from '../../distill/index.ts'
import type { EvaluationPlan, EvaluationScores, VectorSet } from '../../distill/index.ts'
import { commonAblations, contentPart, runAblations } from '../ablations.ts'
import { figuresOf, missed, printFigures, spread, type Figures } from '../figures.ts'
import { arms } from './arms.ts'
import { centered, columns, evaluateGlobo, loadGlobo, planGlobo, tolerance } from './protocol.ts'
import type { Arm, Column, Globo } from './protocol.ts'
import { globoSetup } from './setup.ts'

interface ArmResult {
  readonly name: string
  readonly seeds: number
  readonly figures: Figures<Column>
  /** Share of the raw centered top-10 neighbors among the top 50, mean over seeds. */
  readonly neighborRecall: number
  /** Differences to the baseline over users, first seed. */
  readonly overBaseline: Record<string, { readonly mean: number; readonly low: number; readonly high: number }>
}

const { values } = parseArgs({
  options: { data: { type: 'string' }, json: { type: 'string' }, ablations: { type: 'boolean' }, seeds: { type: 'string' } },
})
if (values.data === undefined) {
  console.error('usage: npm run eval:globo -- --data DIR [--json FILE] [--ablations [--seeds 0,1,2]]')
  process.exitCode = 2
} else if (values.ablations) {
  await ablate(await loadGlobo(values.data), (values.seeds ?? '0').split(',').map(Number), values.json)
} else {
  await evaluate(values.data, values.json)
}

async function ablate(globo: Globo, seeds: readonly number[], file: string | undefined): Promise<void> {
  const plan = planGlobo(globo)
  await runAblations({
    setup: globoSetup(globo),
    ablations: [
      ...commonAblations({ tau: 0.2, maskHistory: true }),
      contentPart('no content part', { contentShare: 0 }),
      contentPart('a content part of 128 dims instead of all', { contentDims: 128 }),
    ],
    seeds,
    columns,
    digits: () => 3,
    evaluate: async (set) => (await evaluateGlobo(plan, set)).summary,
    file,
  })
}

async function evaluate(dir: string, jsonFile: string | undefined): Promise<void> {
  const globo = await loadGlobo(dir)
  const plan = planGlobo(globo)
  const cold = plan.cold.reduce((sum, flag) => sum + flag, 0) / plan.events
  console.error(`${globo.clicks.times.length} clicks, ${plan.events} scored events, ${(100 * cold).toFixed(1)} % cold`)
  const baseline: VectorSet = { vectors: centered(globo), dim: globo.dim }
  const { scores } = await evaluateGlobo(plan, baseline)
  const results: ArmResult[] = []
  for (const arm of arms) {
    const result = await run(arm, globo, plan, { ...baseline, scores })
    results.push(result)
    print(result)
  }
  if (jsonFile !== undefined) await writeFile(jsonFile, `${JSON.stringify({ events: plan.events, cold, arms: results }, null, 2)}\n`)
  if (missed(results.map(({ figures }) => figures))) process.exitCode = 1
}

async function run(
  arm: Arm,
  globo: Globo,
  plan: EvaluationPlan,
  baseline: VectorSet & { readonly scores: EvaluationScores },
): Promise<ArmResult> {
  const runs: Record<Column, number>[] = []
  const recalls: number[] = []
  let first: EvaluationScores | undefined
  for (const seed of arm.seeds) {
    const set = await arm.vectors(globo, seed)
    const { scores, summary } = await evaluateGlobo(plan, set)
    first ??= scores
    runs.push(summary)
    const sets = { raw: baseline.vectors, rawDim: baseline.dim, candidate: set.vectors, dim: set.dim, items: globo.itemIds.length }
    recalls.push((await neighborRecall(sets, { maxItems: Infinity }))?.recall ?? NaN)
  }
  return {
    name: arm.name,
    seeds: arm.seeds.length,
    figures: figuresOf(columns, runs, { reference: arm.reference, tolerance }),
    neighborRecall: spread(recalls).mean,
    overBaseline: first ? differences(plan, first, baseline.scores) : {},
  }
}

function differences(plan: EvaluationPlan, arm: EvaluationScores, baseline: EvaluationScores): ArmResult['overBaseline'] {
  const difference = (flag: 0 | 1, value: (scores: EvaluationScores, event: number) => number): ReturnType<typeof bootstrapMean> =>
    bootstrapMean(
      Float64Array.from(plan.cold, (cold, e) => (cold === flag ? value(arm, e) - value(baseline, e) : NaN)),
      plan.users,
    )
  const pop = (scores: EvaluationScores, e: number): number => scores.popularity[e]!
  const uni = (scores: EvaluationScores, e: number): number => scores.uniform[e]!
  const recall = (scores: EvaluationScores, e: number): number => (scores.ranks[e]! < 10 ? 1 : 0)
  return {
    warmPop: difference(0, pop),
    coldPop: difference(1, pop),
    coldUni: difference(1, uni),
    coldRecall10: difference(1, recall),
  }
}

function print({ name, seeds, figures, neighborRecall, overBaseline }: ArmResult): void {
  printFigures(name, seeds, figures, () => 3)
  const gains = Object.entries(overBaseline).map(
    ([column, { mean, low, high }]) => `${column} ${signed(mean)} [${signed(low)}, ${signed(high)}]`,
  )
  console.log(`  over raw centered, 95 % over users: ${gains.join(', ')}`)
  console.log(`  raw top-10 neighbors found in its top 50: ${neighborRecall.toFixed(3)}`)
}

function signed(value: number): string {
  return `${value < 0 ? '' : '+'}${value.toFixed(3)}`
}
