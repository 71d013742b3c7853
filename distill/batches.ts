/**
 * Turns training rows into the arrays of one training step.
 * Invariants: every distinct item of a batch stands in it once, in order of first use (targets first); a row's negatives
 * never hold its own target, another positive of the same user, a known partner of its query, or (but for `maskHistory: false`)
 * an item of its history or a target in whose history its own target stands; batches depend on rows, partners and content alone.
 */

import type { DistillSample, ItemPair } from '../schemas/index.ts'
import type { Partners } from './positive-pairs.ts'
import { keepHistory } from './samples.ts'
import { requireVector, type ContentVectors, type Modality } from './statistics.ts'

/** Content of an item, or undefined when it is not known (yet). */
export type ContentLookup = (itemId: string) => ContentVectors | undefined

/** What a training row needs; every `DistillSample` is one. */
export interface TrainingRow extends Pick<DistillSample, 'userId' | 'targetId' | 'history' | 'marks'> {
  /** How well the two sides belong together; only pairs have one, and more is closer. */
  readonly score?: number | null
}

/**
 * A pair of items as a row: a history of one item. Two pairs of one query are positives of each other, as two rows of one
 * user are.
 */
export function pairRow({ queryId, targetId, score }: Pick<ItemPair, 'queryId' | 'targetId' | 'score'>): TrainingRow {
  return { userId: queryId, targetId, history: [queryId], score: score ?? null }
}

/** An item that its ID embeddings teach, as a row. */
export function idRow(itemId: string): TrainingRow {
  return { userId: itemId, targetId: itemId, history: [] }
}

/** One step's arrays: B rows, U distinct items. */
export interface Batch {
  /** B. */
  readonly rows: number
  /** U. */
  readonly items: number
  /** Raw vectors per modality in the order of the head, row-major [U, dim]; zero rows where absent. */
  readonly vectors: readonly Float32Array[]
  /** 1 where item and modality meet, row-major [U, M]. */
  readonly presence: Float32Array
  /**
   * Share of each item in each row's history, row-major [B, U]: 1 / length where it stands in it, rows sum to 1. A matrix
   * product with it is the mean pool: 2.4 times faster per step than picking history rows and scattering their gradients back with 512 rows
   * of 450 items, equal with 2,250 (`bench/distill-step.bench.ts`), slower when items hardly repeat; one way for all keeps bits equal.
   */
  readonly pool: Float32Array
  /** Item of each row's target, shape [B]. */
  readonly targets: BigInt64Array
  /** 1 where row i may use the target of row j (its own on the diagonal), row-major [B, B]. */
  readonly allowed: Uint8Array
  /** Rows whose target has nothing to be told apart from: the batch is of one user, say. They teach nothing. */
  readonly withoutNegatives: number
  /** Weight of each row in the contrast, shape [B]; a graded pair that is no positive has 0. */
  readonly weights: Float32Array
  /** Score of each row's pair, shape [B]; all equal where there is none. */
  readonly scores: Float32Array
  /** For a pooler that looks at places: items of each history, oldest first, filled up with item 0; row-major [B, L]. */
  readonly history?: { readonly length: number; readonly items: BigInt64Array; readonly mask: Float32Array }
  /** Items that each row must not be close to, filled up with item 0; row-major [B, m]. Of ids: rows of `teachers`. */
  readonly hard?: { readonly count: number; readonly items: BigInt64Array; readonly mask: Uint8Array }
  /** ID embeddings of the targets, and after them those of hard negatives that are no target; T >= B. */
  readonly teachers?: TeacherRows
}

/** ID embeddings of T items, by kind. */
export interface TeacherRows {
  /** By kind, row-major float32 [T, dim of the kind]; zero rows where absent. */
  readonly vectors: readonly Float32Array[]
  /** 1 where row and kind meet, row-major [T, K]. */
  readonly presence: Float32Array
  /** How far each row's teacher is trusted, from 0 to 1, shape [T]. */
  readonly weights: Float32Array
}

/** Hard negatives: how many a row has at most, and those of each row. */
export interface HardOfRows {
  readonly count: number
  readonly ofRows: readonly (readonly string[])[]
}

export interface BatchOptions {
  readonly modalities: readonly Modality[]
  /** The newest items of a history that are pooled, at most so many. */
  readonly historyLength: number
  /** Whether the places of histories are wanted, for a pooler. @default false */
  readonly places?: boolean
  readonly hard?: HardOfRows
  /** Of graded pairs: which are positives, as `SourceOptions.positiveFrom` says. @default all rows are */
  readonly graded?: { readonly positiveFrom: number | null }
  /** Whether rows are no negatives of each other when the target of one stands in the history of the other. @default true */
  readonly maskHistory?: boolean
  /** Of pairs: what is known to belong together, beyond these rows. */
  readonly partners?: Partners
}

/** Rows that can be trained on, and how many could not. */
export interface UsableRows<Row> {
  readonly rows: Row[]
  /** Target without content, or no item of the history with content. */
  readonly dropped: number
}

/**
 * Keeps rows whose target and at least one history item have content; history items without content are left out.
 * @param options.needsHistory - false for rows that have none, of items and their ID embeddings
 */
export function usableRows<Row extends TrainingRow>(
  rows: Iterable<Row>,
  content: ContentLookup,
  { needsHistory = true }: { readonly needsHistory?: boolean } = {},
): UsableRows<Row> {
  const known = new Map<string, boolean>()
  const isKnown = (id: string): boolean => {
    let answer = known.get(id)
    if (answer === undefined) known.set(id, (answer = content(id) !== undefined))
    return answer
  }
  const usable: Row[] = []
  let dropped = 0
  for (const row of rows) {
    const kept = keepHistory(row, (id) => id !== row.targetId && isKnown(id))
    if ((needsHistory && kept.history.length === 0) || !isKnown(row.targetId)) dropped++
    else usable.push(kept)
  }
  return { rows: usable, dropped }
}

/** Cuts `rows` into ceil(n / size) consecutive batches of nearly equal length, so that none is left tiny. */
export function splitRows<Row>(rows: readonly Row[], size: number): Row[][] {
  const count = Math.ceil(rows.length / size)
  return Array.from({ length: count }, (_, i) =>
    rows.slice(Math.floor((i * rows.length) / count), Math.floor(((i + 1) * rows.length) / count)),
  )
}

/**
 * Builds the arrays of one step.
 * @param rows - rows that passed `usableRows` with the same `content`
 * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function buildBatch(rows: readonly TrainingRow[], content: ContentLookup, options: BatchOptions): Batch {
  const { modalities, historyLength, places: wantsPlaces = false, hard, graded, partners, maskHistory } = options
  const index = new Map<string, number>()
  const ids: string[] = []
  const place = (id: string): number => {
    let at = index.get(id)
    if (at === undefined) {
      at = ids.push(id) - 1
      index.set(id, at)
    }
    return at
  }
  const targets = new BigInt64Array(rows.length)
  for (const [i, row] of rows.entries()) targets[i] = BigInt(place(row.targetId))
  const histories = rows.map((row) => row.history.slice(-historyLength).map(place))
  const hardItems = hard && placed(rows.length, hard.count, (i) => (hard.ofRows[i] ?? []).slice(0, hard.count).map(place))
  const items = ids.length
  const allowed = allowedNegatives(rows, partners, maskHistory)
  const pool = new Float32Array(rows.length * items)
  for (const [i, places] of histories.entries()) for (const at of places) pool[i * items + at]! += 1 / places.length
  return {
    rows: rows.length,
    items,
    ...gatherContent(ids, content, modalities),
    pool,
    targets,
    allowed,
    withoutNegatives: countWithoutNegatives(rows.length, allowed, hard),
    weights: graded ? gradedWeights(rows, graded.positiveFrom) : new Float32Array(rows.length).fill(1),
    scores: Float32Array.from(rows, ({ score }) => score ?? 0),
    ...(wantsPlaces ? { history: historyPlaces(histories, historyLength) } : {}),
    ...(hardItems && hard ? { hard: { count: hard.count, items: hardItems.items, mask: hardItems.mask } } : {}),
  }
}

/** Items whose ID embeddings a batch needs: the targets of its rows, then hard negatives that are none of those. */
export function hardTeachers(
  rows: readonly TrainingRow[],
  hard: HardOfRows | undefined,
): { readonly ids: string[]; readonly hard?: NonNullable<Batch['hard']> } {
  const ids = rows.map(({ targetId }) => targetId)
  if (hard === undefined) return { ids }
  const index = new Map(ids.map((id, at) => [id, at]))
  const place = (id: string): number => {
    let at = index.get(id)
    if (at === undefined) index.set(id, (at = ids.push(id) - 1))
    return at
  }
  const places = placed(rows.length, hard.count, (i) => (hard.ofRows[i] ?? []).slice(0, hard.count).map(place))
  return { ids, hard: { count: hard.count, ...places } }
}

/** 1 for a pair that belongs together, 0 for one whose score only says that it is farther apart; a row without a score counts. */
function gradedWeights(rows: readonly TrainingRow[], positiveFrom: number | null): Float32Array {
  const ascending = Float64Array.from(rows.flatMap(({ score }) => score ?? [])).sort()
  const median = ascending[Math.floor((ascending.length - 1) / 2)] ?? 0
  const best = ascending.at(-1) ?? 0
  return Float32Array.from(rows, ({ score }) => {
    if (score === undefined || score === null) return 1
    return (positiveFrom === null ? score > median || score === best : score >= positiveFrom) ? 1 : 0
  })
}

function historyPlaces(histories: readonly (readonly number[])[], length: number): NonNullable<Batch['history']> {
  const { items, mask } = placed(histories.length, length, (i) => histories[i]!)
  return { length, items, mask: Float32Array.from(mask) }
}

/** Lists of places as a matrix [rows, width], and 1 where it is filled. */
function placed(rows: number, width: number, of: (row: number) => readonly number[]): { items: BigInt64Array; mask: Uint8Array } {
  const items = new BigInt64Array(rows * width)
  const mask = new Uint8Array(rows * width)
  for (let i = 0; i < rows; i++) {
    for (const [k, at] of of(i).entries()) {
      items[i * width + k] = BigInt(at)
      mask[i * width + k] = 1
    }
  }
  return { items, mask }
}

/**
 * Raw vectors and presence of `ids`, packed for the head.
 * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function gatherContent<Id>(
  ids: readonly Id[],
  content: (id: Id) => ContentVectors | undefined,
  modalities: readonly Modality[],
): { readonly vectors: Float32Array[]; readonly presence: Float32Array } {
  const vectors = modalities.map(({ dim }) => new Float32Array(ids.length * dim))
  const presence = new Float32Array(ids.length * modalities.length)
  for (const [u, id] of ids.entries()) {
    const item = content(id)
    for (const [m, modality] of modalities.entries()) {
      const vector = item?.[modality.name]
      if (vector === undefined) continue
      requireVector(vector, modality)
      vectors[m]!.set(vector, u * modality.dim)
      presence[u * modalities.length + m] = 1
    }
  }
  return { vectors, presence }
}

/**
 * Which in-batch negatives each row may use (see the module's invariant).
 * @param partners - of rows that are pairs
 * @returns row-major, shape [B, B], 1 allowed, 0 not; the diagonal (the positive) is always 1
 */
export function allowedNegatives(rows: readonly TrainingRow[], partners?: Partners, maskHistory = true): Uint8Array {
  const n = rows.length
  const allowed = new Uint8Array(n * n).fill(1)
  const rowsOfTarget = groupRows(rows, (row) => row.targetId)
  const rowsOfUser = groupRows(rows, (row) => row.userId)
  const forbid = (i: number, others: readonly number[] | undefined): void => {
    for (const j of others ?? []) {
      allowed[i * n + j] = 0
      allowed[j * n + i] = 0
    }
  }
  for (const [i, row] of rows.entries()) {
    forbid(i, rowsOfTarget.get(row.targetId))
    forbid(i, rowsOfUser.get(row.userId))
    if (maskHistory) for (const id of row.history) forbid(i, rowsOfTarget.get(id))
    const own = partners?.get(row.userId)
    if (own === undefined) continue
    // Of a hub and a batch the smaller one is gone through.
    if (own.size < n) for (const id of own) for (const j of rowsOfTarget.get(id) ?? []) allowed[i * n + j] = 0
    else for (const [j, { targetId }] of rows.entries()) if (own.has(targetId)) allowed[i * n + j] = 0
  }
  for (let i = 0; i < n; i++) allowed[i * n + i] = 1
  return allowed
}

/** Rows that may use no other target of the batch and have no hard negative. */
export function countWithoutNegatives(rows: number, allowed: Uint8Array, hard?: HardOfRows): number {
  let count = 0
  for (let i = 0; i < rows; i++) {
    if ((hard?.ofRows[i] ?? []).length > 0) continue
    let j = 0
    while (j < rows && (j === i || allowed[i * rows + j] === 0)) j++
    if (j === rows) count++
  }
  return count
}

function groupRows(rows: readonly TrainingRow[], key: (row: TrainingRow) => string): Map<string, number[]> {
  const groups = new Map<string, number[]>()
  for (const [i, row] of rows.entries()) {
    const group = groups.get(key(row))
    if (group) group.push(i)
    else groups.set(key(row), [i])
  }
  return groups
}
