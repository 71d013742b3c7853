/**
 * The owner's copy of item-content: for every item the records that a decision may still need, with the log position
 * in the same transaction. One state entry per item; which records it keeps is `distill`'s as-of rule.
 * Invariant: the answer to "as of" does not depend on when records arrived, as long as none of them was late.
 */

import { addContent, contentAsOf, pruneContent } from '../distill/index.ts'
import type { ContentEntry } from '../distill/index.ts'
import type { State } from '../connectors/index.ts'

/** A content record value as it was in the log (single-object Avro). */
export type StoredContent = ContentEntry<Uint8Array>

const prefix = 'c\u0000'
const prefixEnd = 'c\u0001'
const headBytes = 20
const nothing: readonly StoredContent[] = []

/**
 * Entries of one item, ascending offset, each: offset (uint64), event time (float64), length (uint32, 0xffffffff = delete), value;
 * all little-endian. Writes them at `at`; the caller has made room (`packedBytes`).
 */
function packEntries(entries: readonly StoredContent[], block: Buffer, start: number): void {
  let at = start
  for (const { offset, eventTs, value } of entries) {
    block.writeBigUInt64LE(offset, at)
    block.writeDoubleLE(eventTs, at + 8)
    block.writeUInt32LE(value?.length ?? 0xffff_ffff, at + 16)
    if (value !== undefined) block.set(value, at + headBytes)
    at += headBytes + (value?.length ?? 0)
  }
}

function packedBytes(entries: readonly StoredContent[]): number {
  let bytes = 0
  for (const { value } of entries) bytes += headBytes + (value?.length ?? 0)
  return bytes
}

function unpackEntries(bytes: Uint8Array): StoredContent[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: StoredContent[] = []
  for (let at = 0; at < bytes.length;) {
    const length = view.getUint32(at + 16, true)
    const value = length === 0xffff_ffff ? undefined : bytes.subarray(at + headBytes, at + headBytes + length)
    entries.push({ offset: view.getBigUint64(at, true), eventTs: view.getFloat64(at + 8, true), value })
    at += headBytes + (value?.length ?? 0)
  }
  return entries
}

/** One new record of an item. */
export interface ContentArrival {
  readonly itemId: string
  readonly entry: StoredContent
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
 * State entries after new records. Of the records before `closedTs` only the newest of an item stays.
 * @param arrivals - in offset order per item
 * @param scratch - the values lie in it: they are to be committed before it is used again
 */
export function contentPuts(
  state: State,
  arrivals: readonly ContentArrival[],
  closedTs: number,
  scratch: Scratch,
): [key: string, value: Uint8Array][] {
  const places = new Map<string, number>()
  const keys: string[] = []
  for (const { itemId } of arrivals) if (!places.has(itemId)) places.set(itemId, keys.push(prefix + itemId) - 1)
  const kept = state.getMany(keys).map((bytes): readonly StoredContent[] => (bytes === undefined ? nothing : unpackEntries(bytes)))
  for (const { itemId, entry } of arrivals) {
    const place = places.get(itemId)!
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

/** The content of one item before `endTs`; undefined when there was none or it was deleted. */
export function itemAsOf(state: State, itemId: string, endTs: number): Uint8Array | undefined {
  const bytes = state.get(prefix + itemId)
  return bytes === undefined ? undefined : contentAsOf(unpackEntries(bytes), endTs)?.value
}

/** The whole catalogue before `endTs`, in item order (UTF-8 bytes); deleted items left out. */
export function* catalogueAsOf(
  state: State,
  endTs: number,
): Iterable<{ readonly itemId: string; readonly value: Uint8Array; readonly eventTs: number }> {
  for (const [key, bytes] of state.range(prefix, prefixEnd)) {
    const entry = contentAsOf(unpackEntries(bytes), endTs)
    if (entry?.value !== undefined) yield { itemId: key.slice(prefix.length), value: entry.value, eventTs: entry.eventTs }
  }
}

/** When each item came, ascending event times of the oldest record that is kept. */
export function firstContentTimes(state: State): Float64Array {
  const times: number[] = []
  for (const [, bytes] of state.range(prefix, prefixEnd)) {
    const first = unpackEntries(bytes).find(({ value }) => value !== undefined)
    if (first !== undefined) times.push(first.eventTs)
  }
  return Float64Array.from(times).sort()
}
