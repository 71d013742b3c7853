/**
 * Groups items by the prefixes of their semantic IDs and by equal vectors, without ever forming the product of the level sizes.
 * Invariant: groups of prefixes follow the order of the codes, so neither their numbers nor what is summed over them depends on the
 * order in which items came.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkSizes, rowsOf } from './codebooks.ts'

/** Rows sorted by their codes: the items of every prefix, of any length, stand one after another. */
export interface PrefixOrder {
  readonly items: number
  /** Rows by codes, level by level; equal IDs keep their order, shape [items]. */
  readonly order: Uint32Array
  /** `starts[l]`: where in `order` each prefix of length l + 1 begins, and `items` at the end; shape [prefixes + 1]. */
  readonly starts: readonly Uint32Array[]
}

/** Rows grouped by an equal key. */
export interface Groups {
  /** Group number of each row, shape [rows]. */
  readonly of: Int32Array
  /** Rows per group, shape [groups]. */
  readonly counts: Int32Array
}

/**
 * Checks that codes fit their levels.
 * @param codes - row-major, shape [items, sizes.length]
 * @returns number of items
 * @throws SIDESTREAM_SHAPE_MISMATCH naming the first code outside its level
 */
export function checkCodes(codes: Uint16Array, sizes: readonly number[]): number {
  checkSizes(sizes)
  const levels = sizes.length
  const items = rowsOf(codes, levels)
  for (let level = 0; level < levels; level++) {
    const size = sizes[level]!
    for (let at = level; at < codes.length; at += levels) {
      if (codes[at]! < size) continue
      throw new SidestreamError(
        'SIDESTREAM_SHAPE_MISMATCH',
        `item ${(at - level) / levels} has code ${codes[at]} on level ${level + 1}, which holds ${size}; report it with the sizes it was encoded with`,
        { row: (at - level) / levels, level: level + 1, code: codes[at] },
      )
    }
  }
  return items
}

/** @throws SIDESTREAM_SHAPE_MISMATCH unless `vectors` are `items` whole rows of `dim` numbers */
export function checkRows(vectors: { readonly length: number }, dim: number, items: number): void {
  if (Number.isInteger(dim) && dim >= 1 && vectors.length === items * dim) return
  if (!(dim >= 1))
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `vectors need a dimension of at least 1, got ${dim}; give it, or the codebooks`)
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `${items} items of dimension ${dim} need ${items * dim} numbers, got ${vectors.length}; give one vector per item, in the order of the codes`,
  )
}

/**
 * Sorts rows by their codes, one counting pass per level from the last to the first.
 * @param codes - row-major, shape [items, sizes.length], each below its size
 */
export function prefixOrder(codes: Uint16Array, sizes: readonly number[]): PrefixOrder {
  const levels = sizes.length
  const items = rowsOf(codes, levels)
  let order = new Uint32Array(items)
  let next = new Uint32Array(items)
  const column = new Uint16Array(items)
  for (let row = 0; row < items; row++) order[row] = row
  for (let level = levels - 1; level >= 0; level--) {
    const ends = new Uint32Array(sizes[level]! + 1)
    for (let i = 0, at = level; i < items; i++, at += levels) {
      const code = codes[at]!
      column[i] = code
      ends[code + 1]!++
    }
    for (let code = 0; code < sizes[level]!; code++) ends[code + 1]! += ends[code]!
    for (let i = 0; i < items; i++) {
      const row = order[i]!
      next[ends[column[row]!]!++] = row
    }
    ;[order, next] = [next, order]
  }
  return { items, order, starts: prefixStarts(codes, levels, order) }
}

/** Where a new prefix begins, for every length, in one walk over the sorted rows. */
function prefixStarts(codes: Uint16Array, levels: number, order: Uint32Array): Uint32Array[] {
  const items = order.length
  // Length of the prefix shared with the row before.
  const shared = new Uint8Array(items)
  const changes = new Uint32Array(levels)
  for (let i = 1; i < items; i++) {
    const [row, before] = [order[i]! * levels, order[i - 1]! * levels]
    let same = 0
    while (same < levels && codes[row + same] === codes[before + same]) same++
    shared[i] = same
    for (let level = same; level < levels; level++) changes[level]!++
  }
  return Array.from(changes, (count, level) => {
    const starts = new Uint32Array(items === 0 ? 1 : count + 2)
    let group = 0
    for (let i = 1; i < items; i++) if (shared[i]! <= level) starts[++group] = i
    starts[starts.length - 1] = items
    return starts
  })
}

/** Prefix number of every row, shape [items]. */
export function prefixOf({ items, order, starts }: PrefixOrder, length: number): Int32Array {
  const of = new Int32Array(items)
  const bounds = starts[length - 1]!
  for (let group = 0; group + 1 < bounds.length; group++) for (let i = bounds[group]!; i < bounds[group + 1]!; i++) of[order[i]!] = group
  return of
}

/**
 * Groups rows whose bytes are equal; numbers follow first appearance.
 * @param vectors - row-major float32, shape [rows, dim]
 */
export function identicalRows(vectors: Float32Array, dim: number): Groups {
  const rows = rowsOf(vectors, dim)
  const bits = new Uint32Array(vectors.buffer, vectors.byteOffset, vectors.length)
  const mask = tableSize(rows) - 1
  const slots = new Int32Array(mask + 1)
  const of = new Int32Array(rows)
  const firstRow = new Int32Array(rows)
  const counts = new Int32Array(rows)
  let groups = 0
  for (let row = 0; row < rows; row++) {
    let hash = 0
    for (let at = row * dim; at < (row + 1) * dim; at++) hash = spread(bits[at]!, hash)
    let slot = hash & mask
    while (slots[slot] !== 0 && !equalRows(bits, firstRow[slots[slot]! - 1]!, row, dim)) slot = (slot + 1) & mask
    if (slots[slot] === 0) {
      firstRow[groups] = row
      slots[slot] = ++groups
    }
    const group = slots[slot]! - 1
    of[row] = group
    counts[group] = counts[group]! + 1
  }
  return { of, counts: counts.slice(0, groups) }
}

function equalRows(bits: Uint32Array, a: number, b: number, dim: number): boolean {
  for (let j = 0; j < dim; j++) if (bits[a * dim + j] !== bits[b * dim + j]) return false
  return true
}

/** Power of two that keeps the table at most half full. */
function tableSize(rows: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(2, rows * 2)))
}

/** Mixes two 32-bit words to one (the finalizer of murmur3). */
function spread(low: number, high: number): number {
  let hash = (low ^ Math.imul(high, 0x9e3779b1)) | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
