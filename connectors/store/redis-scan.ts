/**
 * All entries of a target in the order of their ids' UTF-8 bytes, from buckets that are in no order.
 * Invariant: at most `windowBytes` of ids are held. Each pass asks every bucket for its ids and keeps the smallest that fit;
 * one pass is enough for about a million items.
 */

import type { RedisCall, RedisConnection } from './redis-connection.ts'
import { bucketOf, redisKeys } from './redis-keys.ts'
import type { StoreEntry, StoreTarget } from './store.ts'

const pageIds = 1_000
const windowBytes = 64 * 1024 * 1024
/** What a short string costs beside its characters, bytes. */
const stringBytes = 40

export async function* scanBuckets(
  connection: RedisConnection,
  target: StoreTarget,
  buckets: number,
  mostBytes: number = windowBytes,
): AsyncGenerator<readonly StoreEntry[]> {
  for (let after = ''; ;) {
    const { ids, more } = await smallestIds(connection, target, buckets, after, mostBytes)
    for (let at = 0; at < ids.length; at += pageIds) {
      const page = await entriesOf(connection, target, buckets, ids.slice(at, at + pageIds))
      if (page.length > 0) yield page
    }
    if (!more) return
    after = ids.at(-1)!
  }
}

/**
 * The smallest ids above `after`, ascending. An id is held as a latin1 string, one character per byte: JavaScript then
 * compares bytes.
 */
async function smallestIds(
  connection: RedisConnection,
  { project, view, version }: StoreTarget,
  buckets: number,
  after: string,
  mostBytes: number,
): Promise<{ ids: string[]; more: boolean }> {
  let ids: string[] = []
  let bytes = 0
  let below: string | undefined
  const shrink = (): void => {
    ids.sort()
    let kept = 0
    for (bytes = 0; kept < ids.length && (kept === 0 || bytes + ids[kept]!.length + stringBytes <= mostBytes); kept++) {
      bytes += ids[kept]!.length + stringBytes
    }
    if (kept === ids.length) return
    below = ids[kept]
    ids = ids.slice(0, kept)
  }
  for (let bucket = 0; bucket < buckets; bucket++) {
    const key = redisKeys.bucket(project, view, bucket, version)
    for (const field of (await connection.ask('hkeys', key, key)) as Buffer[]) {
      const id = field.toString('latin1')
      if (id <= after || (below !== undefined && id >= below)) continue
      ids.push(id)
      bytes += id.length + stringBytes
      if (bytes > 2 * mostBytes) shrink()
    }
  }
  shrink()
  return { ids, more: below !== undefined }
}

async function entriesOf(
  connection: RedisConnection,
  { project, view, version }: StoreTarget,
  buckets: number,
  latin1Ids: readonly string[],
): Promise<StoreEntry[]> {
  const ids = latin1Ids.map((id) => Buffer.from(id, 'latin1').toString())
  const calls = ids.map((id): RedisCall => {
    const key = redisKeys.bucket(project, view, bucketOf(id, buckets), version)
    return { name: 'hget', key, args: [key, id], bytes: key.length + id.length + 64 }
  })
  const page: StoreEntry[] = []
  for (const [i, value] of (await connection.send(calls)).entries()) {
    if (value !== null) page.push({ id: ids[i]!, value: Uint8Array.from(value as Buffer) })
  }
  return page
}
