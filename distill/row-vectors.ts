/**
 * What a head makes of training rows: the pooled history and the target of each, as mining and balancing look at them.
 * Invariant: each distinct item is encoded once.
 */

import type { ComputeWorker } from '../compute/index.ts'
import { HeadEncoder } from './head-encoder.ts'
import type { ContentLookup, TrainingRow } from './batches.ts'
import type { Head } from './head.ts'

/** Two vectors a row, row-major float32 [rows, dim]. */
export interface RowVectors {
  /** Means of the history's unit vectors; not of unit length. */
  readonly queries: Float32Array
  /** Of unit length. */
  readonly targets: Float32Array
  readonly dim: number
}

/** Distilled vectors of items, row-major float32 [ids.length, dim]. */
export interface ItemVectors {
  readonly ids: readonly string[]
  readonly vectors: Float32Array
  readonly dim: number
  /** Row of an item. */
  readonly places: ReadonlyMap<string, number>
}

/**
 * Encodes the distinct items of rows with the head's distilled part.
 * @param rows - rows that passed `usableRows` with the same content
 * @param worker - encodes in this thread; one of its own when left out
 * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE, SIDESTREAM_SESSION_FAILED
 */
export async function encodeItemsOf(
  head: Head,
  rows: Iterable<TrainingRow>,
  content: ContentLookup,
  worker?: ComputeWorker,
): Promise<ItemVectors> {
  const places = new Map<string, number>()
  for (const { targetId, history } of rows) {
    for (const id of [targetId, ...history]) if (!places.has(id)) places.set(id, places.size)
  }
  const ids = [...places.keys()]
  const encoder = await HeadEncoder.create(head, worker ? { worker } : {})
  try {
    const { distilled } = await encoder.encode(ids.map((id) => content(id)!))
    return { ids, vectors: distilled, dim: head.spec.dims, places }
  } finally {
    await encoder.close()
  }
}

/** Pooled histories and targets of rows whose items were encoded. @param historyLength - newest items that are pooled */
export function rowVectors(rows: readonly TrainingRow[], { vectors, dim, places }: ItemVectors, historyLength: number): RowVectors {
  const queries = new Float32Array(rows.length * dim)
  const targets = new Float32Array(rows.length * dim)
  for (const [i, { targetId, history }] of rows.entries()) {
    const target = places.get(targetId)! * dim
    targets.set(vectors.subarray(target, target + dim), i * dim)
    const pooled = history.slice(-historyLength)
    for (const id of pooled) {
      const from = places.get(id)! * dim
      for (let d = 0; d < dim; d++) queries[i * dim + d]! += vectors[from + d]! / pooled.length
    }
  }
  return { queries, targets, dim }
}
