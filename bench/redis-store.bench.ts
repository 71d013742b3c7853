/**
 * The store in Redis: batch reads and guarded writes of 50,000 items through the port, beside what Redis itself can do with
 * the same bytes. Peers of a read: one HMGET of one hash, one MGET of a key per item; of a guarded write: plain HSET into the
 * same buckets. Starts a Redis of its own, on the same machine.
 */
import { deepStrictEqual } from 'node:assert/strict'

import { Redis } from 'ioredis'

import { murmur2 } from '../compute/index.ts'
import { openRedisStore } from '../connectors/index.ts'
import { ownRedis } from '../test/services/index.ts'
import { compare, watchOthers } from './harness.ts'
import { redisItems } from './redis-items.ts'

const items = 50_000
const valueBytes = 300
const buckets = 64
const target = { project: 'bench', view: 'items', version: 1 }
const { idOf, entriesOf } = redisItems(valueBytes)

const server = await ownRedis()
const store = await openRedisStore({ port: server.port, buckets })
const redis = new Redis({ port: server.port })
const others = watchOthers()

try {
  for (let first = 0; first < items; first += 2_000) {
    const entries = entriesOf(first, 2_000, 1)
    await store.write(target, entries)
    const pipeline = redis.pipeline()
    const fields = entries.flatMap(({ id, value }) => [id, value])
    pipeline.hset('plain', ...fields)
    for (const { id, value } of entries) pipeline.set(`plain:${id}`, value)
    await pipeline.exec()
  }
  for (const batch of [500, 2_000]) {
    const calls = Array.from({ length: 40_000 / batch }, (_, call) =>
      Array.from({ length: batch }, (__, i) => idOf((call * 6_007 + i * 31) % items)),
    )
    const peers = {
      'HMGET of one hash': async (ids: string[]) => redis.hmgetBuffer('plain', ...ids),
      'MGET of a key per item': async (ids: string[]) => redis.mgetBuffer(...ids.map((id) => `plain:${id}`)),
    }
    for (const [peerName, peer] of Object.entries(peers)) {
      await compare({
        name: `redis store read, batches of ${batch} x ${valueBytes} bytes`,
        count: 40_000,
        unit: 'items',
        sidestream: async () => {
          let last: readonly (Uint8Array | undefined)[] = []
          for (const ids of calls) last = (await store.read(target, ids)).values
          return last.map((value) => Buffer.from(value!))
        },
        peer: async () => {
          let last: (Buffer | null)[] = []
          for (const ids of calls) last = await peer(ids)
          return last.map((value) => value!)
        },
        peerName,
        equal: (ours, theirs) => deepStrictEqual(ours, theirs),
        rounds: 9,
        extra: (rate, peerRate) => ({ 'ms/batch': perBatch(batch, rate), 'peer ms/batch': perBatch(batch, peerRate!) }),
      })
    }
  }
  let offset = 1
  for (const batch of [500, 2_000, 10_000]) {
    await compare({
      name: `redis store guarded write, batches of ${batch} x ${valueBytes} bytes, one at a time, acknowledged`,
      count: items,
      unit: 'writes',
      sidestream: async () => {
        offset++
        for (let first = 0; first < items; first += batch) await store.write(target, entriesOf(first, batch, offset))
      },
      peer: async () => {
        offset++
        for (let first = 0; first < items; first += batch) {
          const groups = new Map<number, (string | Buffer)[]>()
          for (const { id, value } of entriesOf(first, batch, offset)) {
            const bucket = (murmur2(Buffer.from(id)) & 0x7fffffff) % buckets
            const group = groups.get(bucket)
            if (group === undefined) groups.set(bucket, [id, value])
            else group.push(id, value)
          }
          const pipeline = redis.pipeline()
          for (const [bucket, group] of groups) pipeline.hset(`plain:{${bucket}}`, ...group)
          await pipeline.exec()
        }
      },
      peerName: 'plain HSET into as many hashes',
      rounds: 7,
    })
  }
  process.stdout.write(`${JSON.stringify({ 'share of the machine others used': others() })}\n`)
} finally {
  await store.close()
  redis.disconnect()
  await server.close()
}

function perBatch(batch: number, rate: number): number {
  return Number(((batch / rate) * 1_000).toPrecision(3))
}
