/**
 * Bit-identical vectors, told apart from collisions of distinct ones.
 * Invariant: vectors are equal when their bytes are.
 */

import { checkCodes, checkRows, identicalRows, prefixOrder, type PrefixOrder } from './buckets.ts'
import { share } from './quality-usage.ts'

export interface DuplicateReport {
  readonly distinctVectors: number
  /** Rows beyond the first of their group. */
  readonly duplicateRows: number
  /** Row numbers of every group of two or more. */
  readonly groups: readonly (readonly number[])[]
  /** Distinct vectors that share an ID with another distinct vector. */
  readonly collidingVectors: number
  /** Distinct IDs / distinct vectors. */
  readonly uniqueRateOverDistinct: number
}

/**
 * Duplicates and genuine collisions.
 * @param vectors - row-major float32, shape [rows, dim]
 * @param codes - row-major, shape [rows, sizes.length]
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function duplicates(vectors: Float32Array, codes: Uint16Array, dim: number, sizes: readonly number[]): DuplicateReport {
  checkRows(vectors, dim, checkCodes(codes, sizes))
  return duplicatesOf(vectors, dim, prefixOrder(codes, sizes))
}

/** `duplicates` of codes that were checked and sorted. */
export function duplicatesOf(vectors: Float32Array, dim: number, prefixes: PrefixOrder): DuplicateReport {
  const same = identicalRows(vectors, dim)
  const distinctVectors = same.counts.length
  const members = new Map<number, number[]>()
  for (let row = 0; row < same.of.length; row++) {
    const group = same.of[row]!
    if (same.counts[group]! < 2) continue
    const rows = members.get(group)
    if (rows === undefined) members.set(group, [row])
    else rows.push(row)
  }
  const bounds = prefixes.starts.at(-1)!
  const buckets = bounds.length - 1
  const collides = new Uint8Array(distinctVectors)
  for (let bucket = 0; bucket < buckets; bucket++) {
    const [from, to] = [bounds[bucket]!, bounds[bucket + 1]!]
    const first = same.of[prefixes.order[from]!]!
    let isShared = false
    for (let i = from + 1; i < to && !isShared; i++) isShared = same.of[prefixes.order[i]!]! !== first
    if (isShared) for (let i = from; i < to; i++) collides[same.of[prefixes.order[i]!]!] = 1
  }
  const collidingVectors = collides.reduce((sum, one) => sum + one, 0)
  return {
    distinctVectors,
    duplicateRows: same.of.length - distinctVectors,
    groups: [...members.values()],
    collidingVectors,
    uniqueRateOverDistinct: share(buckets, distinctVectors),
  }
}
