/**
 * Which candidates are no negatives of a query: in a set of pairs, (query i, target j) may itself be positive by accident.
 * Invariant: decided by ids alone, never by scores.
 */
import { SidestreamError } from '../schemas/index.ts'

/** Row i is a pair that should be close. Ids may repeat, on both sides. */
export interface PositivePairs {
  /** An item, a user or whatever asks, shape [n]. Two rows of one query share their positives. */
  readonly queryIds: readonly string[]
  /** Item that should be found, shape [n]. */
  readonly targetIds: readonly string[]
  /** Further ids that are no negatives of row i: its history, the query item itself. */
  readonly excluded?: (row: number) => Iterable<string>
}

/** Items by those they are paired with. */
export type Partners = ReadonlyMap<string, ReadonlySet<string>>

/** Partners of the two items of each pair: that they belong together does not depend on which of them asks. */
export function partnersOf(pairs: Iterable<{ readonly userId: string; readonly targetId: string }>): Partners {
  const partners = new Map<string, Set<string>>()
  const add = (from: string, to: string): void => {
    const known = partners.get(from)
    if (known === undefined) partners.set(from, new Set([to]))
    else known.add(to)
  }
  for (const { userId, targetId } of pairs) {
    add(userId, targetId)
    add(targetId, userId)
  }
  return partners
}

/**
 * For each row of `pairs` the places in `candidateIds` that are no negatives of it: its own target, every target of the same
 * query, and what is excluded.
 * @param candidateIds - may repeat
 * @returns asked with a row, gives distinct places in no particular order
 * @throws SIDESTREAM_SHAPE_MISMATCH when the two sides differ in length
 */
export function noNegatives(pairs: PositivePairs, candidateIds: readonly string[]): (row: number) => number[] {
  const { queryIds, targetIds, excluded } = pairs
  if (queryIds.length !== targetIds.length) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `pairs need one target per query: ${queryIds.length} and ${targetIds.length}`)
  }
  const targetsOf = new Map<string, Set<string>>()
  queryIds.forEach((id, row) => {
    const targets = targetsOf.get(id)
    if (targets === undefined) targetsOf.set(id, new Set([targetIds[row]!]))
    else targets.add(targetIds[row]!)
  })
  const placesOf = new Map<string, number[]>()
  candidateIds.forEach((id, place) => {
    const places = placesOf.get(id)
    if (places === undefined) placesOf.set(id, [place])
    else places.push(place)
  })
  return (row) => {
    const ids = new Set(targetsOf.get(queryIds[row]!))
    for (const id of excluded?.(row) ?? []) ids.add(id)
    return [...ids].flatMap((id) => placesOf.get(id) ?? [])
  }
}
