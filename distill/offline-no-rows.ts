/** Why an offline run has nothing to train on: the first thing that is missing, said so that its owner knows where to look. */

import { SidestreamError } from '../schemas/index.ts'
import type { OfflineData } from './offline-data.ts'
import type { OfflineRows } from './offline-sources.ts'

/** @throws SIDESTREAM_ITEMS_TOO_FEW when no source has a row */
export function requireRows(data: OfflineData, rows: OfflineRows, positives: ReadonlySet<string>): void {
  if (Object.values(rows.bySource).some((own) => own.length > 0)) return
  throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `nothing to train on: ${missing(data, rows, positives)}`, {
    interactions: data.interactions,
    items: data.items.size,
  })
}

function missing(data: OfflineData, { counts }: OfflineRows, positives: ReadonlySet<string>): string {
  const { items, interactions, likes, kinds, cutTs, heldOut } = data
  if (items.size === 0) return 'no item has content; the file of content has no rows, gives none a vector, or deletes all items'
  const all = Object.entries(counts)
  if (all.length !== 1 || all[0]![1].kind !== 'sequences') {
    const told = all.map(([name, { unknown }]) => `${name}: ${unknown} of unknown items`)
    return `no source has a row (${told.join(', ')}); check ids, positive behaviors, and that not all of the time is held out`
  }
  if (interactions === 0) return 'there are no interactions; the file has no rows'
  if (likes.length === 0) {
    const some = kinds.length > shownKinds ? `${kinds.slice(0, shownKinds).join(', ')}, …` : kinds.join(', ')
    return `no interaction is liked: behaviors are ${some}, and interactions.positiveBehaviors names ${[...positives].join(', ')}`
  }
  const first = likes.find(({ targetId }) => !items.has(targetId))?.targetId
  const isKnown = likes.some(({ targetId }) => items.has(targetId))
  if (!isKnown)
    return `none of the liked items has content, such as ${first}; content is there of ${items.keys().next().value}: check the ids`
  if (heldOut.length > 0) return `all samples are held out, from ${new Date(cutTs).toISOString()} on; hold out a smaller share`
  const strange = first === undefined ? '' : `; items such as ${first} have none`
  return `no user liked two items that have content (${likes.length} liked interactions of ${interactions})${strange}`
}

const shownKinds = 10
