/**
 * The owner's copies of compacted topics: for every key the records that a decision may still need, with the log position
 * in the same transaction. One state entry per key; which records it keeps is `distill`'s as-of rule.
 * Invariant: the answer to "as of" does not depend on when records arrived, as long as none of them was late.
 */

import { addContent, contentAsOf, pruneContent } from '../distill/index.ts'
import type { ContentEntry } from '../distill/index.ts'
import type { State } from '../connectors/index.ts'

/** A record value as it was in the log (single-object Avro). */
export type StoredEntry = ContentEntry<Uint8Array>

const headBytes = 20
const nothing: readonly StoredEntry[] = []

/**
 * Entries of one key, ascending offset, each: offset (uint64), event time (float64), length (uint32, 0xffffffff = delete), value;
 * all little-endian. Writes them at `at`; the caller has made room (`packedBytes`).
 */
function packEntries(entries: readonly StoredEntry[], block: Buffer, start: number): void {
  let at = start
  for (const { offset, eventTs, value } of entries) {
    block.writeBigUInt64LE(offset, at)
    block.writeDoubleLE(eventTs, at + 8)
    block.writeUInt32LE(value?.length ?? 0xffff_ffff, at + 16)
    if (value !== undefined) block.set(value, at + headBytes)
    at += headBytes + (value?.length ?? 0)
  }
}

function packedBytes(entries: readonly StoredEntry[]): number {
  let bytes = 0
  for (const { value } of entries) bytes += headBytes + (value?.length ?? 0)
  return bytes
}

function unpackEntries(bytes: Uint8Array): StoredEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: StoredEntry[] = []
  for (let at = 0; at < bytes.length;) {
    const length = view.getUint32(at + 16, true)
    const value = length === 0xffff_ffff ? undefined : bytes.subarray(at + headBytes, at + headBytes + length)
    entries.push({ offset: view.getBigUint64(at, true), eventTs: view.getFloat64(at + 8, true), value })
    at += headBytes + (value?.length ?? 0)
  }
  return entries
}

/** One new record of a key. */
export interface Arrival {
  readonly id: string
  readonly entry: StoredEntry
}

/** Memory that is used again for every batch: blocks of their own would keep the collector busy. */
export class Scratch {
  #block = Buffer.alloc(0)

  /** At least `bytes` bytes of any content, valid until the next call. */
  take(bytes: number): Buffer {
    if (this.#block.length < bytes) this.#block = Buffer.allocUnsafeSlow(bytes + (bytes >> 2))
    return this.#block
  }
}

/**
 * State entries after new records. Of the records before `closedTs` only the newest of a key stays.
 * @param prefix - of the state keys; it ends in a zero byte and no other prefix starts with it
 * @param arrivals - in offset order per key
 * @param scratch - the values lie in it: they are to be committed before it is used again
 */
export function entryPuts(
  state: State,
  prefix: string,
  arrivals: readonly Arrival[],
  closedTs: number,
  scratch: Scratch,
): [key: string, value: Uint8Array][] {
  const places = new Map<string, number>()
  const keys: string[] = []
  for (const { id } of arrivals) if (!places.has(id)) places.set(id, keys.push(prefix + id) - 1)
  const kept = state.getMany(keys).map((bytes): readonly StoredEntry[] => (bytes === undefined ? nothing : unpackEntries(bytes)))
  for (const { id, entry } of arrivals) {
    const place = places.get(id)!
    kept[place] = addContent(kept[place]!, entry)
  }
  let bytes = 0
  for (let i = 0; i < kept.length; i++) {
    kept[i] = pruneContent(kept[i]!, closedTs)
    bytes += packedBytes(kept[i]!)
  }
  const block = scratch.take(bytes)
  let at = 0
  return keys.map((key, i) => {
    const from = at
    at += packedBytes(kept[i]!)
    packEntries(kept[i]!, block, from)
    return [key, new Uint8Array(block.buffer, block.byteOffset + from, at - from)]
  })
}

/** The newest record of a key before `endTs`; undefined when there was none, its value undefined when it was deleted. */
export function entryAsOf(state: State, prefix: string, id: string, endTs: number): StoredEntry | undefined {
  const bytes = state.get(prefix + id)
  return bytes === undefined ? undefined : contentAsOf(unpackEntries(bytes), endTs)
}

/** The kept entries of every key with a prefix, in key order (UTF-8 bytes). */
export function* entriesOf(state: State, prefix: string): Iterable<readonly [id: string, entries: readonly StoredEntry[]]> {
  for (const [key, bytes] of state.range(prefix, `${prefix.slice(0, -1)}\u0001`)) yield [key.slice(prefix.length), unpackEntries(bytes)]
}
