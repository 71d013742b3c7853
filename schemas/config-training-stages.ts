/**
 * One stage of `training.stages`, and the rules between stages and sources.
 * Invariant: objects are strict, and every option says its meaning and what raising it costs.
 */
import { z } from 'zod'
import { stageDefaults, stageLossDefaults } from './config-defaults.ts'
import { count, name, option, share } from './config-option.ts'
import type { DeepReadonly } from './config-option.ts'
import { lossWeight } from './config-training-groups.ts'
import type { Problem } from './problems.ts'

/** One entry of `training.stages`. */
export const stage = z.strictObject({
  name: name.meta({ description: 'Name of the stage, in metrics and reports.' }),
  sources: option(
    z.array(name).nullable(),
    stageDefaults.sources,
    'Sources that the stage trains on; null: all. One without rows is passed over and counted.',
  ),
  when: option(
    z.enum(['start', 'round']),
    stageDefaults.when,
    '`start`: once, before the first round. `round`: in every round. The command `distill` runs each once.',
  ),
  passes: option(
    count.max(1000).nullable(),
    stageDefaults.passes,
    'How often the rows are gone through; null: `training.epochs` in `distill`, once in a round. Higher: proportionally longer.',
    'passes',
  ),
  steps: option(count.nullable(), stageDefaults.steps, 'Steps of the stage, instead of passes. Higher: proportionally longer.', 'steps'),
  learningRate: option(
    z.number().gt(0).max(1).nullable(),
    stageDefaults.learningRate,
    'Peak step size of AdamW; null: `training.learningRate`. Higher: faster, and less stable.',
  ),
  schedule: option(
    z.enum(['one-cycle', 'cosine', 'constant']).nullable(),
    stageDefaults.schedule,
    'Curve of the rate over the stage; null: `one-cycle` in `distill` and in stages of `start`, `constant` after a warm-up in rounds.',
  ),
  warmupShare: option(
    share.nullable(),
    stageDefaults.warmupShare,
    'Share of the steps in which the rate rises; null: 0.3 of `one-cycle`, 0.05 of the other curves. Rounds without a `schedule` warm up by `training.warmupSteps`. Higher: a slower start.',
  ),
  balance: option(
    z.enum(['rows', 'tasks', 'shares']),
    stageDefaults.balance,
    'How the sources share the steps. `rows`: each by its number of rows. `tasks`: drawn by how similar each is to the held-out rows, in rounds to the samples of the round. `shares`: drawn by `shares`.',
  ),
  balanceTemperature: option(
    z.number().min(0.001).max(100),
    stageDefaults.balanceTemperature,
    'Of `balance: tasks`: temperature of the draw. Higher: sources are drawn more evenly.',
  ),
  shares: option(
    z.record(name, z.number().min(0)),
    stageDefaults.shares,
    'Of `balance: shares`: the share of each source, in any scale. A source without one is not drawn.',
  ),
  hardNegatives: option(
    z.int().min(0).max(64),
    stageDefaults.hardNegatives,
    'Hard negatives of a row, the most similar items below lambda*. Higher: slower steps, finer differences learned.',
    'items',
  ),
  maskInBatch: option(
    z.boolean(),
    stageDefaults.maskInBatch,
    'Whether in-batch negatives at or above lambda*, probably false ones, are left out.',
  ),
  mineEvery: option(
    count,
    stageDefaults.mineEvery,
    'Steps after which lambda* and hard negatives are computed anew. Higher: cheaper, from an older head.',
    'steps',
  ),
  dropFarthest: option(
    share.lt(1),
    stageDefaults.dropFarthest,
    'Share of the pairs that lie farthest apart in content, left out for a clean subset.',
  ),
  temperatures: option(
    z.record(name, z.number().min(0.01).max(1)),
    stageDefaults.temperatures,
    'Temperature of sources in this stage, by name, instead of their own; it stays fixed, and a learned one waits where it was. A source without one keeps its own. Lower favors warm items, higher favors cold items.',
  ),
  losses: z
    .record(
      name,
      z.strictObject({
        cosent: option(lossWeight.nullable(), stageLossDefaults.cosent, 'Weight of CoSENT in this stage; null: that of the source.'),
        modality: option(
          lossWeight.nullable(),
          stageLossDefaults.modality,
          'Weight of the contrast inside each modality in this stage; null: that of the source.',
        ),
        lateFusion: option(
          lossWeight.nullable(),
          stageLossDefaults.lateFusion,
          'Weight of the contrast of the fused vector in this stage; null: that of the source.',
        ),
        patterns: option(
          lossWeight.nullable(),
          stageLossDefaults.patterns,
          'Weight of the contrast of `patterns` in this stage; null: that of the source.',
        ),
      }),
    )
    .default(stageDefaults.losses as never)
    .meta({
      description: 'Weights of the losses of sources of `pairs` in this stage, by name, instead of their own; 0 leaves a part out.',
    }),
})

/** What stages are held against. */
interface StageSurroundings {
  readonly stages: readonly DeepReadonly<z.output<typeof stage>>[]
  readonly sources: Readonly<Record<string, { readonly kind: 'sequences' | 'pairs' | 'ids' }>>
  readonly balance: { readonly floor: number }
}

/** Rules between stages and sources, each with the path where it is to be mended. */
export function stageConflicts({ stages, sources, balance }: StageSurroundings): Problem[] {
  const problems: Problem[] = []
  const report = (path: string, message: string): void => void problems.push({ path, message })
  for (const [i, { name: stageName, sources: own, balance: by }] of stages.entries()) {
    const most = (own ?? Object.keys(sources)).length
    if (by === 'tasks' && most > 1 && most * balance.floor >= 1)
      report(
        `training.stages.${i}.balance`,
        `needs a smaller training.balance.floor: ${most} sources of ${stageName} with ${balance.floor} each leave nothing to balance`,
      )
  }
  const known = Object.keys(sources)
  let hasRounds = false
  for (const [i, own] of stages.entries()) {
    const path = `training.stages.${i}`
    if (stages.findIndex(({ name }) => name === own.name) !== i)
      report(`${path}.name`, `must not be the name of another stage (got ${own.name})`)
    for (const source of [...(own.sources ?? []), ...Object.keys(own.shares)]) {
      if (!known.includes(source))
        report(
          `${path}.${own.sources?.includes(source) ? 'sources' : 'shares'}`,
          `must name sources of training.sources, ${known.join(', ')} (got ${source})`,
        )
    }
    if (own.sources?.length === 0) report(`${path}.sources`, 'must name at least one source, or be null for all')
    if (own.steps !== null && own.passes !== null) report(`${path}.steps`, 'excludes `passes`: give one of them')
    if (own.when === 'start' && hasRounds) report(`${path}.when`, 'must be `round` after a stage of rounds: those of `start` stand first')
    hasRounds ||= own.when === 'round'
    const taken = own.sources ?? known
    for (const option of ['temperatures', 'losses'] as const) {
      for (const source of Object.keys(own[option])) {
        if (!taken.includes(source)) report(`${path}.${option}`, `must name sources of the stage, ${taken.join(', ')} (got ${source})`)
        else if (option === 'losses' && sources[source] !== undefined && sources[source].kind !== 'pairs')
          report(`${path}.losses.${source}`, `belongs to a source of kind pairs (the kind here is ${sources[source].kind})`)
      }
    }
    const drawn = (own.sources ?? known).filter((source) => (own.shares[source] ?? 0) > 0)
    if (own.balance === 'shares' && drawn.length === 0) report(`${path}.shares`, 'must give one of its sources a share above 0')
    if (own.balance !== 'shares' && Object.keys(own.shares).length > 0)
      report(`${path}.shares`, `belongs to \`balance: shares\` (the balance here is ${own.balance})`)
  }
  return problems
}
