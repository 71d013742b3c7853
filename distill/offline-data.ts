/**
 * What the files of an offline run hold: items, samples, pairs and ID embeddings, with the last stretch of time set apart.
 * Invariants: a function of the records alone, not of how they are batched; what is held out is never among what is trained on.
 * Everything is held in memory.
 */

import { hashUnit } from '../compute/index.ts'
import { SidestreamError, type IdEmbedding, type Interaction, type ItemContent, type ItemPair } from '../schemas/index.ts'
import { readHistory, type OfflineHistory } from './offline-history.ts'
import { requireMemory, type OfflineMemory } from './offline-memory.ts'
import type { SampleOptions } from './samples.ts'
import { meanExposures, teacherFault, type TeacherKind, type TeacherLookup } from './teachers.ts'

/** Records as the file readers give them: batches, in order. */
export type RecordBatches<T> = AsyncIterable<readonly T[]> | Iterable<readonly T[]>

/** One row of content; null deletes the item. The last row of an item counts. */
export interface ContentRecord {
  readonly itemId: string
  readonly content: ItemContent | null
}

/** A kind of ID embedding whose dimension may be that of its first vector. */
export type OfflineTeacherKind = Omit<TeacherKind, 'dim'> & { readonly dim: number | null }

export interface OfflineRecords {
  readonly interactions: RecordBatches<Interaction>
  readonly content: RecordBatches<ContentRecord>
  /** Labelled pairs, of any number of sources. */
  readonly pairs?: RecordBatches<ItemPair>
  readonly idEmbeddings?: RecordBatches<IdEmbedding>
}

export interface OfflineDataOptions {
  readonly samples: SampleOptions
  /**
   * Share of the interactions, the newest ones, that is not trained on but judged by; also the share of pairs.
   * @default 0
   */
  readonly holdOut?: number
  readonly teacherKinds?: readonly OfflineTeacherKind[]
  /** Seed of which pairs are held out. @default 0 */
  readonly seed?: number
  /** What must do. @default there is enough */
  readonly memory?: OfflineMemory
}

/** Where reading is. */
export interface ReadProgress {
  readonly phase: 'content' | 'interactions'
  readonly done: number
}

/** Pairs of one source, sorted by their items, each once. */
export interface PairSets {
  readonly trained: readonly ItemPair[]
  readonly heldOut: readonly ItemPair[]
}

export interface OfflineData extends Omit<OfflineHistory, 'seen'> {
  readonly items: ReadonlyMap<string, ItemContent>
  /** Items with content and an interaction before the cut, sorted. */
  readonly warm: readonly string[]
  /** By source. */
  readonly pairs: ReadonlyMap<string, PairSets>
  readonly teachers: OfflineTeachers
}

/** ID embeddings as of the cut. */
export interface OfflineTeachers extends TeacherLookup {
  /** Kinds that have a dimension: one that was given, or a vector. */
  readonly kinds: readonly TeacherKind[]
  /** The first of all kinds, with a dimension or not: it weighs the items of sources that have it. */
  readonly weightBy: string | undefined
  /** Rows by what became of them; `refused`: no finite direction, or another dimension; `late`: from the cut on; `other`: no kind that teaches. */
  readonly counts: Readonly<Record<'rows' | 'refused' | 'late' | 'other', number>>
  /** The items' own embeddings at the end of the data, of the first kind that is joined by the item: what a head is compared with. */
  readonly ofItems: { readonly dim: number; readonly vector: (itemId: string) => Float32Array | undefined } | undefined
}

/** Reads everything. @throws whatever the readers throw; SIDESTREAM_INPUT_TOO_LARGE; SIDESTREAM_USAGE_INVALID for a share outside [0, 1) */
export async function readOfflineData(
  records: OfflineRecords,
  { samples, holdOut = 0, teacherKinds = [], seed = 0, memory }: OfflineDataOptions,
  onProgress: (progress: ReadProgress) => void = () => {},
): Promise<OfflineData> {
  if (!(holdOut >= 0 && holdOut < 1)) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `the held-out share must be from 0 to below 1, not ${holdOut}`)
  }
  const items = new Map<string, ItemContent>()
  let done = 0
  let numbers = 0
  for await (const batch of records.content) {
    for (const { itemId, content } of batch) {
      numbers -= numbersOf(items.get(itemId))
      if (content === null) items.delete(itemId)
      else items.set(itemId, requireMeasurable(content))
      numbers += numbersOf(content)
    }
    if (memory) requireMemory({ interactions: 0, users: 0, items: items.size, numbers }, memory)
    onProgress({ phase: 'content', done: (done += batch.length) })
  }
  const { seen, ...history } = await readHistory(records.interactions, samples, holdOut, ({ length, users, items: named }) => {
    if (memory) requireMemory({ interactions: length, users, items: Math.max(items.size, named), numbers }, memory)
    onProgress({ phase: 'interactions', done: length })
  })
  const warm = [...seen].filter((id) => items.has(id)).sort()
  const pairs = records.pairs === undefined ? new Map<string, PairSets>() : await readPairs(records.pairs, holdOut, seed)
  const teachers = await readTeachers(records.idEmbeddings ?? [], teacherKinds, history, (id) => items.get(id))
  return { items, ...history, warm, pairs, teachers }
}

function numbersOf(content: ItemContent | null | undefined): number {
  return Object.values(content?.vectors ?? {}).reduce((sum, vector) => sum + (vector?.length ?? 0), 0)
}

/** Longer vectors have squares that no float32 holds, and every sum they are in would be no number. */
const longestVector = 1e18

/** @throws SIDESTREAM_VECTOR_NOT_FINITE */
function requireMeasurable(content: ItemContent): ItemContent {
  for (const [modality, vector] of Object.entries(content.vectors)) {
    let squares = 0
    for (const value of vector) squares += value * value
    if (Math.sqrt(squares) <= longestVector) continue
    throw new SidestreamError(
      'SIDESTREAM_VECTOR_NOT_FINITE',
      `the ${modality} vector of item ${content.itemId} is too long to be computed with (${Math.sqrt(squares).toExponential(1)}); scale the vectors, as to unit length`,
      { itemId: content.itemId, modality },
    )
  }
  return content
}

/** A pair and its mirror image are held out together: one would give the other away. */
async function readPairs(batches: RecordBatches<ItemPair>, holdOut: number, seed: number): Promise<Map<string, PairSets>> {
  const keyed = new Map<string, Map<string, ItemPair>>()
  for await (const batch of batches) {
    for (const pair of batch) {
      if (pair.queryId === pair.targetId) continue
      const own = keyed.get(pair.source) ?? new Map<string, ItemPair>()
      keyed.set(pair.source, own)
      own.set(JSON.stringify([pair.queryId, pair.targetId]), pair)
    }
  }
  const sets = new Map<string, PairSets>()
  for (const [source, own] of keyed) {
    const trained: ItemPair[] = []
    const heldOut: ItemPair[] = []
    for (const [, pair] of [...own].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const both = [pair.queryId, pair.targetId].sort()
      ;(hashUnit(seed, JSON.stringify(both)) < holdOut ? heldOut : trained).push(pair)
    }
    sets.set(source, { trained, heldOut })
  }
  return sets
}

/** The newest row of each ID before the cut; like in the log, the later of two rows is the newer one. */
async function readTeachers(
  batches: RecordBatches<IdEmbedding>,
  given: readonly OfflineTeacherKind[],
  { cutTs, newestTs }: Pick<OfflineData, 'cutTs' | 'newestTs'>,
  item: TeacherLookup['item'],
): Promise<OfflineTeachers> {
  const dims = new Map(given.flatMap(({ name, dim }) => (dim === null ? [] : [[name, dim] as const])))
  const known = new Map(given.map(({ name }) => [name, new Map<string, IdEmbedding>()]))
  const ownKind = given.find(({ by }) => by === 'item')?.name
  const latest = new Map<string, IdEmbedding>()
  const counts = { rows: 0, refused: 0, late: 0, other: 0 }
  for await (const batch of batches) {
    for (const row of batch) {
      counts.rows++
      const own = known.get(row.entity)
      if (own === undefined) counts.other++
      else if (teacherFault(row.vector, dims.get(row.entity)) !== undefined) counts.refused++
      else {
        if (row.entity === ownKind && row.eventTs <= newestTs) latest.set(row.entityId, row)
        if (row.eventTs >= cutTs) counts.late++
        else {
          if (!dims.has(row.entity)) dims.set(row.entity, row.vector.length)
          own.set(row.entityId, row)
        }
      }
    }
  }
  const means = new Map([...known].map(([name, own]) => [name, meanExposures([...own.values()].map(({ exposures }) => exposures))]))
  return {
    kinds: given.flatMap((kind): TeacherKind[] => (dims.has(kind.name) ? [{ ...kind, dim: dims.get(kind.name)! }] : [])),
    weightBy: given[0]?.name,
    counts,
    ofItems: ofItems(latest, dims.get(ownKind ?? '')),
    item,
    embedding: (entity, id) => known.get(entity)?.get(id),
    meanExposures: (entity) => means.get(entity) ?? 0,
  }
}

/** @param dim - undefined: that of the first, where all came after the cut */
function ofItems(latest: ReadonlyMap<string, IdEmbedding>, dim = [...latest.values()][0]?.vector.length): OfflineTeachers['ofItems'] {
  if (dim === undefined || latest.size === 0) return undefined
  const vector = (itemId: string): Float32Array | undefined => {
    const found = latest.get(itemId)?.vector
    return found?.length === dim ? found : undefined
  }
  return { dim, vector }
}
