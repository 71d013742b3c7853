/**
 * Cuts batches of entries and ids into commands, one bucket each, and puts replies back in their places.
 * Invariant: entries of one bucket stay in order; no command holds more than `commandBytes`, but for a single larger entry.
 */

import { limits } from '../../schemas/index.ts'
import type { RedisArgument, RedisCall } from './redis-connection.ts'
import { bucketOf, redisKeys } from './redis-keys.ts'
import { mostScriptEntries } from './redis-scripts.ts'
import type { StoreEntry, StoreTarget, WriteOutcome } from './store.ts'

/** A command with the places of its parts in the caller's batch. */
export interface PlacedCall {
  readonly call: RedisCall
  readonly at: readonly number[]
}

/** While a script runs nothing else does: this keeps it to about a millisecond. */
const commandBytes = 256 * 1024

interface Draft {
  readonly bucket: number
  readonly args: RedisArgument[]
  readonly at: number[]
  bytes: number
}

/** Guarded writes, in order within each bucket. */
export function groupWrites(target: StoreTarget, entries: readonly StoreEntry[], buckets: number): PlacedCall[] {
  const drafts: Draft[] = []
  const open = new Map<number, Draft>()
  for (let i = 0; i < entries.length; i++) {
    const { id, value } = entries[i]!
    const draft = draftOf(open, drafts, bucketOf(id, buckets), id.length + value.length + 32)
    draft.args.push(id, Buffer.from(value.buffer, value.byteOffset, value.length))
    draft.at.push(i)
  }
  return drafts.map((draft) => placed(target, 'ssWrite', draft))
}

/** Reads of the ids that can be there at all. */
export function groupIds(target: StoreTarget, ids: readonly string[], buckets: number): PlacedCall[] {
  const drafts: Draft[] = []
  const open = new Map<number, Draft>()
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!
    if (id.length === 0 || id.length > limits.idBytes) continue
    const draft = draftOf(open, drafts, bucketOf(id, buckets), id.length + 16)
    draft.args.push(id)
    draft.at.push(i)
  }
  return drafts.map((draft) => placed(target, 'hmget', draft))
}

/** Most values share an arena of this size: few allocations, and a value that is kept does not keep a whole reply. */
const arenaBytes = 64 * 1024

/**
 * Copies replies to `values`, which then are the caller's own: ioredis hands out slices of what came over the network.
 * @param replies - per group, its values in order
 * @param values - written in place
 */
export function placeValues(
  groups: readonly PlacedCall[],
  replies: readonly (readonly (Buffer | null)[])[],
  values: (Uint8Array | undefined)[],
): void {
  let arena = new Uint8Array(0)
  let used = 0
  for (let group = 0; group < groups.length; group++) {
    const { at } = groups[group]!
    const reply = replies[group]!
    for (let i = 0; i < at.length; i++) {
      const stored = reply[i]
      if (stored === null || stored === undefined) continue
      const { length } = stored
      if (used + length > arena.length) {
        arena = Buffer.allocUnsafeSlow(Math.max(length, arenaBytes))
        used = 0
      }
      const value = new Uint8Array(arena.buffer, arena.byteOffset + used, length)
      value.set(stored)
      values[at[i]!] = value
      used += length
    }
  }
}

/** Outcomes in the order of the caller's entries. @param replies - per group one character per entry, `1` for written */
export function placeOutcomes(groups: readonly PlacedCall[], replies: readonly Buffer[], entries: number): WriteOutcome[] {
  const outcomes: WriteOutcome[] = []
  outcomes.length = entries
  for (let group = 0; group < groups.length; group++) {
    const { at } = groups[group]!
    const reply = replies[group]!
    for (let i = 0; i < at.length; i++) outcomes[at[i]!] = reply[i] === 0x31 ? 'written' : 'stale'
  }
  return outcomes
}

function draftOf(open: Map<number, Draft>, drafts: Draft[], bucket: number, bytes: number): Draft {
  let draft = open.get(bucket)
  if (draft === undefined || draft.bytes + bytes > commandBytes || draft.at.length >= mostScriptEntries) {
    draft = { bucket, args: [], at: [], bytes: 128 }
    open.set(bucket, draft)
    drafts.push(draft)
  }
  draft.bytes += bytes
  return draft
}

function placed({ project, view, version }: StoreTarget, name: 'ssWrite' | 'hmget', { bucket, args, at, bytes }: Draft): PlacedCall {
  const key = redisKeys.bucket(project, view, bucket, version)
  args.unshift(key)
  return { call: { name, key, args, bytes }, at }
}
