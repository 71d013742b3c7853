/**
 * An extra level that makes semantic IDs 1-1.
 * Invariant: independent of the order of items when ids are given; a published suffix never changes.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkCodes, checkRows, prefixOrder } from './buckets.ts'
import { idRanks } from './collisions.ts'

export interface SuffixedCodes {
  /** Row-major, shape [items, levels + 1]. */
  readonly codes: Uint16Array
  /** Sizes with that of the suffix behind them: 1 + the largest suffix. */
  readonly sizes: readonly number[]
}

/**
 * Adds a level that tells the items of a bucket apart, so that IDs are 1-1. It carries no meaning: two items with suffix 3 have nothing
 * in common. Published suffixes stay; the others take the lowest free numbers in the order of ids.
 * @param codes - row-major, shape [items, sizes.length]
 * @param published - suffix of each item that has one, else -1, shape [items]
 * @throws SIDESTREAM_USAGE_INVALID when two items of a bucket were published with one suffix; SIDESTREAM_SHAPE_MISMATCH, also where a
 *   bucket holds more items than a level has codes
 */
export function withSuffix(codes: Uint16Array, sizes: readonly number[], ids?: readonly string[], published?: Int32Array): SuffixedCodes {
  const items = checkCodes(codes, sizes)
  if (published !== undefined) checkRows(published, 1, items)
  const rankOf = idRanks(ids, items)
  const levels = sizes.length
  const { order, starts } = prefixOrder(codes, sizes)
  const buckets = starts.at(-1)!
  const out = new Uint16Array(items * (levels + 1))
  let most = 0
  for (let bucket = 0; bucket + 1 < buckets.length; bucket++) {
    const rows = order.slice(buckets[bucket], buckets[bucket + 1]).sort((a, b) => rankOf[a]! - rankOf[b]!)
    const used = new Set<number>()
    for (const row of rows) {
      const own = published?.[row] ?? -1
      if (own < 0) continue
      if (used.has(own))
        throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `two items of one ID were published with suffix ${own}, item ${row} is one`)
      used.add(own)
    }
    let free = 0
    for (const row of rows) {
      let suffix = published?.[row] ?? -1
      if (suffix < 0) {
        while (used.has(free)) free++
        suffix = free++
      }
      most = Math.max(most, suffix)
      if (suffix > 65_535) {
        throw new SidestreamError(
          'SIDESTREAM_SHAPE_MISMATCH',
          `a suffix of ${suffix} does not fit a level of 65,536 codes; bound the buckets first`,
        )
      }
      out.set(codes.subarray(row * levels, (row + 1) * levels), row * (levels + 1))
      out[row * (levels + 1) + levels] = suffix
    }
  }
  return { codes: out, sizes: [...sizes, most + 1] }
}
