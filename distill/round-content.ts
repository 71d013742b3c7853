/**
 * Which content of an item a round sees: the newest offset with an event time inside or before the round.
 * Invariant: the answer depends on what was appended, not on when it was read; kept entries ascend in offset and in
 * event time, since an entry with a newer offset and an older time hides every entry between.
 */

/** One record of `item-content` (or of another compacted stream), with whatever the caller keeps for it. */
export interface ContentEntry<T> {
  readonly offset: bigint
  /** Event time; for a tombstone the record's log time. */
  readonly eventTs: number
  /** undefined: the item was deleted. */
  readonly value: T | undefined
}

/** Adds one record of an item to its kept entries (ascending offset); a record seen before changes nothing. */
export function addContent<T>(entries: readonly ContentEntry<T>[], entry: ContentEntry<T>): readonly ContentEntry<T>[] {
  const newest = entries.at(-1)
  if (newest === undefined) return [entry]
  if (entry.offset <= newest.offset) return entries
  return [...entries.filter(({ eventTs }) => eventTs < entry.eventTs), entry]
}

/** The entry of the newest offset with an event time before `endTs` (a round's end, exclusive). */
export function contentAsOf<T>(entries: readonly ContentEntry<T>[], endTs: number): ContentEntry<T> | undefined {
  return entries.findLast(({ eventTs }) => eventTs < endTs)
}

/** Drops what no round from `endTs` on can see. A tombstone that is the newest stays: it says that the item is gone. */
export function pruneContent<T>(entries: readonly ContentEntry<T>[], endTs: number): readonly ContentEntry<T>[] {
  if (entries.length < 2) return entries
  const seen = entries.findLastIndex(({ eventTs }) => eventTs < endTs)
  return seen > 0 ? entries.slice(seen) : entries
}
