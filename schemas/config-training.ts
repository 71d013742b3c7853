/**
 * The group `training` of `sidestream.yaml`: rounds, steps and sources, and the rules between them.
 * Invariant: objects are strict, and every option says its meaning and what raising it costs.
 */
import { z } from 'zod'
import { configDefaults as defaults, sourceDefaults } from './config-defaults.ts'
import { count, durationMs, name, option, share, text } from './config-option.ts'
import { sampleSets } from './config-learning.ts'
import { balance, lossWeight, mining, pooler, teacher } from './config-training-groups.ts'
import { stage, stageConflicts } from './config-training-stages.ts'
import type { DeepReadonly } from './config-option.ts'
import type { Problem } from './problems.ts'

const source = z.strictObject({
  kind: option(
    z.enum(['sequences', 'pairs', 'ids']),
    sourceDefaults.kind,
    'What a row is. `sequences`: liked items and the one liked next. `pairs`: two items that belong together. `ids`: an item and its ID embeddings.',
  ),
  set: option(
    z.enum(sampleSets).nullable(),
    sourceDefaults.set,
    'Of `sequences`: the one of `sequences.sets` whose rows it takes; null: those of all.',
  ),
  temperature: option(
    z.number().min(0.01).max(1).nullable(),
    sourceDefaults.temperature,
    'Scale of similarities in the contrastive loss of this source; null: `training.temperature`, for `ids` 0.1. Lower favors warm items, higher favors cold items.',
  ),
  learnTemperature: option(z.boolean(), sourceDefaults.learnTemperature, 'Whether the temperature is trained too, within 0.01 and 1.'),
  losses: z
    .strictObject({
      cosent: option(lossWeight, sourceDefaults.losses.cosent, 'Weight of CoSENT, which trains the order of graded pairs.'),
      modality: option(lossWeight, sourceDefaults.losses.modality, 'Weight of the contrast inside each modality.'),
      lateFusion: option(lossWeight, sourceDefaults.losses.lateFusion, 'Weight of the contrast of the fused vector as a whole.'),
      patterns: option(lossWeight, sourceDefaults.losses.patterns, 'Weight of the contrast of `patterns`.'),
    })
    .prefault({})
    .meta({ description: 'Of `pairs`: weights of what is trained beside the contrast of the prefixes; 0 leaves a part out.' }),
  scored: option(
    z.boolean(),
    sourceDefaults.scored,
    'Of `pairs`: whether they have scores, more being closer; CoSENT then trains their order.',
  ),
  positiveFrom: option(
    z.number().nullable(),
    sourceDefaults.positiveFrom,
    'Of scored pairs: least score of a pair that the contrastive losses pull together; the order of all is trained all the same. null: a score above the median of its batch, or the best one where half of the batch has it. Higher: fewer, surer positives.',
  ),
  cosentTemperature: option(
    z.number().min(0.01).max(1),
    sourceDefaults.cosentTemperature,
    'Of scored pairs: temperature of CoSENT, where a learned one begins. Lower: small differences between cosines count more.',
  ),
  patterns: option(
    z
      .array(
        z.strictObject({
          query: name.meta({ description: 'Modality of the query, or `fused`.' }),
          target: name.meta({ description: 'Modality of the target, or `fused`.' }),
        }),
      )
      .max(64),
    sourceDefaults.patterns,
    'Of `pairs`: further contrasts, each of one modality of the query against another of the target, or against what all of its modalities give together (`fused`). A pair that lacks one takes no part in it. More: proportionally slower steps.',
  ),
  pooler: option(
    z.enum(['mean', 'transformer']),
    sourceDefaults.pooler,
    'Of `sequences`: how a history becomes one vector while training. `transformer`: that of `training.pooler`; slower steps.',
  ),
  maskHistory: option(
    z.boolean(),
    sourceDefaults.maskHistory,
    'Of `sequences`: whether rows are no negatives of each other when the target of one stands in the history of the other. false: only rows of one user or of one target are kept apart.',
  ),
  modalityDropout: option(
    share.lt(1),
    sourceDefaults.modalityDropout,
    'Chance that a step leaves out a modality of an item that has more than one; one always stays. Higher: items that lack a modality are served better, complete ones a little worse.',
  ),
  entities: option(
    z.array(text).max(16),
    sourceDefaults.entities,
    'Of `ids`: the kinds of ID embeddings that teach, such as `item`, `author`, by their name in `id-embeddings`. More kinds: slower steps.',
  ),
  from: option(
    z.enum(['topic', 'content']),
    sourceDefaults.from,
    "Of `pairs`: `topic` takes the rows of item-pairs (or of the file of pairs) whose `source` is this source's name; `content` pairs every item with its nearest neighbor by content, which keeps what the head knows of content.",
  ),
})

export const training = z
  .strictObject({
    roundMs: option(
      durationMs.min(1000),
      defaults.training.roundMs,
      'Event time of one training round. Higher: fewer, larger rounds; later learning.',
      'ms',
    ),
    latenessMs: option(
      durationMs,
      defaults.training.latenessMs,
      'How far the watermark stays behind the newest event time. Higher: fewer late rows, later rounds.',
      'ms',
    ),
    idleMs: option(
      durationMs.min(100),
      defaults.training.idleMs,
      'After this long without records an idle partition is advanced by a logged tick, so that it holds up no round. Higher: later rounds when a partition is quiet.',
      'ms',
    ),
    batch: option(
      count.min(2).max(65_536),
      defaults.training.batch,
      'Rows of one step, and so in-batch negatives per row. Higher: more memory, time grows with its square.',
      'rows',
    ),
    temperature: option(
      z.number().min(0.001).max(10),
      defaults.training.temperature,
      'Scale of similarities in the contrastive loss. Lower favors warm items, higher favors cold items.',
    ),
    learningRate: option(
      z.number().gt(0).max(1),
      defaults.training.learningRate,
      'Peak step size of AdamW. Higher: faster, and less stable.',
    ),
    warmupSteps: option(
      z.int().min(0),
      defaults.training.warmupSteps,
      'Steps in which the rate rises from 0 to its peak. Higher: a slower start.',
      'steps',
    ),
    weightDecay: option(
      z.number().min(0).max(1),
      defaults.training.weightDecay,
      'Decay of weight matrices per step, times the rate. Higher: closer to the start.',
    ),
    clipNorm: option(
      z.number().gt(0),
      defaults.training.clipNorm,
      'Largest norm of the whole gradient. Higher: fewer steps are cut, outliers weigh more.',
    ),
    maxLossRise: option(
      z.number().gt(1).nullable(),
      defaults.training.maxLossRise,
      'Training stops as diverged when the mean loss of a source over 100 steps of a stage is more than this many times that of its first 100 (counted as 1 where it is less), or when a stage leaves the head worse at the rows that it trains on than it found it, and than a head without training; null: whatever the loss does. Higher: later, or never.',
    ),
    replayShare: option(
      z.number().min(0).max(100),
      defaults.training.replayShare,
      'Rows of earlier rounds trained again per row of a round, so that in-batch negatives are not of one round alone. Higher: proportionally longer rounds, less drift towards the newest items.',
      'rows',
    ),
    replayMs: option(durationMs, defaults.training.replayMs, 'Event time back to which rows are kept for that. Higher: more disk.', 'ms'),
    epochs: option(
      count.max(1000),
      defaults.training.epochs,
      'Passes of the offline command `distill` over its samples. Streaming rounds make one. Higher: proportionally longer.',
      'passes',
    ),
    sources: option(
      z
        .record(name, source)
        .refine((value) => Object.keys(value).length > 0, 'must name at least one source, such as `seq2item: {}`')
        .refine((value) => Object.keys(value).length <= 64, 'must name at most 64 sources'),
      defaults.training.sources,
      'What the head is trained on, by name. A step takes all of its rows from one source.',
    ),
    stages: option(
      z.array(stage).min(1, 'must list at least one stage').max(32),
      defaults.training.stages,
      'Stages of training, in order; each goes on from the head of the one before, with an optimizer that starts anew. Those of `start` come first.',
    ),
    prefixWeights: option(
      z.array(z.number().min(0).max(100)).nullable(),
      defaults.training.prefixWeights,
      'Weight of the contrast of each of `head.prefixes`, in their order; null: 1 each. 0 leaves a prefix untrained. Higher: that view gains on the others.',
    ),
    pooler,
    balance,
    mining,
    threads: option(
      count.max(256),
      defaults.training.threads,
      'Threads of the training session. Equal weights are promised for an equal count.',
      'threads',
    ),
    providers: option(
      z
        .array(z.string().regex(/^[a-z]{2,32}$/, 'must be the name of an ONNX Runtime execution provider, such as cpu or cuda'))
        .min(1)
        .max(8),
      defaults.training.providers,
      'Execution providers of ONNX Runtime for training, tried in order. One that cannot be used is passed over with a warning; that none of them can is an error. Operations that those used do not know run on the CPU. Equal weights are promised for equal ones. Published vectors are always computed on the CPU.',
    ),
    teachers: z
      .record(name, teacher)
      .refine((value) => Object.keys(value).length <= 16, 'must name at most 16 kinds')
      .default(defaults.training.teachers as never)
      .meta({
        description:
          'Kinds of ID embeddings that teach, by their `entity` in `id-embeddings`: item, author, category, or one of several recommenders. The first one weighs an item by its exposures in every source that has it; in another, the first of its `entities` does. Without an embedding of the kind that weighs, a source trains on nothing. Rounds then wait for `id-embeddings` too; with none the topic is not read.',
      }),
    teacherStaleMs: option(
      durationMs.nullable(),
      defaults.training.teacherStaleMs,
      'ID embeddings that are older at the end of a round do not teach in it; null: none is too old. Higher: more teachers, staler ones.',
      'ms',
    ),
    teacherMinExposures: option(
      z.number().min(0),
      defaults.training.teacherMinExposures,
      'Items with fewer exposures are not taught by ID embeddings. Higher: surer teachers, fewer of them.',
      'exposures',
    ),
    teacherSaturation: option(
      z.number().gt(0).max(1000),
      defaults.training.teacherSaturation,
      'How soon an item is taught with full weight: tanh(this * exposures / mean exposures). Higher: items below the mean count more.',
    ),
  })
  .prefault({})
  .meta({ description: 'Training of the head.' })

/** Name of no modality but of all of them together. */
const fused = 'fused'

/** Of a source of `ids` without one of its own. */
const idsTemperature = 0.1

type Training = z.output<typeof training>

/** What the group is held against: `sequences.sets`, `dim` and `prefixes` of `head`, names of modalities. */
export interface TrainingSurroundings {
  readonly sets: readonly string[]
  readonly dim: number
  readonly prefixes: readonly number[]
  /** Names of `content.modalities`. */
  readonly modalities: readonly string[]
}

/** Rules between sources, stages and the head, each with the path where it is to be mended. */
export function trainingConflicts(training: DeepReadonly<Training>, { sets, dim, prefixes, modalities }: TrainingSurroundings): Problem[] {
  const { sources, teachers, temperature, prefixWeights, pooler } = training
  const problems: Problem[] = []
  const report = (path: string, message: string): void => void problems.push({ path, message })
  if (prefixWeights !== null && prefixWeights.length !== prefixes.length)
    report('training.prefixWeights', `must be one for each of head.prefixes, ${prefixes.join(', ')} (got ${prefixWeights.length})`)
  else if (prefixWeights !== null && !prefixWeights.some((weight) => weight > 0))
    report('training.prefixWeights', 'must have a weight above 0, or nothing is trained')
  const width = pooler.width ?? dim
  if (width % pooler.heads !== 0 && Object.values(sources).some((own) => own.pooler === 'transformer'))
    report('training.pooler.heads', `must divide the width, which is ${width} (got ${pooler.heads})`)
  for (const [key, own] of Object.entries(sources)) {
    const path = `training.sources.${key}`
    const only = (kind: typeof own.kind, option: string, isSet: boolean): void => {
      if (own.kind !== kind && isSet) report(`${path}.${option}`, `belongs to a source of kind ${kind} (the kind here is ${own.kind})`)
    }
    const tau = own.temperature ?? (own.kind === 'ids' ? idsTemperature : temperature)
    if (own.learnTemperature && !(tau >= 0.01 && tau <= 1))
      report(`${path}.learnTemperature`, `needs a temperature from 0.01 to 1 to begin at (got ${tau}, of training.temperature)`)
    only('pairs', 'scored', own.scored)
    if (own.positiveFrom !== null && !own.scored) report(`${path}.positiveFrom`, 'belongs to a source with `scored: true`')
    if (own.cosentTemperature !== sourceDefaults.cosentTemperature && !own.scored)
      report(`${path}.cosentTemperature`, 'belongs to a source with `scored: true`')
    only('pairs', 'patterns', own.patterns.length > 0)
    for (const [i, { query, target }] of own.patterns.entries()) {
      const strange = [query, target].find((side) => side !== fused && !modalities.includes(side))
      if (strange !== undefined)
        report(`${path}.patterns.${i}`, `must name modalities, ${modalities.join(', ')}, or ${fused} (got ${strange})`)
      if (query === fused && target === fused) report(`${path}.patterns.${i}`, 'is what every source trains: one side must be a modality')
      if (own.patterns.findIndex((other) => other.query === query && other.target === target) !== i)
        report(`${path}.patterns.${i}`, 'must not be there twice')
    }
    if (own.patterns.length > 0 && modalities.includes(fused))
      report(`${path}.patterns`, `cannot tell the modality ${fused} from all of them together: give it another name`)
    only('pairs', 'from', own.from === 'content')
    only('sequences', 'set', own.set !== null)
    if (own.set !== null && !sets.includes(own.set))
      report(`${path}.set`, `must be one of sequences.sets, ${sets.join(', ')} (got ${own.set})`)
    only('sequences', 'pooler', own.pooler === 'transformer')
    only('sequences', 'maskHistory', !own.maskHistory)
    only('ids', 'entities', own.entities.length > 0)
    if (own.kind === 'ids' && own.entities.length === 0) report(`${path}.entities`, 'must name at least one kind, such as [item]')
    const unknown = own.entities.find((entity) => teachers[entity] === undefined)
    if (unknown !== undefined)
      report(
        `${path}.entities`,
        `must name kinds of training.teachers, ${Object.keys(teachers).join(', ') || 'which has none'} (got ${unknown})`,
      )
    if (new Set(own.entities).size !== own.entities.length) report(`${path}.entities`, `must not name a kind twice`)
    if (own.scored && own.from === 'content') report(`${path}.scored`, 'must be false for pairs made of content, which have no scores')
  }
  problems.push(...stageConflicts(training))
  return problems
}
