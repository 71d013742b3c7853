/**
 * Hard negatives: for each query the candidates most like it that are still below lambda* (SAIL-Embedding, section 3.1). What
 * reaches lambda* is taken for a positive that nobody labelled, and dropped.
 * Invariants: a positive of the query, an excluded candidate and a row of zeros are never chosen; equal similarities go to the
 * lower row of the pool; the choice does not depend on the company of a query.
 */
import { normalizeRows } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { OpenSimilarity } from './ports.ts'
import { noNegatives, type PositivePairs } from './positive-pairs.ts'
import { openSimilarity } from './similarity.ts'

export interface MiningInput {
  /** Row-major float32, shape [n, dim]; lengths do not matter. */
  readonly queries: Float32Array
  /** Row-major float32, shape [p, dim]. */
  readonly pool: Float32Array
  readonly dim: number
  /** Ids of the queries with their targets and what is excluded, n rows. */
  readonly pairs: PositivePairs
  /** Distinct ids of the pool's rows, shape [p]. */
  readonly poolIds: readonly string[]
  /** lambda* of the source, of the same head; `Infinity` drops nothing. */
  readonly lambda: number
}

export interface MiningOptions {
  /** Negatives per query, m. Higher: more of each step goes to negatives, and the last ones are less hard. @default 4 */
  readonly perQuery?: number
}

export const miningDefaults: Readonly<Required<MiningOptions>> = { perQuery: 4 }

export interface MinedNegatives {
  /** Rows of the pool, hardest first, -1 where none is left, row-major, shape [n, m]. */
  readonly rows: Int32Array
  /** Their cosines, 0 where none is left, row-major, shape [n, m]. */
  readonly similarities: Float32Array
  /** 1 where `rows` holds a row, row-major, shape [n, m]. */
  readonly mask: Uint8Array
  /** Candidates at or above lambda*, summed over queries: false negatives. */
  readonly dropped: number
  /** Places that stayed empty. */
  readonly empty: number
}

/** Most queries scored at once, and most scores held at once. */
const block = 128
const blockScores = 2 ** 24

/**
 * Mines `perQuery` hard negatives for each query.
 * @param open - similarity in a worker thread unless given
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes differ, lambda is NaN or a vector is not finite
 */
export async function mineHardNegatives(
  { queries, pool, dim, pairs, poolIds, lambda }: MiningInput,
  options: MiningOptions = {},
  open: OpenSimilarity = openSimilarity,
): Promise<MinedNegatives> {
  const { perQuery } = { ...miningDefaults, ...options }
  const n = pairs.targetIds.length
  const p = poolIds.length
  if (queries.length !== n * dim || pool.length !== p * dim || Number.isNaN(lambda)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `mining needs ${n} queries and ${p} candidates of ${dim} dims and a threshold; got ${queries.length} and ${pool.length} numbers, lambda ${lambda}`,
    )
  }
  const mined = {
    rows: new Int32Array(n * perQuery).fill(-1),
    similarities: new Float32Array(n * perQuery),
    mask: new Uint8Array(n * perQuery),
  }
  const notNegative = noNegatives(pairs, poolIds)
  const units = { queries: queries.slice(), pool: pool.slice() }
  const blank = { queries: zeroRows(units.queries, dim), pool: zeroRows(units.pool, dim) }
  const skip = Uint8Array.from(blank.pool)
  const size = Math.max(1, Math.min(block, Math.floor(blockScores / Math.max(1, p))))
  const { similarity, close } = await open(units.pool, dim, size)
  let dropped = 0
  try {
    for (let first = 0; first < n; first += size) {
      const count = Math.min(size, n - first)
      const scores = await similarity(units.queries.subarray(first * dim, (first + count) * dim), count)
      for (let i = 0; i < count; i++) {
        const query = first + i
        if (blank.queries[query] === 1) continue
        const skipped = notNegative(query)
        for (const row of skipped) skip[row] = 1
        const [from, until] = [query * perQuery, (query + 1) * perQuery]
        dropped += hardestBelow(lambda, scores.subarray(i * p, (i + 1) * p), skip, {
          rows: mined.rows.subarray(from, until),
          similarities: mined.similarities.subarray(from, until),
        })
        for (const row of skipped) skip[row] = blank.pool[row]!
      }
    }
  } finally {
    await close()
  }
  let empty = 0
  mined.rows.forEach((row, place) => {
    if (row < 0) empty++
    else mined.mask[place] = 1
  })
  return { ...mined, dropped, empty }
}

/** Brings rows to unit length in place; 1 where a row has no direction, shape [rows]. */
function zeroRows(x: Float32Array, dim: number): Uint8Array {
  normalizeRows(x, dim)
  return Uint8Array.from({ length: x.length / dim }, (_, row) =>
    x.subarray(row * dim, (row + 1) * dim).every((value) => value === 0) ? 1 : 0,
  )
}

/**
 * Keeps the largest scores below `lambda` in `best`, largest first, equal ones by lower row.
 * @param skip - 1 where a row may not be chosen, shape [p]
 * @returns how many rows reach `lambda`
 */
function hardestBelow(
  lambda: number,
  scores: Float32Array,
  skip: Uint8Array,
  best: { readonly rows: Int32Array; readonly similarities: Float32Array },
): number {
  const size = best.rows.length
  let filled = 0
  let dropped = 0
  for (let row = 0; row < scores.length; row++) {
    const score = scores[row]!
    if (!(score < lambda)) {
      if (Number.isNaN(score)) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `similarity with pool row ${row} is not a number`)
      dropped += 1 - skip[row]!
      continue
    }
    if (skip[row] === 1 || (filled === size && !(score > best.similarities[size - 1]!))) continue
    let place = filled < size ? filled++ : size - 1
    for (; place > 0 && score > best.similarities[place - 1]!; place--) {
      best.rows[place] = best.rows[place - 1]!
      best.similarities[place] = best.similarities[place - 1]!
    }
    best.rows[place] = row
    best.similarities[place] = score
  }
  return dropped
}
