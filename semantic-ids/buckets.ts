/**
 * Groups items by the prefixes of their semantic IDs without ever forming the product of the level sizes.
 * Invariant: group numbers are dense and follow first appearance, so the same codes give the same groups.
 */

import { rowsOf } from './codebooks.ts'

/** Rows grouped by an equal key. */
export interface Groups {
  /** Group number of each row, shape [rows]. */
  readonly of: Int32Array
  /** Rows per group, shape [groups]. */
  readonly counts: Int32Array
}

/**
 * Groups of rows whose first 1, 2, … codes are equal; the last entry are the buckets of whole IDs. The key of a prefix is
 * (group of the shorter prefix, code): below rows x 65,536, so it stays exact where the product of the sizes passes 2^53.
 * @param codes - row-major, shape [rows, levels]
 */
export function prefixGroups(codes: Uint16Array, levels: number): Groups[] {
  const rows = rowsOf(codes, levels)
  const keys = new Float64Array(rows)
  const out: Groups[] = []
  for (let level = 0; level < levels; level++) {
    const shorter = out[level - 1]?.of
    for (let row = 0; row < rows; row++) keys[row] = (shorter === undefined ? 0 : shorter[row]! * 65_536) + codes[row * levels + level]!
    out.push(groupByKey(keys))
  }
  return out
}

/** Groups equal keys by open addressing. Keys are whole numbers in [0, 2^53). */
function groupByKey(keys: Float64Array): Groups {
  const rows = keys.length
  const mask = tableSize(rows) - 1
  const slots = new Int32Array(mask + 1)
  const of = new Int32Array(rows)
  const firstKey = new Float64Array(rows)
  const counts = new Int32Array(rows)
  let groups = 0
  for (let row = 0; row < rows; row++) {
    const key = keys[row]!
    let slot = spread(key % 0x1_0000_0000, Math.floor(key / 0x1_0000_0000)) & mask
    while (slots[slot] !== 0 && firstKey[slots[slot]! - 1] !== key) slot = (slot + 1) & mask
    if (slots[slot] === 0) {
      firstKey[groups] = key
      slots[slot] = ++groups
    }
    const group = slots[slot]! - 1
    of[row] = group
    counts[group] = counts[group]! + 1
  }
  return { of, counts: counts.slice(0, groups) }
}

/**
 * Groups rows whose bytes are equal.
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
