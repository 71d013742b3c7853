/**
 * The table of published codes with those of items that are away: an item that comes back is known again.
 * Invariant: equal tables in any order give an equal table. Who vanished with this refresh is remembered always, who was away before
 * only while there is room, so the table stays in proportion to the catalogue.
 */

import { hashUnit } from '../compute/index.ts'
import { ParentCodes } from './parent-codes.ts'

/** Items away that are remembered in any case; some 30 bytes each. */
const leastRoom = 1_000_000

export interface RememberedCodes {
  readonly parents: ParentCodes
  /** Present items that were away before. */
  readonly returned: number
  /** Items away that found no room any more. */
  readonly forgotten: number
}

/**
 * Published codes and those of items that were away already.
 * @param published - codes of the items that had an ID until now; `codes` row-major, shape [ids.length, levels]
 * @param earlier - table of the bundle that is live; codes of another shape are passed over
 * @param present - the items as they are now
 * @param room - items away at most; beyond it those that were away before are forgotten, drawn by a hash of their id
 */
export function withVanished(
  { ids, codes, levels }: { readonly ids: readonly string[]; readonly codes: Uint16Array; readonly levels: number },
  earlier: ParentCodes,
  present: readonly string[],
  room: number = Math.max(leastRoom, present.length),
): RememberedCodes {
  const here = new Set(present)
  const published = new Set(ids)
  const back: (readonly [string, Uint16Array])[] = []
  let away: typeof back = []
  if (earlier.levels === levels)
    for (const entry of earlier.entries()) if (!published.has(entry[0])) (here.has(entry[0]) ? back : away).push(entry)
  const left = Math.max(0, room - ids.reduce((count, id) => count + (here.has(id) ? 0 : 1), 0))
  const forgotten = Math.max(0, away.length - left)
  if (forgotten > 0) {
    // Another draw each time: with one for good the same few would outlast all that vanish later.
    const drawn = away.map((entry) => ({ entry, at: hashUnit(earlier.rows, entry[0]) })).sort((a, b) => a.at - b.at)
    away = drawn.slice(0, left).map(({ entry }) => entry)
  }
  const more = [...back, ...away]
  const all = new Uint16Array(codes.length + more.length * levels)
  all.set(codes)
  for (const [row, [, sid]] of more.entries()) all.set(sid, codes.length + row * levels)
  return { parents: ParentCodes.of([...ids, ...more.map(([id]) => id)], all, levels), returned: back.length, forgotten }
}
