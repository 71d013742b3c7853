/**
 * Which items a report compares: those that stand on both sides.
 * Invariant: before, after and delta are never of different items; who stands on one side only is counted.
 */

import { createHash } from 'node:crypto'
import { SidestreamError } from '../schemas/index.ts'
import { rowsAt } from './buckets.ts'
import { requireDistinct, rowsAmong, sortedOrder, type OrderedIds } from './id-order.ts'
import type { ItemLabels } from './quality-prefixes.ts'
import type { AssignmentInput, QualityInput } from './quality.ts'

/** Ids of one side, in order. @param known - the order, if it is @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_ID_INVALID */
export function cohortOf(ids: readonly string[], items: number, known?: Uint32Array): OrderedIds {
  if (ids.length !== items) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${items} rows of codes came with ${ids.length} ids`)
  if (known !== undefined) return { ids, order: known }
  const order = sortedOrder(ids)
  requireDistinct(ids, order)
  return { ids, order }
}

/** SHA-256 of the sorted ids, each with a line feed behind it. */
export function cohortHash({ ids, order }: OrderedIds): string {
  const hash = createHash('sha256')
  const rows = 8192
  for (let from = 0; from < order.length; from += rows) {
    let text = ''
    for (let at = from; at < Math.min(order.length, from + rows); at++) text += `${ids[order[at]!]!}\n`
    hash.update(text)
  }
  return hash.digest('hex')
}

/** Rows of the items that both sides hold: the same item at the same place. */
export interface SharedRows {
  readonly after: Uint32Array
  readonly before: Uint32Array
}

/**
 * The shared items, in the order of those after.
 * @param minShared - least share of either side's items that must be shared
 * @throws SIDESTREAM_SHAPE_MISMATCH when fewer are
 */
export function sharedRows(after: OrderedIds, before: OrderedIds, minShared: number): SharedRows {
  const among = rowsAmong(after, before)
  let count = 0
  for (const row of among) if (row >= 0) count++
  const least = minShared * Math.max(after.ids.length, before.ids.length)
  if (count < least || (count === 0 && after.ids.length > 0)) {
    const missing = after.ids[among.indexOf(-1)]
    const lacks = missing === undefined ? '' : ` (before lacks ${JSON.stringify(missing)}, for one)`
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      minShared === 1
        ? `before and after must hold the same items: ${before.ids.length} before, ${after.ids.length} after, ${count} in both${lacks}; leave out what stands on one side only, or ask for less (minShared)`
        : `of ${before.ids.length} items before and ${after.ids.length} after ${count} are in both${lacks}, less than ${minShared} of either side; check the ids, or ask for less (minShared)`,
      { before: before.ids.length, after: after.ids.length, shared: count },
    )
  }
  const rows = { after: new Uint32Array(count), before: new Uint32Array(count) }
  let to = 0
  for (let row = 0; row < among.length; row++) {
    if (among[row]! < 0) continue
    rows.after[to] = row
    rows.before[to++] = among[row]!
  }
  return rows
}

/** Some rows of one side; itself where they are all of them, in order. */
export function sideAt<T extends Omit<AssignmentInput, 'sizes'>>(side: T, rows: Uint32Array, levels: number): T {
  const { codes, ids, vectors, quantized } = side
  const items = codes.length / levels
  if (rows.length === items && rows.every((row, place) => row === place)) return side
  const width = (values: Float32Array): number => values.length / Math.max(1, items)
  const { idOrder: _, ...kept } = side
  return {
    ...(kept as T),
    codes: rowsAt(codes, rows, levels),
    ...(ids !== undefined && { ids: Array.from(rows, (row) => ids[row]!) }),
    ...(vectors !== undefined && { vectors: rowsAt(vectors, rows, width(vectors)) }),
    ...(quantized !== undefined && { quantized: rowsAt(quantized, rows, width(quantized)) }),
  }
}

/** Some of the items, with their labels and traffic, and the pairs of which both are among them. */
export function inputAt(input: QualityInput, rows: Uint32Array): QualityInput {
  const { labels, traffic, pairs } = input
  return {
    ...sideAt(input, rows, input.sizes.length),
    ...(labels !== undefined && { labels: labelsAt(labels, rows) }),
    ...(traffic !== undefined && { traffic: rowsAt(traffic, rows, 1) }),
    ...(pairs !== undefined && { pairs: pairsAt(pairs, rows, input.codes.length / input.sizes.length) }),
  }
}

function labelsAt(labels: ItemLabels, rows: Uint32Array): ItemLabels {
  return labels instanceof Int32Array ? Int32Array.from(rows, (row) => labels[row]!) : Array.from(rows, (row) => labels[row]!)
}

function pairsAt(pairs: ArrayLike<number>, rows: Uint32Array, items: number): Uint32Array {
  const placeOf = new Int32Array(items).fill(-1)
  for (let place = 0; place < rows.length; place++) placeOf[rows[place]!] = place
  const own: number[] = []
  for (let at = 0; at + 1 < pairs.length; at += 2) {
    const [one, other] = [placeOf[pairs[at]!]!, placeOf[pairs[at + 1]!]!]
    if (one >= 0 && other >= 0) own.push(one, other)
  }
  return Uint32Array.from(own)
}
