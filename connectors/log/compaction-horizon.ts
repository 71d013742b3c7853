/**
 * When a tombstone may go: after `deleteRetentionMs` in which nothing older of its key was in the log. A reader that takes no
 * longer from the start to the end hears of every deletion.
 * Invariant: what is said of an offset is never earlier than it was true, so a tombstone may stay longer, never shorter.
 */

export interface CompactionHistory {
  /** By `ts`, every key had one record below `upTo`. Ascending in both; the newest last. */
  readonly cleaned: readonly { readonly upTo: number; readonly ts: number }[]
  /** Tombstones below this offset have been dropped. */
  readonly horizon: number
  /** Tombstones that the last run has kept. */
  readonly tombstones: number
}

export interface HorizonOptions {
  readonly deleteRetentionMs: number
  /** Milliseconds since epoch. */
  readonly wallClock: () => number
}

export const noCompaction: CompactionHistory = { cleaned: [], horizon: 0, tombstones: 0 }

/** Entries that are kept within `deleteRetentionMs`, about. */
const steps = 16

/** What the last run has seen ends here. */
export function cleanEnd({ cleaned }: CompactionHistory): number {
  return cleaned.at(-1)?.upTo ?? 0
}

/** Tombstones below it may go now. */
export function horizonOf({ cleaned, horizon }: CompactionHistory, { deleteRetentionMs, wallClock }: HorizonOptions): number {
  const until = wallClock() - deleteRetentionMs
  return Math.max(horizon, cleaned.findLast(({ ts }) => ts <= until)?.upTo ?? 0)
}

/** The entries after a run that has seen everything below `upTo`; few, however often it runs. */
export function noteRun(
  upTo: number,
  { cleaned }: CompactionHistory,
  { deleteRetentionMs, wallClock }: HorizonOptions,
): CompactionHistory['cleaned'] {
  const now = wallClock()
  const last = cleaned.at(-1)
  if (last !== undefined && last.upTo >= upTo) return cleaned
  const from = cleaned.findLastIndex(({ ts }) => ts <= now - deleteRetentionMs)
  const kept = cleaned.slice(Math.max(from, 0))
  const before = kept.at(-2)
  if (before !== undefined && last!.ts - before.ts < deleteRetentionMs / steps) kept.pop() // the new one says as much, later
  return [...kept, { upTo, ts: now }]
}
