/**
 * Whether the codebooks still serve the items that came after them: their error, how much they crowd one code, how full buckets get.
 * Invariant: a function of the rows as a set; it proposes, and decides nothing.
 */

import { rowsOf, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { decode, preparedFloat32 } from './encode.ts'

/** When a refresh is proposed; null: never for that. */
export interface DriftThresholds {
  /** New items from which on they are judged. */
  readonly minItems: number
  /** Mean error of new items, in that of the others. */
  readonly errorRatio: number | null
  /** Share of the new items with one first code. */
  readonly headShare: number | null
  /** Items that may share an ID. */
  readonly capacity: number
  /** Rise of the share of items in buckets above the capacity. */
  readonly occupancyRise: number | null
}

/** An item by the live codebooks. */
export interface WatchedItem {
  /** Its ID, as one text. */
  readonly bucket: string
  readonly firstCode: number
  /** Squared distance to the decoded vector. */
  readonly error: number
  /** Came, or changed, after the codebooks were fitted. */
  readonly isNew: boolean
}

export interface DriftFigures {
  readonly items: number
  readonly newItems: number
  /** Mean error of new items, null without any, and of all others. */
  readonly newError: number | null
  readonly fittedError: number | null
  /** Largest share of new items with one first code; null without any. */
  readonly headShare: number | null
  /** Share of items in buckets above the capacity, now and without the new items. */
  readonly occupancy: number
  readonly fittedOccupancy: number
}

/** Squared distance of each vector to what its ID decodes to, shape [rows]. @param vectors - row-major float32, shape [rows, dim] */
export function squaredErrors(
  vectors: Float32Array,
  codes: Uint16Array,
  codebooks: Codebooks,
  { normalize }: Pick<EncodeSettings, 'normalize'>,
): Float64Array {
  const { dim } = codebooks
  const x = preparedFloat32(vectors, dim, normalize)
  const decoded = decode(codes, codebooks)
  return Float64Array.from({ length: rowsOf(vectors, dim) }, (_, row) => {
    let sum = 0
    for (let at = row * dim; at < (row + 1) * dim; at++) sum += (x[at]! - decoded[at]!) ** 2
    return sum
  })
}

export function driftFigures(items: Iterable<WatchedItem>, capacity: number): DriftFigures {
  const [all, fitted, heads] = [new Map<string, number>(), new Map<string, number>(), new Map<number, number>()]
  let [count, fresh, error, newError] = [0, 0, 0, 0]
  for (const item of items) {
    count++
    add(all, item.bucket)
    if (item.isNew) {
      fresh++
      newError += item.error
      add(heads, item.firstCode)
    } else {
      error += item.error
      add(fitted, item.bucket)
    }
  }
  const old = count - fresh
  return {
    items: count,
    newItems: fresh,
    newError: fresh === 0 ? null : newError / fresh,
    fittedError: old === 0 ? null : error / old,
    headShare: fresh === 0 ? null : Math.max(...heads.values()) / fresh,
    occupancy: overFull(all, capacity, count),
    fittedOccupancy: overFull(fitted, capacity, old),
  }
}

/** Why a refresh is proposed, in words; empty when it is not. */
export function driftReasons(figures: DriftFigures, thresholds: DriftThresholds): string[] {
  const { newItems, newError, fittedError, headShare, occupancy, fittedOccupancy } = figures
  const { minItems, errorRatio, headShare: mostHead, occupancyRise, capacity } = thresholds
  if (newItems < minItems) return []
  const reasons: string[] = []
  if (errorRatio !== null && newError! > errorRatio * (fittedError ?? Infinity))
    reasons.push(
      `the mean error of new items is ${(newError! / fittedError!).toFixed(2)} times that of the others (errorRatio ${errorRatio})`,
    )
  if (mostHead !== null && headShare! > mostHead)
    reasons.push(`${percent(headShare!)} of the new items have one first code (headShare ${mostHead})`)
  if (occupancyRise !== null && occupancy - fittedOccupancy > occupancyRise) {
    reasons.push(
      `${percent(occupancy)} of the items share their ID with more than ${capacity - 1} others, ${percent(fittedOccupancy)} without the new ones (occupancyRise ${occupancyRise})`,
    )
  }
  return reasons
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function overFull(buckets: ReadonlyMap<string, number>, capacity: number, items: number): number {
  let over = 0
  for (const size of buckets.values()) if (size > capacity) over += size
  return items === 0 ? 0 : over / items
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
