/** The store in a Redis Cluster whose slots move and whose nodes go away. The contract is run on a cluster elsewhere. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { inspect } from 'node:util'

import { Command } from 'ioredis'

import { openRedisStore } from '../../../connectors/index.ts'
import type { StoreEntry } from '../../../connectors/index.ts'
import { isSidestreamError } from '../../../schemas/index.ts'
import { valueOf } from '../../contract/store.ts'
import { skipWithoutRedisServer, until } from '../../services/index.ts'
import { ownCluster } from './redis-cluster.ts'
import type { OwnCluster } from './redis-cluster.ts'

const skip = await skipWithoutRedisServer()
const target = { project: 'shop', view: 'items', version: 1 }
let cluster: OwnCluster
before(async () => {
  if (skip === false) cluster = await ownCluster([])
})
after(() => cluster?.close())

const entries = (count: number, offset: number): StoreEntry[] =>
  Array.from({ length: count }, (_, i) => ({ id: `item-${i}`, value: valueOf(offset, offset & 255) }))

/** Moves the slot of a key, with its keys, from the node that has it to another. */
async function moveSlot(key: string): Promise<void> {
  const slot = new Command('get', [key]).getSlot()!
  const owner = cluster.masters[Math.floor((slot * 3) / 16_384)]!
  const other = cluster.masters.find((node) => node !== owner)!
  const [ownerId, otherId] = (await Promise.all([owner, other].map((node) => node.call('cluster', 'myid')))) as [string, string]
  await other.call('cluster', 'setslot', slot, 'importing', ownerId)
  await owner.call('cluster', 'setslot', slot, 'migrating', otherId)
  const keys = (await owner.call('cluster', 'getkeysinslot', slot, 1_000)) as string[]
  for (const moved of keys) await owner.call('migrate', other.options.host!, other.options.port!, moved, 0, 5_000)
  for (const node of [other, owner]) await node.call('cluster', 'setslot', slot, 'node', otherId)
}

test('slots that move while they are written and read lose nothing', { skip }, async () => {
  const store = await openRedisStore({ nodes: cluster.nodes, cluster: true })
  try {
    await store.write(target, entries(3_000, 1))
    strictEqual(await cluster.masters[0]!.hget('ss:{shop}:buckets:1', 'items').catch(() => '192'), '192', '64 per master')
    let round = 1
    const stopped = { yet: false }
    const working = (async () => {
      while (!stopped.yet) {
        const next = round + 1
        const outcomes = await store.write(target, entries(3_000, next))
        ok(outcomes.every((outcome) => outcome === 'written'))
        const { values } = await store.read(target, ['item-1', 'item-2', 'none'])
        deepStrictEqual(values, [valueOf(next, next & 255), valueOf(next, next & 255), undefined])
        round = next
      }
    })()
    for (const key of ['ss:{shop}:live', 'ss:{shop/items/0}:1', 'ss:{shop/items/77}:1', 'ss:{shop/items/150}:1']) {
      const from = round
      await until('a round', async () => round > from, 10_000)
      await moveSlot(key)
    }
    stopped.yet = true
    await working
    const ids = entries(3_000, 0).map(({ id }) => id)
    ok((await store.read(target, ids)).values.every((value) => Buffer.from(value!).equals(valueOf(round, round & 255))))
    strictEqual((await store.usage('shop', 1)).entries, 3_000)
  } finally {
    await store.close()
  }
})

test('a node that is gone fails calls as retryable, and all goes on when it is back', { skip }, async () => {
  const store = await openRedisStore({ nodes: cluster.nodes, cluster: true, commandTimeoutMs: 1_000 })
  try {
    const version = 2
    await store.write({ ...target, version }, entries(500, 1))
    cluster.servers[1]!.server.freeze()
    const code = await store.write({ ...target, version }, entries(500, 2)).then(
      () => 'written',
      (error: unknown) => (isSidestreamError(error) ? error.code : String(error)),
    )
    strictEqual(code, 'SIDESTREAM_STORE_UNREACHABLE')
    cluster.servers[1]!.server.thaw()
    await until('writing again', async () => (await store.write({ ...target, version }, entries(500, 3))).length === 500, 20_000)
    deepStrictEqual((await store.read({ ...target, version }, ['item-9'])).values, [valueOf(3, 3)])
  } finally {
    await store.close()
  }
})

test('a user that a cluster does not know is told at once', { skip }, async () => {
  const opening = openRedisStore({ nodes: cluster.nodes, cluster: true, username: 'nobody', password: 'secret-pass-word' })
  await rejects(opening, (error: Error) => {
    ok(isSidestreamError(error) && error.code === 'SIDESTREAM_STORE_ACCESS_DENIED', error.message)
    return !inspect(error, { depth: 20, showHidden: true }).includes('secret-pass-word')
  })
})
