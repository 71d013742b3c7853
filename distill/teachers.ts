/**
 * ID embeddings of the recommender joined to the items of a training batch: which vectors teach an item, and how far they are
 * to be trusted. An item may point to several kinds at once (itself, its author, its category), each with dims of its own.
 * Invariants: an answer depends on what was known before the round's end alone; a vector that cannot teach is left out and
 * counted, never passed on; items that were hardly shown do not teach.
 */
import { SidestreamError } from '../schemas/index.ts'
import type { IdEmbedding, ItemContent } from '../schemas/index.ts'
import type { TeacherRows } from './batches.ts'
import type { TeacherEntity } from './id-losses.ts'

/** Through what an item finds its ID embedding of one kind. */
export type TeacherJoin = 'item' | 'author' | 'label'

/** One kind of ID embedding that teaches; its name is the entity kind in `id-embeddings`. */
export interface TeacherKind extends TeacherEntity {
  /** `item`: the item's id; `author`: its `authorId`; `label`: its first label that starts with `labelPrefix`, without the prefix. */
  readonly by: TeacherJoin
  /** @default '' */
  readonly labelPrefix?: string
}

/** The part of an ID embedding that teaches. */
export type TeacherVector = Pick<IdEmbedding, 'vector' | 'exposures' | 'eventTs'>

/** What is known before a round's end. */
export interface TeacherLookup {
  /** Author and labels of an item; undefined for an item without content. */
  item(itemId: string): Pick<ItemContent, 'authorId' | 'labels'> | undefined
  /** The embedding of the newest offset with an event time before the round's end. */
  embedding(entity: string, entityId: string): TeacherVector | undefined
  /** Mean exposures over all IDs of a kind that have any; 0 when none has. */
  meanExposures(entity: string): number
}

export interface ExposureWeightOptions {
  /**
   * Items with fewer exposures do not teach. Higher: surer teachers, fewer of them.
   * @default 5
   */
  readonly minExposures?: number
  /**
   * How steeply the weight rises: tanh(saturation * exposures / mean). Higher: items below the mean teach more.
   * @default 4
   */
  readonly saturation?: number
}

export interface TeacherBatchOptions extends ExposureWeightOptions {
  /** In the order of the projection's inputs. */
  readonly kinds: readonly TeacherKind[]
  /** End of the round, milliseconds. */
  readonly endTs: number
  /**
   * Embeddings older than this at the round's end are left out; null: none is too old. Higher: more teachers, staler ones.
   * @default null
   */
  readonly staleMs?: number | null
  /** Kind whose exposures weigh an item. An item without an embedding of this kind is not taught. @default the first */
  readonly weightBy?: string
}

export const teacherDefaults = { minExposures: 5, saturation: 4, staleMs: null } as const satisfies Partial<TeacherBatchOptions>

/** What became of the lookups of one kind; `rows` of the batch are their sum. */
export interface TeacherCounts {
  present: number
  /** The item points to no such ID, or nothing is known of it. */
  missing: number
  /** Older than `staleMs`. */
  stale: number
  /** Of another dimension, not finite, or of no length. */
  refused: number
}

/** What teaches B items. */
export interface TeacherBatch extends TeacherRows {
  /** Per kind, in their order. */
  readonly counts: readonly TeacherCounts[]
}

/**
 * Trust in an item's teachers by how often it was shown, after ALDI (SIGIR 2023): 0 below `minExposures`, else
 * tanh(saturation * exposures / mean). At a tenth of the mean it is .38, at the mean .9993.
 */
export function exposureWeight(exposures: number, mean: number, options: ExposureWeightOptions = {}): number {
  const { minExposures, saturation } = { ...teacherDefaults, ...options }
  if (!(exposures >= minExposures) || !(mean > 0)) return 0
  return Math.tanh((saturation * exposures) / mean)
}

/** Mean over those above 0; 0 when there is none. */
export function meanExposures(exposures: Iterable<number>): number {
  let sum = 0
  let count = 0
  for (const value of exposures) {
    if (!(value > 0)) continue
    sum += value
    count++
  }
  return count === 0 ? 0 : sum / count
}

/** Shorter vectors have no direction. */
const leastLength = 1e-12

/**
 * Why a vector cannot teach, as the poison error of its record; undefined when it can.
 * @param dim - undefined: any
 */
export function teacherFault(vector: Float32Array, dim: number | undefined): SidestreamError | undefined {
  if (dim !== undefined && vector.length !== dim) {
    return new SidestreamError(
      'SIDESTREAM_VECTOR_DIM_MISMATCH',
      `an ID embedding has dimension ${vector.length}, the others of its kind have ${dim}`,
      { got: vector.length, expected: dim },
    )
  }
  let squares = 0
  for (const value of vector) squares += value * value
  if (!Number.isFinite(squares)) {
    return new SidestreamError('SIDESTREAM_VECTOR_NOT_FINITE', 'an ID embedding holds a number that is not finite')
  }
  if (Math.sqrt(squares) >= leastLength) return undefined
  return new SidestreamError('SIDESTREAM_RECORD_INVALID', 'an ID embedding has no length: a vector of zeros teaches nothing')
}

/** The ID of a kind that an item points to. */
export function teacherId(
  { by, labelPrefix = '' }: Pick<TeacherKind, 'by' | 'labelPrefix'>,
  itemId: string,
  item: ReturnType<TeacherLookup['item']>,
): string | undefined {
  if (by === 'item') return itemId
  if (by === 'author') return item?.authorId
  return item?.labels?.find((label) => label.startsWith(labelPrefix))?.slice(labelPrefix.length)
}

/**
 * The kind whose exposures weigh the items of a source of ids: the first kind of all when the source has it, else its own first.
 * By configuration alone, so that a source is not weighed by another kind on the day that one arrives.
 * @param first - name of the first of all kinds
 * @param entities - names of the source's kinds, those too that nothing is known of yet
 */
export function weigherOf(first: string | undefined, entities: readonly string[]): string | undefined {
  return first !== undefined && entities.includes(first) ? first : entities[0]
}

/**
 * How one source of ids is taught: by its own kinds in its order.
 * @param options - of all kinds; `weightBy`: the first of all, known or not
 */
export function teachersOfSource(options: TeacherBatchOptions, entities: readonly Pick<TeacherEntity, 'name'>[]): TeacherBatchOptions {
  const names = entities.map(({ name }) => name)
  const kinds = names.flatMap((name) => options.kinds.filter((kind) => kind.name === name))
  const weightBy = weigherOf(options.weightBy, names)
  return { ...options, kinds, ...(weightBy !== undefined && { weightBy }) }
}

/**
 * Packs what teaches some items.
 * @param rows - items in the order of the batch
 * @throws SIDESTREAM_USAGE_INVALID when `weightBy` names no kind
 */
export function buildTeacherBatch(
  rows: readonly { readonly targetId: string }[],
  lookup: TeacherLookup,
  { kinds, endTs, weightBy = kinds[0]?.name, staleMs = teacherDefaults.staleMs, ...weighing }: TeacherBatchOptions,
): TeacherBatch {
  const vectors = kinds.map(({ dim }) => new Float32Array(rows.length * dim))
  const presence = new Float32Array(rows.length * kinds.length)
  const weights = new Float32Array(rows.length)
  const counts = kinds.map((): TeacherCounts => ({ present: 0, missing: 0, stale: 0, refused: 0 }))
  const weigher = kinds.findIndex(({ name }) => name === weightBy)
  if (weigher < 0) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `there is no kind ${weightBy} to weigh teachers by`)
  const mean = lookup.meanExposures(kinds[weigher]!.name)
  for (const [row, { targetId }] of rows.entries()) {
    const item = lookup.item(targetId)
    for (const [k, kind] of kinds.entries()) {
      const id = teacherId(kind, targetId, item)
      const found = id === undefined ? undefined : lookup.embedding(kind.name, id)
      const count = counts[k]!
      if (found === undefined) count.missing++
      else if (staleMs !== null && found.eventTs < endTs - staleMs) count.stale++
      else if (teacherFault(found.vector, kind.dim) !== undefined) count.refused++
      else {
        count.present++
        vectors[k]!.set(found.vector, row * kind.dim)
        presence[row * kinds.length + k] = 1
        if (k === weigher) weights[row] = exposureWeight(found.exposures, mean, weighing)
      }
    }
  }
  return { vectors, presence, weights, counts }
}
