/**
 * The small groups under `training` that all sources and stages share: pooler, balance, mining and kinds of teachers.
 * Invariant: objects are strict, and every option says its meaning and what raising it costs.
 */
import { z } from 'zod'
import { configDefaults, teacherKindDefaults } from './config-defaults.ts'
import { count, option } from './config-option.ts'
import { limits } from './limits.ts'

const defaults = configDefaults.training

/** Weight of a part of a loss. */
export const lossWeight = z.number().min(0).max(100)

export const pooler = z
  .strictObject({
    layers: option(count.max(16), defaults.pooler.layers, 'Layers of attention. Higher: proportionally longer steps.', 'layers'),
    width: option(
      count.max(4096).nullable(),
      defaults.pooler.width,
      'Width of its layers, a multiple of `heads`; null: `head.dim`. Higher: time grows with its square.',
      'dims',
    ),
    heads: option(count.max(64), defaults.pooler.heads, 'Heads of attention in each layer; they share the width.', 'heads'),
  })
  .prefault({})
  .meta({
    description: 'The transformer that pools histories, of sources with `pooler: transformer`. Its shape stays once it was trained.',
  })

export const balance = z
  .strictObject({
    vectors: option(
      count.min(2).max(1_000_000),
      defaults.balance.vectors,
      'Vectors of a source, and of a task, that are looked at: two of a row. Higher: steadier, proportionally slower.',
      'vectors',
    ),
    clusters: option(
      count.max(4096),
      defaults.balance.clusters,
      'Clusters that those of a source or task are brought to. Higher: finer; time of a plan grows with its square.',
      'clusters',
    ),
    epsilon: option(
      z.number().min(1e-4).max(100),
      defaults.balance.epsilon,
      'Entropy of the Sinkhorn plan, in units of cosine. Higher: nearer to the mean cosine of all, fewer iterations.',
    ),
    iterations: option(
      count.max(1_000_000),
      defaults.balance.iterations,
      'Sinkhorn iterations of a plan, at most. Higher: slower where its masses are not yet exact.',
      'iterations',
    ),
    tolerance: option(
      z.number().min(0).max(1),
      defaults.balance.tolerance,
      'A plan is done when the masses of its rows are off by less, summed. Higher: sooner, less exact; 0: only after all iterations.',
    ),
    floor: option(
      z.number().min(0).lt(1),
      defaults.balance.floor,
      'Least probability of a source, however unlike the tasks it is. Higher: drawn more evenly.',
    ),
  })
  .prefault({})
  .meta({
    description: 'How stages with `balance: tasks` compare sources with the held-out rows, in rounds with the samples of the round.',
  })

export const mining = z
  .strictObject({
    sampleRows: option(
      count.min(2).max(16_384),
      defaults.mining.sampleRows,
      'Rows of a source whose cosines give lambda*, which rises with their number: never compare it between two of these. Higher: time and memory grow with its square.',
      'rows',
    ),
    poolItems: option(
      count.min(2).max(1_000_000),
      defaults.mining.poolItems,
      'Items that hard negatives are chosen from, drawn from the targets of the coming rows. Higher: harder negatives, proportionally slower mining.',
      'items',
    ),
  })
  .prefault({})
  .meta({ description: 'How stages with `hardNegatives` or `maskInBatch` mine them.' })

/** One entry of `training.teachers`. */
export const teacher = z.strictObject({
  by: option(
    z.enum(['item', 'author', 'label']),
    teacherKindDefaults.by,
    "What in an item names its ID embedding of this kind: its id, its author's id, or its first label that starts with `labelPrefix`, without the prefix.",
  ),
  labelPrefix: option(
    z.string().max(limits.textBytes),
    teacherKindDefaults.labelPrefix,
    'Start of the labels that name an ID of this kind.',
  ),
  dim: option(
    count.max(limits.dim).nullable(),
    teacherKindDefaults.dim,
    'Dimension of the embeddings; null: that of the first one. Others are dead letters.',
    'dims',
  ),
})
