/**
 * A map of the ID space for people: its largest prefixes and fullest buckets with example items, and where first codes went.
 * Invariant: the same items give the same map in any order when ids are given; lists are bounded, and say what they leave out.
 */

import { checkCodes, checkRows, prefixOrder, type PrefixOrder } from './buckets.ts'
import type { ItemLabels } from './quality-prefixes.ts'

export interface IdSpaceInput {
  /** Row-major, shape [items, sizes.length]. */
  readonly codes: Uint16Array
  readonly sizes: readonly number[]
  readonly ids?: readonly string[]
  /** What people call an item; ids without them, row numbers without those. */
  readonly titles?: readonly (string | null)[]
  /** One category per item. */
  readonly labels?: ItemLabels
  /** Items with more of it come first as examples, shape [items]. */
  readonly traffic?: Float64Array
}

export interface IdSpaceOptions {
  /** Most prefixes of one code, the largest. @default 48 */
  readonly prefixes: number
  /** Most prefixes of two codes below each. @default 12 */
  readonly children: number
  /** Most full buckets. @default 15 */
  readonly buckets: number
  /** Example items of each. @default 3 */
  readonly examples: number
}

export const idSpaceDefaults: Readonly<IdSpaceOptions> = { prefixes: 48, children: 12, buckets: 15, examples: 3 }

/** A prefix with what is in it. */
export interface IdSpaceNode {
  readonly codes: readonly number[]
  readonly items: number
  /** Distinct IDs below it. */
  readonly distinct: number
  /** Commonest label and the share of its items that carry it; null without labels. */
  readonly label: string | null
  readonly labelShare: number | null
  readonly examples: readonly string[]
  /** Largest first. */
  readonly children: readonly IdSpaceNode[]
  /** What is not among the children. */
  readonly left: { readonly prefixes: number; readonly items: number }
}

export interface IdSpace {
  readonly items: number
  /** Largest prefixes of one code. */
  readonly prefixes: readonly IdSpaceNode[]
  readonly left: { readonly prefixes: number; readonly items: number }
  /** Fullest buckets of two and more items. */
  readonly buckets: readonly IdSpaceNode[]
}

/**
 * Draws up the map.
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function idSpace(input: IdSpaceInput, options: Partial<IdSpaceOptions> = {}): IdSpace {
  const limits = { ...idSpaceDefaults, ...options }
  const items = checkCodes(input.codes, input.sizes)
  for (const given of [input.ids, input.titles, input.labels, input.traffic]) if (given !== undefined) checkRows(given, 1, items)
  const order = prefixOrder(input.codes, input.sizes)
  const look = { input, order, limits }
  const { nodes, left } = largest(look, 1, 0, items, limits.prefixes)
  const levels = input.sizes.length
  const { nodes: full } = largest(look, levels, 0, items, limits.buckets)
  return { items, prefixes: nodes, left, buckets: full.filter((node) => node.items > 1) }
}

interface Look {
  readonly input: IdSpaceInput
  readonly order: PrefixOrder
  readonly limits: IdSpaceOptions
}

/** The largest prefixes of a length among the sorted rows [from, to); equal ones by their codes. */
function largest(look: Look, length: number, from: number, to: number, most: number): { nodes: IdSpaceNode[]; left: IdSpaceNode['left'] } {
  const bounds = look.order.starts[length - 1]!
  const first = lowerBound(bounds, from)
  const until = lowerBound(bounds, to)
  const sizeOf = (group: number): number => bounds[group + 1]! - bounds[group]!
  // Largest first. There may be millions of groups: few come this far.
  const taken: number[] = []
  for (let group = first; group < until; group++) {
    const size = bounds[group + 1]! - bounds[group]!
    if (taken.length === most && (most === 0 || size <= sizeOf(taken[most - 1]!))) continue
    let place = taken.length
    while (place > 0 && sizeOf(taken[place - 1]!) < size) place--
    taken.splice(place, 0, group)
    if (taken.length > most) taken.pop()
  }
  const held = taken.reduce((sum, group) => sum + sizeOf(group), 0)
  return {
    nodes: taken.map((group) => nodeOf(look, length, bounds[group]!, bounds[group + 1]!)),
    left: { prefixes: until - first - taken.length, items: to - from - held },
  }
}

function nodeOf(look: Look, length: number, from: number, to: number): IdSpaceNode {
  const { input, order, limits } = look
  const levels = input.sizes.length
  const rows = order.order.subarray(from, to)
  const below = length === 1 && levels > 1 ? largest(look, 2, from, to, limits.children) : { nodes: [], left: { prefixes: 0, items: 0 } }
  const buckets = order.starts[levels - 1]!
  return {
    codes: Array.from(input.codes.subarray(rows[0]! * levels, rows[0]! * levels + length)),
    items: to - from,
    distinct: lowerBound(buckets, to) - lowerBound(buckets, from),
    ...commonest(rows, input.labels),
    examples: examplesOf(rows, look),
    children: below.nodes,
    left: below.left,
  }
}

/** First place whose value is at least `value`. */
function lowerBound(ascending: Uint32Array, value: number): number {
  let [low, high] = [0, ascending.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ascending[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}

function commonest(rows: Uint32Array, labels: ItemLabels | undefined): { label: string | null; labelShare: number | null } {
  const counts = new Map<string, number>()
  for (const row of labels === undefined ? [] : rows) {
    const label = labels![row]!
    if (label === null || (typeof label === 'number' && label < 0)) continue
    counts.set(String(label), (counts.get(String(label)) ?? 0) + 1)
  }
  let [label, most]: [string | null, number] = [null, 0]
  for (const [name, count] of counts) if (count > most || (count === most && name < label!)) [label, most] = [name, count]
  return { label, labelShare: label === null ? null : most / rows.length }
}

/** The items with the most traffic, the lowest ids of equals. */
function examplesOf(rows: Uint32Array, { input, limits }: Look): string[] {
  const { traffic, titles, ids } = input
  const byId = (a: number, b: number): number => (ids === undefined || ids[a] === ids[b] ? a - b : ids[a]! < ids[b]! ? -1 : 1)
  const before = (a: number, b: number): number => (traffic === undefined ? 0 : traffic[b]! - traffic[a]!) || byId(a, b)
  const best: number[] = []
  for (const row of rows) {
    if (best.length === limits.examples && (best.length === 0 || before(row, best.at(-1)!) > 0)) continue
    const at = best.findIndex((other) => before(row, other) < 0)
    best.splice(at < 0 ? best.length : at, 0, row)
    if (best.length > limits.examples) best.pop()
  }
  return best.map((row) => titles?.[row] ?? ids?.[row] ?? `item ${row}`)
}

/** How many items went from one first code to another. */
export interface FirstCodeMove {
  readonly from: number
  readonly to: number
  readonly items: number
}

/**
 * The commonest changes of the first code, largest first, equal ones by their codes.
 * @param before, after - row-major, shape [items, levels], the same items in the same order
 */
export function firstCodeMoves(before: ArrayLike<number>, after: ArrayLike<number>, levels: number, most = 15): FirstCodeMove[] {
  const counts = new Map<number, number>()
  for (let at = 0; at < before.length; at += levels) {
    if (before[at] === after[at]) continue
    const key = before[at]! * 65_536 + after[at]!
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return [...counts]
    .sort(([a, x], [b, y]) => y - x || a - b)
    .slice(0, most)
    .map(([key, items]) => ({ from: Math.floor(key / 65_536), to: key % 65_536, items }))
}
