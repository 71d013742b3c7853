/**
 * How much of an item's content neighborhood a vector set keeps: recall@50 of its raw top-10 neighbors.
 * Invariant: an item is never its own neighbor; ties go to the lower item number.
 */
import { topK } from '../compute/index.ts'
import type { OpenSimilarity } from './ports.ts'
import { rowsOf, withScores } from './score-rows.ts'
import { openSimilarity } from './similarity.ts'

export interface NeighborOptions {
  /** Raw neighbors that should be found again. @default 10 */
  readonly relevant?: number
  /** How deep they may stand. @default 50 */
  readonly depth?: number
  /** Most items that are asked; they are taken evenly over the numbers. Higher: steadier, linear cost. @default 2000 */
  readonly maxItems?: number
}

export const neighborDefaults: Readonly<Required<NeighborOptions>> = { relevant: 10, depth: 50, maxItems: 2000 }

export interface NeighborRecall {
  readonly recall: number
  /** Items that were asked. */
  readonly items: number
  /** Of each item that was asked, shape [items]. */
  readonly recalls: Float64Array
}

export interface NeighborSets {
  /** Row-major float32, shape [items, rawDim]. */
  readonly raw: Float32Array
  readonly rawDim: number
  /** Row-major float32, shape [items, dim]. */
  readonly candidate: Float32Array
  readonly dim: number
  readonly items: number
}

/**
 * Mean share of each item's `relevant` raw neighbors that are among its `depth` nearest in the candidate.
 * @returns the mean over the items that were asked, and the share of each, shape [items]; undefined with no more than `depth` + 1 items: all would be found whatever the vectors
 */
export async function neighborRecall(
  { raw, rawDim, candidate, dim, items }: NeighborSets,
  options: NeighborOptions = {},
  open: OpenSimilarity = openSimilarity,
): Promise<NeighborRecall | undefined> {
  const { relevant, depth, maxItems } = { ...neighborDefaults, ...options }
  if (items <= depth + 1) return undefined
  const asked = Math.min(items, maxItems)
  const numbers = Int32Array.from({ length: asked }, (_, i) => Math.floor((i * items) / asked))
  const wanted = await nearestItems(raw, rawDim, numbers, relevant, open)
  const found = await nearestItems(candidate, dim, numbers, depth, open)
  let all = 0
  const recalls = new Float64Array(asked)
  for (let i = 0; i < asked; i++) {
    const near = new Set(found.subarray(i * depth, (i + 1) * depth))
    let kept = 0
    for (let k = 0; k < relevant; k++) if (near.has(wanted[i * relevant + k]!)) kept++
    recalls[i] = kept / relevant
    all += kept
  }
  return { recall: all / (asked * relevant), items: asked, recalls }
}

/**
 * The k nearest items by cosine of some items, nearest first, shape [numbers.length, k]; never the item itself.
 * @param vectors - row-major float32, shape [items, dim]
 */
export async function nearestItems(
  vectors: Float32Array,
  dim: number,
  numbers: Int32Array,
  k: number,
  open: OpenSimilarity,
): Promise<Int32Array> {
  const out = new Int32Array(numbers.length * k)
  await withScores({ queries: rowsOf(vectors, dim, numbers), items: vectors, dim }, open, (walk) =>
    walk((q, scores) => out.set(topK(scores, k, numbers[q]).indices, q * k)),
  )
  return out
}
