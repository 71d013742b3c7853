/**
 * How far sharing a prefix stands for being near: hits of a prefix against the exact nearest items by cosine.
 * Invariant: neighbors are looked for among all items; with equal vectors the answer does not depend on the codes.
 */

import { cosineNeighbors, hashUnit } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { prefixOf, type PrefixOrder } from './buckets.ts'
import { ranksOf, type OrderedIds } from './id-order.ts'

export interface NeighborOptions {
  /** Nearest items that a prefix is held against. @default 10 */
  readonly k: number
  /**
   * Most items that are asked. Above it, those with the lowest seeded hash of their id are taken, and the report says so.
   * Higher: less chance in the figures, linear cost.
   * @default 20000, on large catalogues fewer, down to 2000: see `defaultQueries`
   */
  readonly queries: number
  /** @default 1 */
  readonly seed: number
  /** @default 1 */
  readonly threads: number
}

export const neighborDefaults: Readonly<Omit<NeighborOptions, 'queries'>> = { k: 10, seed: 1, threads: 1 }

/** Multiplications that the default number of queries is cut at: a minute or two of one thread. */
const mostProducts = 1e12
const fewestQueries = 2000
const mostQueries = 20_000

/** Items that are asked by default. @param numbers - of all vectors, items x dim */
export function defaultQueries(numbers: number): number {
  return Math.max(fewestQueries, Math.min(mostQueries, Math.floor(mostProducts / numbers)))
}

/** The exact nearest items of some items. */
export interface Neighbors {
  readonly k: number
  /** Rows that were asked, ascending. */
  readonly queries: Uint32Array
  /** Nearest first, shape [queries, k]; -1 where there are fewer items. */
  readonly nearest: Int32Array
}

/** Hits of one prefix length. */
export interface NeighborHits {
  /** Mean of #(R and T) / #R over queries that share their prefix with another item; null when none does. */
  readonly precision: number | null
  /** Mean of #(R and T) / k over all queries; null without queries. */
  readonly recall: number | null
  readonly queries: number
  /** Queries with another item in their prefix: those behind `precision`. */
  readonly queriesWithNeighbors: number
}

/**
 * Exact nearest items by cosine of all items, or of a sample.
 * @param vectors - row-major float32, shape [items, dim]
 * @param known - ids, which decide who is in the sample, and which of equal cosines comes first; without them row numbers do
 * @throws SIDESTREAM_USAGE_INVALID, SIDESTREAM_SESSION_FAILED
 */
export async function findNeighbors(
  vectors: Float32Array,
  dim: number,
  options: Partial<NeighborOptions> = {},
  known?: OrderedIds,
): Promise<Neighbors> {
  const { k, queries: most = defaultQueries(vectors.length), seed, threads } = { ...neighborDefaults, ...options }
  if (!Number.isInteger(most) || most < 1) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `neighbors need a whole number of queries of at least 1, got ${most}`)
  }
  const queries = sampleRows(vectors.length / dim, most, seed, known?.ids)
  const ranks = known && { ranks: ranksOf(known.order) }
  return { k, queries, nearest: await cosineNeighbors(vectors, dim, queries, { k, threads, ...ranks }) }
}

/** All rows, or those with the lowest hash, so that the order of items changes nothing. */
function sampleRows(items: number, most: number, seed: number, ids?: readonly string[]): Uint32Array {
  const rows = Uint32Array.from({ length: items }, (_, row) => row)
  if (items <= most) return rows
  const hashes = Float64Array.from(rows, (row) => hashUnit(seed, ids?.[row] ?? String(row)))
  const limit = hashes.slice().sort()[most - 1]!
  return rows.filter((row) => hashes[row]! <= limit).slice(0, most)
}

/**
 * Hits of a prefix: R = the others that share it, T = the exact k nearest.
 * @param wanted - counts a query only when this is 1 for it, shape [items]
 */
export function neighborHits(prefixes: PrefixOrder, length: number, { k, queries, nearest }: Neighbors, wanted?: Uint8Array): NeighborHits {
  const of = prefixOf(prefixes, length)
  const bounds = prefixes.starts[length - 1]!
  let [asked, accompanied, precision, recall] = [0, 0, 0, 0]
  for (let q = 0; q < queries.length; q++) {
    const query = queries[q]!
    if (wanted !== undefined && wanted[query] === 0) continue
    asked++
    const prefix = of[query]!
    const others = bounds[prefix + 1]! - bounds[prefix]! - 1
    if (others === 0) continue
    accompanied++
    let hits = 0
    for (let at = q * k; at < (q + 1) * k; at++) if (nearest[at]! >= 0 && of[nearest[at]!] === prefix) hits++
    precision += hits / others
    recall += hits / k
  }
  return {
    precision: accompanied === 0 ? null : precision / accompanied,
    recall: asked === 0 ? null : recall / asked,
    queries: asked,
    queriesWithNeighbors: accompanied,
  }
}
