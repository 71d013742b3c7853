/**
 * Groups items by the prefixes of their semantic IDs and by equal vectors, without ever forming the product of the level sizes.
 * Invariant: groups of prefixes follow the order of the codes, so neither their numbers nor what is summed over them depends on the
 * order in which items came.
 */

import { sortedWithOrder, sortKeys } from '../compute/index.ts'
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
 * Sorts rows by their codes: neighboring levels are joined to words of at most 32 bits, which are sorted from the last to the first.
 * @param codes - row-major, shape [items, sizes.length], each below its size
 */
export function prefixOrder(codes: Uint16Array, sizes: readonly number[]): PrefixOrder {
  const items = rowsOf(codes, sizes.length)
  const words = wordsOf(sizes).map((word) => ({ ...word, keys: packed(codes, sizes.length, word, items) }))
  let order: Uint32Array | undefined
  let sorted = new Uint32Array(items) as Uint32Array
  for (const { keys, widths } of words.toReversed()) {
    const own = order === undefined ? keys.slice() : gathered(keys, order)
    const step = sortedWithOrder(
      own,
      widths.reduce((sum, width) => sum + width, 0),
    )
    order = order === undefined ? step.order : gathered(order, step.order)
    sorted = step.keys
  }
  const starts: Uint32Array[] = []
  // 1 where the words before this one change.
  const changes = new Uint8Array(items)
  for (const [at, { keys, widths }] of words.entries()) {
    const own = at === 0 ? sorted : gathered(keys, order!)
    starts.push(...startsOf(own, widths, changes))
    if (at + 1 < words.length) for (let i = 1; i < items; i++) if (own[i] !== own[i - 1]) changes[i] = 1
  }
  return { items, order: order!, starts }
}

/**
 * The order of some of the rows, which keep their numbers: that of all with the others left out.
 * @param mask - 1 for a row that stays, shape [items]
 */
export function orderAmong({ items, order, starts }: PrefixOrder, mask: Uint8Array): PrefixOrder {
  // How many stay before each place.
  const before = new Uint32Array(items + 1)
  for (let i = 0; i < items; i++) before[i + 1] = before[i]! + (mask[order[i]!] === 1 ? 1 : 0)
  const own = new Uint32Array(before[items]!)
  for (let i = 0; i < items; i++) if (before[i + 1]! > before[i]!) own[before[i]!] = order[i]!
  return {
    items: own.length,
    order: own,
    starts: starts.map((bounds) => {
      const kept = new Uint32Array(bounds.length)
      let groups = 0
      for (let group = 0; group + 1 < bounds.length; group++) {
        const [from, to] = [before[bounds[group]!]!, before[bounds[group + 1]!]!]
        if (to > from) kept[groups++] = from
      }
      kept[groups] = own.length
      return kept.slice(0, own.length === 0 ? 1 : groups + 1)
    }),
  }
}

/** Where prefixes begin, without who is in them: all that counts of prefixes and buckets need. */
export type PrefixStarts = Pick<PrefixOrder, 'items' | 'starts'>

/**
 * The starts of `prefixOrder` alone: numbers are sorted without the rows they came from where an ID fits into 52 bits.
 * @param codes - row-major, shape [items, sizes.length], each below its size
 */
export function prefixStarts(codes: Uint16Array, sizes: readonly number[]): PrefixStarts {
  const items = rowsOf(codes, sizes.length)
  const [word, ...others] = wordsOf(sizes)
  if (others.length === 0) {
    return { items, starts: startsOf(sortKeys(packed(codes, sizes.length, word!, items)), word!.widths, new Uint8Array(items)) }
  }
  const capacity = sizes.reduce((product, size) => product * size, 1)
  // One bit less than a double holds, so that the floor of a quotient below is exact.
  if (capacity > 2 ** 52) return prefixOrder(codes, sizes)
  const keys = new Float64Array(items)
  for (const [level, size] of sizes.entries()) {
    for (let row = 0, at = level; row < items; row++, at += sizes.length) keys[row] = keys[row]! * size + codes[at]!
  }
  keys.sort()
  const scratch = new Uint32Array(items + 1)
  let below = capacity
  const starts = sizes.map((size) => {
    below /= size
    let groups = 0
    // Everything below it has the prefix of the row before.
    let end = -1
    for (let i = 0; i < items; i++) {
      if (keys[i]! < end) continue
      scratch[groups++] = i
      end = (Math.floor(keys[i]! / below) + 1) * below
    }
    scratch[groups] = items
    return scratch.slice(0, items === 0 ? 1 : groups + 1)
  })
  return { items, starts }
}

/** Levels that stand in one word. */
interface Word {
  readonly firstLevel: number
  /** Bits of each of its levels. */
  readonly widths: readonly number[]
}

function wordsOf(sizes: readonly number[]): Word[] {
  const words: { firstLevel: number; widths: number[]; bits: number }[] = []
  for (const [level, size] of sizes.entries()) {
    const width = 32 - Math.clz32(size - 1)
    const last = words.at(-1)
    if (last !== undefined && last.bits + width <= 32) {
      last.widths.push(width)
      last.bits += width
    } else words.push({ firstLevel: level, widths: [width], bits: width })
  }
  return words
}

function packed(codes: Uint16Array, levels: number, { firstLevel, widths }: Word, items: number): Uint32Array {
  const keys = new Uint32Array(items)
  for (let i = 0; i < widths.length; i++) {
    const width = widths[i]!
    for (let row = 0, at = firstLevel + i; row < items; row++, at += levels) keys[row] = (keys[row]! << width) | codes[at]!
  }
  return keys
}

function gathered(values: Uint32Array, order: Uint32Array): Uint32Array {
  const out = new Uint32Array(order.length)
  for (let i = 0; i < order.length; i++) out[i] = values[order[i]!]!
  return out
}

/** Where a prefix that ends at each level of a word begins, from the word's keys in sorted order. */
function startsOf(keys: Uint32Array, widths: readonly number[], changes: Uint8Array): Uint32Array[] {
  const items = keys.length
  const scratch = new Uint32Array(items + 1)
  let left = widths.reduce((sum, width) => sum + width, 0)
  return widths.map((width) => {
    left -= width
    let groups = 0
    let before = -1
    for (let i = 0; i < items; i++) {
      // A shift by all 32 bits would be none.
      const prefix = left === 32 ? 0 : keys[i]! >>> left
      if (prefix === before && changes[i] === 0) continue
      scratch[groups++] = i
      before = prefix
    }
    scratch[groups] = items
    return scratch.slice(0, items === 0 ? 1 : groups + 1)
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
    let slot = hashOf(bits, row * dim, (row + 1) * dim) & mask
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

/** Hash of some words: four sums that do not wait for one another, mixed at the end. */
function hashOf(bits: Uint32Array, from: number, to: number): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  let at = from
  for (; at + 3 < to; at += 4) {
    a = Math.imul(a ^ bits[at]!, 0x9e3779b1)
    b = Math.imul(b ^ bits[at + 1]!, 0x85ebca6b)
    c = Math.imul(c ^ bits[at + 2]!, 0xc2b2ae35)
    d = Math.imul(d ^ bits[at + 3]!, 0x27d4eb2f)
    // What differs in the high bits alone must reach the low ones.
    a ^= a >>> 15
    b ^= b >>> 15
    c ^= c >>> 15
    d ^= d >>> 15
  }
  for (; at < to; at++) a = spread(bits[at]!, a)
  return spread(spread(a, b), spread(c, d))
}

/** Mixes two 32-bit words to one (the finalizer of murmur3). */
function spread(low: number, high: number): number {
  let hash = (low ^ Math.imul(high, 0x9e3779b1)) | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * Some rows of a row-major array.
 * @param rows - row numbers
 */
export function rowsAt<T extends Uint16Array | Float32Array | Float64Array>(values: T, rows: Uint32Array, width: number): T {
  const out = new (values.constructor as new (length: number) => T)(rows.length * width)
  let to = 0
  for (let i = 0; i < rows.length; i++) for (let at = rows[i]! * width, end = at + width; at < end; at++) out[to++] = values[at]!
  return out
}
