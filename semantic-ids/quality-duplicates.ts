/**
 * Bit-identical vectors, told apart from collisions of distinct ones.
 * Invariant: vectors are equal when their bytes are.
 */

import { checkCodes, checkRows, identicalRows, prefixOrder, type Groups, type PrefixOrder } from './buckets.ts'
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
  const same = identicalRows(vectors, dim)
  const { duplicateGroups: _, ...counts } = duplicateCounts(same, prefixOrder(codes, sizes))
  const members = new Map<number, number[]>()
  for (let row = 0; row < same.of.length; row++) {
    const group = same.of[row]!
    if (same.counts[group]! < 2) continue
    const rows = members.get(group)
    if (rows === undefined) members.set(group, [row])
    else rows.push(row)
  }
  return { ...counts, groups: [...members.values()] }
}

/** A `DuplicateReport` that counts groups instead of naming their rows. */
export interface DuplicateCounts extends Omit<DuplicateReport, 'groups'> {
  /** Groups of two and more bit-identical vectors. */
  readonly duplicateGroups: number
}

/**
 * Duplicates and genuine collisions among the rows of `prefixes`, as if there were no others.
 * @param same - of all rows
 */
export function duplicateCounts(same: Groups, { items, order, starts }: PrefixOrder): DuplicateCounts {
  const counts = new Uint32Array(same.counts.length)
  for (let i = 0; i < items; i++) counts[same.of[order[i]!]!]!++
  let [distinctVectors, duplicateGroups] = [0, 0]
  for (let group = 0; group < counts.length; group++) {
    if (counts[group]! > 0) distinctVectors++
    if (counts[group]! > 1) duplicateGroups++
  }
  const bounds = starts.at(-1)!
  const buckets = bounds.length - 1
  const collides = new Uint8Array(counts.length)
  let collidingVectors = 0
  for (let bucket = 0; bucket < buckets; bucket++) {
    const [from, to] = [bounds[bucket]!, bounds[bucket + 1]!]
    const first = same.of[order[from]!]!
    let isShared = false
    for (let i = from + 1; i < to && !isShared; i++) isShared = same.of[order[i]!]! !== first
    if (!isShared) continue
    for (let i = from; i < to; i++) {
      const group = same.of[order[i]!]!
      if (collides[group] === 0) collidingVectors++
      collides[group] = 1
    }
  }
  return {
    distinctVectors,
    duplicateRows: items - distinctVectors,
    collidingVectors,
    uniqueRateOverDistinct: share(buckets, distinctVectors),
    duplicateGroups,
  }
}
