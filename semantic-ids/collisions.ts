/**
 * Keeps buckets small: items beyond a capacity take another last-level code of the same prefix.
 * Invariant: independent of the order of items when ids are given; a published item never moves; only the last code ever changes.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkCodes, checkRows, identicalRows, prefixOrder } from './buckets.ts'
import { requireFinite, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { CollisionDistances } from './collision-distances.ts'
import { ranksOf, requireDistinct, sortedOrder } from './id-order.ts'
import { reconstruction } from './quality-distortion.ts'

export interface CollisionInput {
  /** Row-major, shape [items, levels]. */
  readonly codes: Uint16Array
  /** What entered the walk, row-major float32, shape [items, dim]. */
  readonly vectors: Float32Array
  readonly codebooks: Codebooks
  readonly settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>
  /** One per item, each once: they break ties. Without them row numbers do. */
  readonly ids?: readonly string[]
  /** 1 for an item that was published with these codes and may not move, shape [items]. */
  readonly published?: Uint8Array
}

export interface CollisionOptions {
  /** Most items of one semantic ID. */
  readonly capacity: number
  /**
   * `together`: bit-identical vectors of a bucket take one place and move as one, so that identical items keep one ID; `split`: every
   * item takes a place.
   * @default 'together'
   */
  readonly duplicates?: 'together' | 'split'
}

export interface MovedItem {
  readonly row: number
  /** Last code before and after; the prefix stays. */
  readonly from: number
  readonly to: number
}

export interface Resolution {
  /** Row-major, shape [items, levels]: the codes with the moves in them. */
  readonly codes: Uint16Array
  /** In the order of the moves. */
  readonly moved: readonly MovedItem[]
  /** Rows that found no room and stay over capacity, in the order they were tried. */
  readonly unresolved: readonly number[]
  readonly report: CollisionReport
}

/** What it came to; plain JSON. */
export interface CollisionReport {
  readonly capacity: number
  readonly duplicates: 'together' | 'split'
  /** Buckets over capacity. */
  readonly bucketsOver: { readonly before: number; readonly after: number }
  /** Places taken in the fullest bucket. */
  readonly fullest: { readonly before: number; readonly after: number }
  readonly moved: number
  readonly unresolved: number
  /** Items over capacity that were published, and so were not asked to move. */
  readonly publishedOver: number
  readonly fvu: { readonly before: number; readonly after: number }
}

/** One place of a bucket: an item, or bit-identical ones. */
interface Place {
  readonly rows: readonly number[]
  readonly published: boolean
  /** Squared distance to the decoded vector. */
  readonly error: number
}

/**
 * Moves what is beyond the capacity. Inside a bucket places are ranked by (published first, squared error, id); those beyond the
 * capacity, in the order of (bucket, rank), take the nearest last-level code of the same prefix that has room, the lower one of equals.
 * @throws SIDESTREAM_USAGE_INVALID for a capacity below 1, SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE, SIDESTREAM_ID_INVALID
 */
export function resolveCollisions(input: CollisionInput, { capacity, duplicates = 'together' }: CollisionOptions): Resolution {
  const { codes, vectors, codebooks, settings, ids, published } = input
  const { dim, sizes } = codebooks
  if (!Number.isInteger(capacity) || capacity < 1) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a semantic ID holds at least 1 item, got a capacity of ${capacity}`)
  }
  const items = checkCodes(codes, sizes)
  checkRows(vectors, dim, items)
  requireFinite(vectors, dim)
  if (published !== undefined) checkRows(published, 1, items)
  const last = sizes.length - 1
  const distances = new CollisionDistances(vectors, codes, codebooks, settings)
  const rankOf = idRanks(ids, items)
  const twins = duplicates === 'together' ? identicalRows(vectors, dim).of : undefined
  const { order, starts } = prefixOrder(codes, sizes)
  const buckets = starts[last]!
  // With one level all items share the empty prefix.
  const prefixes = last === 0 ? Uint32Array.of(0, items) : starts[last - 1]!
  const result = codes.slice()
  const moved: MovedItem[] = []
  const unresolved: number[] = []
  const tally = { over: [0, 0], fullest: [0, 0], publishedOver: 0 }
  const taken = new Int32Array(sizes[last]!)
  let bucket = 0
  for (let prefix = 0; prefix + 1 < prefixes.length; prefix++) {
    taken.fill(0)
    const crowded: { readonly code: number; readonly rows: Uint32Array }[] = []
    for (; buckets[bucket]! < prefixes[prefix + 1]!; bucket++) {
      const rows = order.subarray(buckets[bucket], buckets[bucket + 1])
      const code = codes[rows[0]! * sizes.length + last]!
      taken[code] = twins === undefined ? rows.length : new Set(Array.from(rows, (row) => twins[row]!)).size
      if (taken[code]! > capacity) crowded.push({ code, rows })
    }
    count(taken, 0)
    for (const { code, rows } of crowded) {
      const places = rankedPlaces(rows, twins)
      for (const { rows: own, published: stays } of places.slice(capacity)) {
        if (stays) {
          tally.publishedOver += own.length
          continue
        }
        const to = cheapestWithRoom(distances.costs(own[0]!), taken, capacity)
        if (to < 0) {
          unresolved.push(...own)
          continue
        }
        taken[code]!--
        taken[to]!++
        for (const row of own) {
          moved.push({ row, from: code, to })
          result[row * sizes.length + last] = to
        }
      }
    }
    count(taken, 1)
  }

  function count(of: Int32Array, when: 0 | 1): void {
    for (const places of of) {
      if (places > capacity) tally.over[when]!++
      if (places > tally.fullest[when]!) tally.fullest[when] = places
    }
  }

  function rankedPlaces(rows: Uint32Array, same: Int32Array | undefined): Place[] {
    const byId = Array.from(rows).sort((a, b) => rankOf[a]! - rankOf[b]!)
    const groups = same === undefined ? byId.map((row) => [row]) : grouped(byId, same)
    const places = groups.map((own): Place => {
      return { rows: own, published: own.some((row) => published?.[row] === 1), error: distances.error(own[0]!) }
    })
    return places.sort(
      (a, b) => Number(b.published) - Number(a.published) || a.error - b.error || rankOf[a.rows[0]!]! - rankOf[b.rows[0]!]!,
    )
  }

  const fvu = (of: Uint16Array): number => reconstruction(vectors, of, codebooks, settings).fvu
  const before = fvu(codes)
  return {
    codes: result,
    moved,
    unresolved,
    report: {
      capacity,
      duplicates,
      bucketsOver: { before: tally.over[0]!, after: tally.over[1]! },
      fullest: { before: tally.fullest[0]!, after: tally.fullest[1]! },
      moved: moved.length,
      unresolved: unresolved.length,
      publishedOver: tally.publishedOver,
      fvu: { before, after: moved.length === 0 ? before : fvu(result) },
    },
  }
}

/** Rows of one number together, groups and rows in the order given. */
function grouped(rows: readonly number[], numbers: Int32Array): number[][] {
  const groups = new Map<number, number[]>()
  for (const row of rows) {
    const own = groups.get(numbers[row]!)
    if (own === undefined) groups.set(numbers[row]!, [row])
    else own.push(row)
  }
  return [...groups.values()]
}

/** Place of every row in the order of ids. */
export function idRanks(ids: readonly string[] | undefined, items: number): Uint32Array {
  if (ids === undefined) return Uint32Array.from({ length: items }, (_, row) => row)
  if (ids.length !== items) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${items} rows of codes came with ${ids.length} ids`)
  const order = sortedOrder(ids)
  requireDistinct(ids, order)
  return ranksOf(order)
}

/** Nearest code with room, the lower one of equals; -1 when there is none. A full code, the item's own among them, has none. */
function cheapestWithRoom(costs: Float64Array, taken: Int32Array, capacity: number): number {
  let [best, least] = [-1, Infinity]
  for (let code = 0; code < taken.length; code++) if (taken[code]! < capacity && costs[code]! < least) [best, least] = [code, costs[code]!]
  return best
}
