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

/** Guarded writes, in order within each bucket. */
export function groupWrites(target: StoreTarget, entries: readonly StoreEntry[], buckets: number): PlacedCall[] {
  const groups = new Groups(target, 'ssWrite')
  for (let i = 0; i < entries.length; i++) {
    const { id, value } = entries[i]!
    const args = groups.argsOf(bucketOf(id, buckets), i, id.length + value.length + 32)
    args.push(id, Buffer.from(value.buffer, value.byteOffset, value.length))
  }
  return groups.calls
}

/** Reads of the ids that can be there at all. */
export function groupIds(target: StoreTarget, ids: readonly string[], buckets: number): PlacedCall[] {
  const groups = new Groups(target, 'hmget')
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!
    if (id.length > 0 && id.length <= limits.idBytes) groups.argsOf(bucketOf(id, buckets), i, id.length + 16).push(id)
  }
  return groups.calls
}

/** A command that still grows. */
interface Draft {
  readonly call: { readonly name: 'ssWrite' | 'hmget'; readonly key: string; readonly args: RedisArgument[]; bytes: number }
  readonly at: number[]
}

/** Commands by bucket; one that is full is followed by another. */
class Groups {
  readonly calls: Draft[] = []
  readonly #target: StoreTarget
  readonly #name: 'ssWrite' | 'hmget'
  readonly #open = new Map<number, Draft>()

  constructor(target: StoreTarget, name: 'ssWrite' | 'hmget') {
    this.#target = target
    this.#name = name
  }

  /** Arguments of the command of a bucket, to which part `at` of the batch is to be added. */
  argsOf(bucket: number, at: number, bytes: number): RedisArgument[] {
    let draft = this.#open.get(bucket)
    if (draft === undefined || draft.call.bytes + bytes > commandBytes || draft.at.length >= mostScriptEntries) {
      const { project, view, version } = this.#target
      const key = redisKeys.bucket(project, view, bucket, version)
      draft = { call: { name: this.#name, key, args: [key], bytes: 128 }, at: [] }
      this.#open.set(bucket, draft)
      this.calls.push(draft)
    }
    draft.call.bytes += bytes
    draft.at.push(at)
    return draft.call.args
  }
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
