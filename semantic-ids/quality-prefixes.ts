/**
 * What items that share a prefix have in common: labels, direction, company.
 * Invariant: exact; prefixes are summed in the order of their codes, items of one in the order given.
 */

import { SidestreamError } from '../schemas/index.ts'
import { prefixOf, type PrefixOrder } from './buckets.ts'
import { share } from './quality-usage.ts'

/** One category per item: dense numbers, -1 where there is none, or their names. */
export type ItemLabels = Int32Array | readonly (string | null)[]

/** Labels as numbers from 0, and how many there are. */
export interface DenseLabels {
  /** Shape [items]; -1 without a label. */
  readonly of: Int32Array
  readonly count: number
  readonly labelled: number
}

/** Numbers names by first appearance. @throws SIDESTREAM_SHAPE_MISMATCH unless there is one entry per item */
export function denseLabels(labels: ItemLabels, items: number): DenseLabels {
  if (labels.length !== items) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${items} items came with ${labels.length} labels; give one per item, null for none`,
    )
  }
  const of = new Int32Array(items).fill(-1)
  const numbers = new Map<string | number, number>()
  let labelled = 0
  for (let item = 0; item < items; item++) {
    const label = labels[item]!
    if (label === null || label === undefined || (typeof label === 'number' && label < 0)) continue
    let number = numbers.get(label)
    if (number === undefined) numbers.set(label, (number = numbers.size))
    of[item] = number
    labelled++
  }
  return { of, count: numbers.size, labelled }
}

/**
 * Share of labelled items that carry the commonest label of their prefix, per prefix length; null without a label.
 * @param length - codes of the prefix
 */
export function prefixPurity({ order, starts }: PrefixOrder, length: number, { of, count, labelled }: DenseLabels): number | null {
  if (labelled === 0) return null
  const bounds = starts[length - 1]!
  const counts = new Int32Array(count)
  let pure = 0
  for (let prefix = 0; prefix + 1 < bounds.length; prefix++) {
    let most = 0
    for (let i = bounds[prefix]!; i < bounds[prefix + 1]!; i++) {
      const label = of[order[i]!]!
      if (label >= 0) most = Math.max(most, ++counts[label]!)
    }
    pure += most
    for (let i = bounds[prefix]!; i < bounds[prefix + 1]!; i++) if (of[order[i]!]! >= 0) counts[of[order[i]!]!] = 0
  }
  return pure / labelled
}

/** Likeness inside prefixes; null where no prefix holds two items. */
export interface Cohesion {
  /** Mean cosine over all pairs of items that share a prefix. */
  readonly pairs: number | null
  /** Mean over prefixes of two and more items of the mean cosine inside. */
  readonly macro: number | null
}

/**
 * Mean cosine inside prefixes of every length, from sums of unit vectors: a prefix of n items with sum s has n(n - 1) ordered pairs, whose
 * cosines sum to |s|^2 - n. A vector of length 0 has cosine 0 with every other. One pass: a row is read once for all lengths.
 * @param vectors - row-major float32, shape [items, dim]
 * @returns one per prefix length
 */
export function prefixCohesion({ items, order, starts }: PrefixOrder, vectors: Float32Array, dim: number): Cohesion[] {
  const own = starts.map((bounds) => new CohesionOfLength(bounds, dim))
  const unit = new Float64Array(dim)
  for (let i = 0; i < items; i++) {
    // A prefix of one item has no pairs, and those that continue it have none either.
    let lengths = 0
    for (const length of own) if (length.enter(i)) lengths++
    if (lengths === 0 || !toUnit(vectors, order[i]! * dim, unit)) continue
    for (let at = 0; at < lengths; at++) own[at]!.add(unit)
  }
  return own.map((length) => length.result())
}

/** Sums of the prefixes of one length, of which one is open at a time. */
class CohesionOfLength {
  readonly #bounds: Uint32Array
  readonly #sum: Float64Array
  #prefix = -1
  /** Place behind the open prefix. */
  #end = 0
  /** Rows of the open prefix with a length. */
  #units = 0
  #pairs = 0
  #cosines = 0
  #prefixes = 0
  #means = 0

  constructor(bounds: Uint32Array, dim: number) {
    this.#bounds = bounds
    this.#sum = new Float64Array(dim)
  }

  /** Goes on to a place of the order; whether its prefix holds several items. */
  enter(place: number): boolean {
    if (place === this.#end) {
      this.#close()
      this.#prefix++
      this.#end = this.#bounds[this.#prefix + 1]!
    }
    return this.#items > 1
  }

  add(unit: Float64Array): void {
    const sum = this.#sum
    for (let j = 0; j < unit.length; j++) sum[j]! += unit[j]!
    this.#units++
  }

  result(): Cohesion {
    this.#close()
    return this.#prefixes === 0 ? { pairs: null, macro: null } : { pairs: this.#cosines / this.#pairs, macro: this.#means / this.#prefixes }
  }

  get #items(): number {
    return this.#prefix < 0 ? 0 : this.#end - this.#bounds[this.#prefix]!
  }

  #close(): void {
    const items = this.#items
    if (items < 2) return
    const sum = this.#sum
    let squared = 0
    for (let j = 0; j < sum.length; j++) squared += sum[j]! * sum[j]!
    const inside = squared - this.#units
    this.#pairs += items * (items - 1)
    this.#cosines += inside
    this.#prefixes++
    this.#means += inside / (items * (items - 1))
    sum.fill(0)
    this.#units = 0
  }
}

/** A row at unit length; false for one of length 0. @param out - written in place, shape [dim] */
function toUnit(vectors: Float32Array, at: number, out: Float64Array): boolean {
  let squares = 0
  for (let j = 0; j < out.length; j++) squares += vectors[at + j]! * vectors[at + j]!
  if (squares === 0) return false
  const length = Math.sqrt(squares)
  for (let j = 0; j < out.length; j++) out[j] = vectors[at + j]! / length
  return true
}

/**
 * Checks row pairs.
 * @param pairs - row numbers, shape [n, 2]
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function checkPairs(pairs: ArrayLike<number>, items: number): void {
  if (pairs.length % 2 !== 0) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${pairs.length} row numbers are no whole pairs`)
  for (let at = 0; at < pairs.length; at++) {
    const row = pairs[at]!
    if (Number.isInteger(row) && row >= 0 && row < items) continue
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `pair ${at >> 1} names item ${row} of ${items}; pairs hold row numbers`, {
      pair: at >> 1,
    })
  }
}

/**
 * Share of co-occurring pairs whose items have the same prefix of a length; null without pairs. It falls with the size of a domain's ID
 * space whatever the codes are worth: compare domains by this share, never by a ratio to chance alone.
 * @param pairs - row numbers, shape [n, 2]; a pair that stands twice counts twice
 * @param wanted - counts a pair only when this is 1 for its first item, shape [items]
 */
export function coOccurrenceRecall(prefixes: PrefixOrder, length: number, pairs: ArrayLike<number>, wanted?: Uint8Array): number | null {
  const of = prefixOf(prefixes, length)
  let [same, all] = [0, 0]
  for (let at = 0; at < pairs.length; at += 2) {
    if (wanted !== undefined && wanted[pairs[at]!] === 0) continue
    all++
    if (of[pairs[at]!] === of[pairs[at + 1]!]) same++
  }
  return all === 0 ? null : share(same, all)
}
