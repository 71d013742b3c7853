/**
 * Distillation and embedding over files: one round, several passes, a one-cycle learning rate. The same samples, head and
 * trainer as the stream. Invariant: the result depends on the records and the options alone, not on how they are batched.
 * Interactions, samples and content vectors are held in memory.
 */

import { oneCycleSchedule } from '../compute/index.ts'
import { SidestreamError, type DistillSample, type Interaction, type ItemContent } from '../schemas/index.ts'
import { splitRows, usableRows } from './batches.ts'
import type { Checkpoint } from './checkpoint.ts'
import { HeadEncoder, type HeadEncoderOptions } from './head-encoder.ts'
import { createHead, type Head, type HeadOptions, type HeadSpec } from './head.ts'
import { rowsOfSets, type SampleSetOptions, type SetRows } from './sample-sets.ts'
import { sampleDefaults, SampleBuilder, sampleKey, type SampleOptions } from './samples.ts'
import { fitStatistics, type ContentVectors } from './statistics.ts'
import { Trainer, trainerDefaults, type TrainerOptions } from './trainer.ts'

/** Records as the file readers give them: batches, in order. */
export type RecordBatches<T> = AsyncIterable<readonly T[]> | Iterable<readonly T[]>

/** One row of content; null deletes the item. The last row of an item counts. */
export interface ContentRecord {
  readonly itemId: string
  readonly content: ItemContent | null
}

export interface OfflineOptions {
  readonly head: HeadOptions
  readonly samples: SampleOptions
  /**
   * Which rows are made of the samples. The filtered sets need `samples.marks`.
   * @default the plain set, with `samples.historyLength` items
   */
  readonly sets?: SampleSetOptions
  readonly trainer?: TrainerOptions
  /**
   * How often the samples are gone through.
   * @default 6
   */
  readonly passes?: number
  /**
   * Highest learning rate of the cycle. Chosen on the evening before the test day of globo-news: 1e-3 gives less of
   * everything there but cold popularity AUC.
   * @default 2e-3
   */
  readonly learningRate?: number
  /**
   * Seed of the order of rows. (The head has its own.)
   * @default 0
   */
  readonly seed?: number
}

export const offlineDefaults = { passes: 6, learningRate: 2e-3, seed: 0 } as const

/** Where `distillOffline` is. `total` is known for `train` only. */
export interface OfflineProgress {
  readonly phase: 'content' | 'interactions' | 'train'
  readonly done: number
  readonly total?: number
  readonly loss?: number
}

/** What was done, as plain JSON. */
export interface OfflineReport {
  readonly items: number
  /** Items with content and at least one interaction; the input statistics come from these. */
  readonly warmItems: number
  readonly interactions: number
  readonly samples: number
  /** Samples that were there already. */
  readonly duplicates: number
  /** Samples without content for their target, or for all of their history. */
  readonly dropped: number
  /** What became of the histories of each sample set. */
  readonly sets: SetRows['counts']
  /** Rows of all sets together: what one pass goes through. */
  readonly rows: number
  readonly head: HeadSpec
  readonly trainer: Required<TrainerOptions>
  readonly passes: number
  readonly learningRate: number
  readonly seed: number
  readonly steps: number
  /** Mean loss of each pass. */
  readonly passLosses: readonly number[]
  /** Loss of every step. */
  readonly stepLosses: readonly number[]
  /** Event time of the newest interaction, milliseconds. */
  readonly trainedUntil: number
}

export interface OfflineInput {
  readonly interactions: RecordBatches<Interaction>
  readonly content: RecordBatches<ContentRecord>
  readonly options: OfflineOptions
  readonly onProgress?: (progress: OfflineProgress) => void
}

/**
 * Trains a head from interactions and content.
 * @throws SIDESTREAM_ITEMS_TOO_FEW when no sample can be trained on; SIDESTREAM_TRAINING_DIVERGED; SIDESTREAM_USAGE_INVALID;
 * SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE; whatever the readers throw
 */
export async function distillOffline({
  interactions,
  content,
  options,
  onProgress,
}: OfflineInput): Promise<{ readonly checkpoint: Checkpoint; readonly report: OfflineReport }> {
  const { passes = offlineDefaults.passes, learningRate = offlineDefaults.learningRate, seed = offlineDefaults.seed } = options
  const trainerOptions = { ...trainerDefaults, ...options.trainer }
  const items = new Map<string, ItemContent>()
  let done = 0
  for await (const batch of content) {
    for (const row of batch) {
      if (row.content === null) items.delete(row.itemId)
      else items.set(row.itemId, row.content)
    }
    onProgress?.({ phase: 'content', done: (done += batch.length) })
  }
  const lookup = (id: string): ContentVectors | undefined => items.get(id)?.vectors
  const history = await readHistory(interactions, options.samples, onProgress)
  const { rows: samples, dropped } = usableRows(history.samples.values(), lookup)
  const { historyLength: length = sampleDefaults.historyLength } = options.samples
  const { rows, counts: sets } = rowsOfSets(samples, (id) => items.get(id), { length, seed, ...options.sets })
  if (rows.length === 0) {
    throw new SidestreamError(
      'SIDESTREAM_ITEMS_TOO_FEW',
      `none of ${history.interactions} interactions gives a sample (a user with two liked items that both have content); check ids and positive behaviors`,
      { interactions: history.interactions, items: items.size },
    )
  }

  const warm = [...history.itemIds].filter((id) => items.has(id)).sort()
  const head = createHead(
    options.head,
    fitStatistics(
      options.head.modalities,
      warm.map((id) => items.get(id)!.vectors),
    ),
  )
  const total = passes * splitRows(rows, trainerOptions.batchSize).length
  const stepLosses: number[] = []
  const trainer = await Trainer.create(head, trainerOptions)
  try {
    const result = await trainer.train(rows, lookup, {
      schedule: oneCycleSchedule({ totalSteps: total, max: learningRate }),
      passes,
      shuffleSeed: seed,
      onStep: (_step, { loss }) => {
        stepLosses.push(loss)
        onProgress?.({ phase: 'train', done: stepLosses.length, total, loss })
      },
    })
    const checkpoint = await trainer.checkpoint({
      trainedUntil: history.trainedUntil,
      round: 0,
      offsets: {},
      seeds: { head: head.spec.seed, rows: seed },
      metrics: { loss: result.losses.at(-1)! },
    })
    const report: OfflineReport = {
      items: items.size,
      warmItems: warm.length,
      interactions: history.interactions,
      samples: samples.length,
      duplicates: history.duplicates,
      dropped,
      sets,
      rows: rows.length,
      head: head.spec,
      trainer: trainerOptions,
      passes,
      learningRate,
      seed,
      steps: result.steps,
      passLosses: result.losses,
      stepLosses,
      trainedUntil: history.trainedUntil,
    }
    return { checkpoint, report }
  } finally {
    await trainer.close()
  }
}

interface ReadHistory {
  /** By sample key, ascending, so that the order of the input does not show in the order of training. */
  readonly samples: Map<string, DistillSample>
  readonly itemIds: Set<string>
  readonly interactions: number
  readonly duplicates: number
  readonly trainedUntil: number
}

async function readHistory(
  batches: RecordBatches<Interaction>,
  options: SampleOptions,
  onProgress: OfflineInput['onProgress'],
): Promise<ReadHistory> {
  const all: Interaction[] = []
  for await (const batch of batches) {
    for (const interaction of batch) all.push(interaction)
    onProgress?.({ phase: 'interactions', done: all.length })
  }
  // A file need not be in time order; a stable sort keeps the file's order among equal times.
  all.sort((a, b) => a.eventTs - b.eventTs)
  const builder = new SampleBuilder({ ...sampleDefaults, ...options })
  const keyed = new Map<string, DistillSample>()
  const itemIds = new Set<string>()
  let made = 0
  for (const interaction of all) {
    itemIds.add(interaction.itemId)
    const sample = builder.add(interaction)
    if (sample === undefined) continue
    made++
    keyed.set(sampleKey(sample), sample)
  }
  const samples = new Map([...keyed].sort(([a], [b]) => (a < b ? -1 : 1)))
  return { samples, itemIds, interactions: all.length, duplicates: made - keyed.size, trainedUntil: all.at(-1)?.eventTs ?? 0 }
}

/** Published vectors of some items: row-major float32, shape [ids.length, dim]. */
export interface EmbeddedBatch {
  /** Index of the first row among all that were given out, from 0. */
  readonly start: number
  readonly ids: readonly string[]
  readonly dim: number
  readonly vectors: Float32Array
}

export interface EmbedInput {
  readonly head: Head
  readonly content: RecordBatches<ContentRecord>
  readonly options?: HeadEncoderOptions
  /** Told of an item that no modality of the head describes; it is left out. */
  readonly onSkipped?: (itemId: string) => void
}

/**
 * Embeds content as it streams by. Deleted items are passed over; an item that comes twice is embedded twice, in order.
 * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE; whatever the reader throws
 */
export async function* embedOffline({
  head,
  content,
  options = {},
  onSkipped,
}: EmbedInput): AsyncGenerator<EmbeddedBatch, void, undefined> {
  const encoder = await HeadEncoder.create(head, options)
  let start = 0
  try {
    for await (const batch of content) {
      const present: ItemContent[] = []
      for (const { itemId, content: item } of batch) {
        if (item === null) continue
        if (head.spec.modalities.some(({ name }) => item.vectors[name] !== undefined)) present.push(item)
        else onSkipped?.(itemId)
      }
      if (present.length === 0) continue
      const { published } = await encoder.encode(present.map(({ vectors }) => vectors))
      yield { start, ids: present.map(({ itemId }) => itemId), dim: encoder.dim, vectors: published }
      start += present.length
    }
  } finally {
    await encoder.close()
  }
}
