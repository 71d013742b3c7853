/**
 * Walks the scores of queries against all items of a vector set, row by row.
 * Invariant: memory is bounded by one block of rows, whatever the number of queries; items are bound once for all walks.
 */
import { normalizeRows } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { OpenSimilarity } from './ports.ts'

/** Most scores that are held at once (64 MiB): a large catalogue is asked for fewer queries at a time. */
const blockNumbers = 2 ** 24

/** Queries that are scored together. */
export function blockRows(items: number): number {
  return Math.max(1, Math.min(128, Math.floor(blockNumbers / Math.max(1, items))))
}

/** Queries and the items they are ranked against. Rows need not be of unit length; a zero row scores 0. */
export interface ScoreSpace {
  /** Row-major float32, shape [queries, dim]. */
  readonly queries: Float32Array
  /** Row-major float32, shape [items, dim]. */
  readonly items: Float32Array
  readonly dim: number
}

/**
 * Calls `visit` for every query (of [from, until), when given) in order with its cosines to all items, shape [items]; the
 * row is the visitor's to change, and valid until it returns.
 */
export type ScoreWalk = (visit: (query: number, scores: Float32Array) => void, from?: number, until?: number) => Promise<void>

/**
 * Binds the items for as long as `use` runs.
 * @throws SIDESTREAM_SHAPE_MISMATCH when rows are not whole or a number is not finite
 */
export async function withScores<T>(space: ScoreSpace, open: OpenSimilarity, use: (walk: ScoreWalk) => Promise<T>): Promise<T> {
  const { dim } = space
  const queries = unit('queries', space.queries, dim)
  const items = space.items === space.queries ? queries : unit('items', space.items, dim)
  const count = items.length / dim
  if (count === 0) {
    return use(async (visit, from = 0, until = queries.length / dim) => {
      for (let q = from; q < until; q++) visit(q, new Float32Array(0))
    })
  }
  const block = blockRows(count)
  const { similarity, close } = await open(items, dim, block)
  try {
    return await use(async (visit, from = 0, until = queries.length / dim) => {
      for (let first = from; first < until; first += block) {
        const rows = queries.subarray(first * dim, Math.min(first + block, until) * dim)
        const scores = await similarity(rows, rows.length / dim)
        for (let q = 0; q * dim < rows.length; q++) visit(first + q, scores.subarray(q * count, (q + 1) * count))
      }
    })
  } finally {
    await close()
  }
}

function unit(what: string, vectors: Float32Array, dim: number): Float32Array {
  if (!(dim > 0) || vectors.length % dim !== 0) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${vectors.length} numbers of ${what} are not whole rows of ${dim}`)
  }
  requireFinite(what, vectors, dim)
  const units = vectors.slice()
  normalizeRows(units, dim)
  return units
}

/**
 * A score that is not a number outranks nothing and is outranked by nothing, so it would look like the best there is.
 * @throws SIDESTREAM_SHAPE_MISMATCH when a number is not finite
 */
export function requireFinite(what: string, vectors: Float32Array, dim: number): void {
  const at = vectors.findIndex((value) => !Number.isFinite(value))
  if (at < 0) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `row ${Math.floor(at / dim)} of ${what} holds ${vectors[at]}; look for a head that diverged`,
  )
}

/** Rows of a matrix by number, in that order. */
export function rowsOf(vectors: Float32Array, dim: number, numbers: Int32Array): Float32Array {
  const rows = new Float32Array(numbers.length * dim)
  numbers.forEach((number, i) => rows.set(vectors.subarray(number * dim, (number + 1) * dim), i * dim))
  return rows
}
