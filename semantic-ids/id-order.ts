/**
 * The order of ids: as JavaScript compares strings (UTF-16 code units), so the same on every machine.
 * Invariant: stable.
 */

import { sortedWithOrder } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

/** Row numbers in the order of their ids. */
export function sortedOrder(ids: readonly string[]): Uint32Array {
  if (isAscending(ids)) return Uint32Array.from(ids.keys())
  const { keys, order } = orderByFirstWord(ids)
  const compare = (a: number, b: number): number => (ids[a]! < ids[b]! ? -1 : ids[a]! > ids[b]! ? 1 : a - b)
  for (let from = 0, to = 1; from < keys.length; from = to++) {
    while (to < keys.length && keys[to] === keys[from]) to++
    if (to - from > 1) order.subarray(from, to).sort(compare)
  }
  return order
}

function isAscending(ids: readonly string[]): boolean {
  for (let row = 1; row < ids.length; row++) if (ids[row]! < ids[row - 1]!) return false
  return true
}

/**
 * Sorts by as many characters behind the common beginning as fit into 32 bits: that decides nearly all, and comparing takes several times
 * as long (22 comparisons an id for 5 million of them).
 */
function orderByFirstWord(ids: readonly string[]): ReturnType<typeof sortedWithOrder> {
  const start = commonPrefix(ids)
  const rankOf = new Uint16Array(65_536)
  for (const id of ids) for (let at = start, end = Math.min(id.length, start + 32); at < end; at++) rankOf[id.charCodeAt(at)] = 1
  let ranks = 0
  for (let code = 0; code < rankOf.length; code++) if (rankOf[code] === 1) rankOf[code] = ++ranks
  // 0 stands for the end of an id.
  const bits = 32 - Math.clz32(ranks)
  const characters = Math.floor(32 / bits)
  const keys = new Uint32Array(ids.length)
  for (let row = 0; row < keys.length; row++) {
    const id = ids[row]!
    let key = 0
    for (let at = start; at < start + characters; at++) key = (key << bits) | (at < id.length ? rankOf[id.charCodeAt(at)]! : 0)
    keys[row] = key
  }
  return sortedWithOrder(keys, bits * characters)
}

/** Characters that all ids begin with. */
function commonPrefix(ids: readonly string[]): number {
  const first = ids[0]!
  let common = first.length
  for (const id of ids) {
    let at = 0
    while (at < common && at < id.length && id.charCodeAt(at) === first.charCodeAt(at)) at++
    common = at
  }
  return common
}

/** @throws SIDESTREAM_ID_INVALID when an item stands twice in `order` (sorted rows) */
export function requireDistinct(ids: readonly string[], order: Uint32Array): void {
  for (let row = 1; row < order.length; row++) {
    const id = ids[order[row]!]!
    if (id === ids[order[row - 1]!]) throw new SidestreamError('SIDESTREAM_ID_INVALID', `item ${id} came twice`, { itemId: id })
  }
}

/** Place of every row in an order. */
export function ranksOf(order: Uint32Array): Uint32Array {
  const ranks = new Uint32Array(order.length)
  for (let rank = 0; rank < order.length; rank++) ranks[order[rank]!] = rank
  return ranks
}

/** Ids with their rows in the order of `sortedOrder`; each id stands once. */
export interface OrderedIds {
  readonly ids: readonly string[]
  readonly order: Uint32Array
}

/**
 * Where each id stands among others.
 * @returns row among the others, -1 for none; shape [ids.length]
 */
export function rowsAmong({ ids, order }: OrderedIds, others: OrderedIds): Int32Array {
  const rows = new Int32Array(ids.length).fill(-1)
  let place = 0
  for (const row of order) {
    const id = ids[row]!
    while (place < others.order.length && others.ids[others.order[place]!]! < id) place++
    if (place === others.order.length) break
    if (others.ids[others.order[place]!] === id) rows[row] = others.order[place]!
  }
  return rows
}
