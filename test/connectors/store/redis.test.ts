/** What the Redis driver promises beyond the contract: its layout, its scripts, and what it says of bad data. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'

import fc from 'fast-check'
import { Redis } from 'ioredis'

import { murmur2 } from '../../../compute/index.ts'
import { openRedisStore } from '../../../connectors/index.ts'
import type { RedisStore, RedisStoreOptions, StoreEntry } from '../../../connectors/index.ts'
import { compareSource, valueHeader } from '../../../schemas/index.ts'
import { scanBuckets } from '../../../connectors/store/redis-scan.ts'
import { RedisConnection } from '../../../connectors/store/redis-connection.ts'
import { valueOf } from '../../contract/store.ts'
import { ownRedis, skipWithoutRedisServer } from '../../services/index.ts'
import type { OwnRedis } from '../../services/index.ts'

const skip = await skipWithoutRedisServer()
const target = { project: 'shop', view: 'items', version: 3 }
let server: OwnRedis
let redis: Redis
const open: RedisStore[] = []

before(async () => {
  if (skip !== false) return
  server = await ownRedis()
  redis = new Redis({ port: server.port })
})
beforeEach(async () => {
  await redis?.flushall()
})
after(async () => {
  for (const store of open) await store.close()
  redis?.disconnect()
  await server?.close()
})

async function openStore(options: RedisStoreOptions = {}): Promise<RedisStore> {
  const store = await openRedisStore({ port: server.port, ...options })
  open.push(store)
  return store
}

const entries = (count: number, offset: number, mark = 0, bytes = 48): StoreEntry[] =>
  Array.from({ length: count }, (_, i) => ({ id: `item-${i}`, value: valueOf(offset, mark, 0, bytes) }))

test('values, pointer, history, records and pins stand where the layout says', { skip }, async () => {
  const store = await openStore({ buckets: 7 })
  await store.write(target, [{ id: 'ä1', value: valueOf(5, 9) }])
  await store.putVersion('shop', 3, Uint8Array.of(1, 2, 0))
  await store.pin('shop', 3, 'reader', 60_000)
  await store.swap({ project: 'shop', expected: undefined, version: 3, action: 'activate', commandId: 'a "quoted" ä' })
  const bucket = (murmur2(Buffer.from('ä1')) & 0x7fffffff) % 7
  deepStrictEqual((await redis.keys('*')).sort(), [
    'ss:{shop/items/' + bucket + '}:3',
    'ss:{shop}:buckets:3',
    'ss:{shop}:commands',
    'ss:{shop}:history',
    'ss:{shop}:live',
    'ss:{shop}:pin:3:reader',
    'ss:{shop}:pins:3',
    'ss:{shop}:version:3',
    'ss:{shop}:versions',
  ])
  deepStrictEqual(Uint8Array.from((await redis.hgetBuffer(`ss:{shop/items/${bucket}}:3`, 'ä1'))!), valueOf(5, 9))
  strictEqual(await redis.get('ss:{shop}:live'), '{"version":3,"epoch":1,"seq":1}')
  const change = JSON.parse((await redis.lindex('ss:{shop}:history', 0))!) as Record<string, unknown>
  deepStrictEqual(Object.keys(change), ['seq', 'version', 'epoch', 'action', 'commandId', 'at'])
  strictEqual(change['commandId'], 'a "quoted" ä')
  deepStrictEqual(await redis.getBuffer('ss:{shop}:version:3'), Buffer.of(1, 2, 0))
  const ttl = await redis.pttl('ss:{shop}:pin:3:reader')
  ok(ttl > 0 && ttl <= 60_000)
  strictEqual(await redis.hget('ss:{shop}:buckets:3', 'items'), '7')
})

test('a view keeps the number of buckets of its first write, whatever later writers are set to', { skip }, async () => {
  const [few, many] = [await openStore({ buckets: 4 }), await openStore({ buckets: 4_096 })]
  await Promise.all([few.write(target, entries(300, 1)), many.write(target, entries(300, 2))])
  strictEqual((await few.usage('shop', 3)).entries, 300)
  const ids = entries(300, 0).map(({ id }) => id)
  for (const store of [few, many, await openStore({ buckets: 9 })]) {
    ok((await store.read(target, ids)).values.every((value) => compareSource(value!, valueOf(2)) === 0))
  }
})

test('a write that comes after its version was collected is found and collected again', { skip }, async () => {
  const [writer, collector] = [await openStore(), await openStore()]
  await writer.write(target, entries(500, 1))
  await collector.collect('shop', 3)
  strictEqual(await redis.exists('ss:{shop}:live', 'ss:{shop}:buckets:3'), 1)
  await writer.write(target, entries(20, 1))
  strictEqual((await (await openStore()).usage('shop', 3)).entries, 20)
  await collector.collect('shop', 3)
  deepStrictEqual(await redis.keys('ss:{shop/*'), [])
})

test('writers that race end with the newest source of every item', { skip }, async () => {
  const stores = [await openStore(), await openStore(), await openStore()]
  const newest = new Map<string, number>()
  const calls: Promise<unknown>[] = []
  for (let round = 0; round < 30; round++) {
    for (const [w, store] of stores.entries()) {
      const batch = Array.from({ length: 60 }, (_, i) => {
        const id = `item-${(i * 7 + round * 13 + w) % 200}`
        const offset = ((round * 7_919 + w * 104_729 + i * 31) % 5_003) + 1
        newest.set(id, Math.max(newest.get(id) ?? 0, offset))
        return { id, value: valueOf(offset, offset & 255) }
      })
      calls.push(store.write(target, batch))
    }
  }
  await Promise.all(calls)
  const ids = [...newest.keys()]
  deepStrictEqual(
    (await stores[0]!.read(target, ids)).values,
    ids.map((id) => valueOf(newest.get(id)!, newest.get(id)! & 255)),
  )
})

test('the order of sources is that of their bytes, all 96 bits', { skip }, async () => {
  const store = await openStore()
  let version = 100
  const source = fc.uint8Array({ minLength: 12, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(source, source, fc.nat(11), async (first, other, common) => {
      const second = Uint8Array.from(other)
      second.set(first.subarray(0, common)) // close sources, so that the low bytes decide
      const value = (bytes: Uint8Array): Uint8Array => {
        const whole = new Uint8Array(40)
        whole.set(bytes, valueHeader.sourceAt)
        return whole
      }
      const at = { ...target, version: ++version }
      await store.write(at, [{ id: 'a', value: value(first) }])
      const expected = Buffer.compare(second, first) > 0 ? 'written' : 'stale'
      deepStrictEqual(await store.write(at, [{ id: 'a', value: value(second) }]), [expected])
    }),
    { numRuns: 60 },
  )
})

test('a call far above the bound of pending bytes is done in pieces, in order', { skip }, async () => {
  const store = await openStore({ maxPendingBytes: 100_000 })
  const large = entries(10_000, 1, 5, 300)
  const [outcomes, again, other] = await Promise.all([
    store.write(target, large),
    store.write(target, entries(10_000, 1, 6, 300)),
    store.write({ ...target, view: 'other' }, entries(2_000, 1, 7, 2_000)),
  ])
  for (let i = 0; i < large.length; i++) deepStrictEqual([outcomes[i], again[i]], ['written', 'stale'])
  strictEqual(other.length, 2_000)
  const { values } = await store.read(
    target,
    large.map(({ id }) => id),
  )
  ok(values.every((value) => value!.length === 300 && value![valueHeader.bytes] === 5))
})

test('one entry larger than everything that may wait is written all the same', { skip }, async () => {
  const store = await openStore({ maxPendingBytes: 10_000 })
  const big = entries(3, 1, 1, 900_000)
  deepStrictEqual(await store.write(target, big), ['written', 'written', 'written'])
})

test('scripts that the server has forgotten are sent again, in the middle of work', { skip }, async () => {
  const store = await openStore()
  for (let round = 1; round <= 5; round++) {
    const calls = [1, 2, 3].map((part) => store.write({ ...target, view: `v${part}` }, entries(2_000, round)))
    await redis.script('FLUSH')
    for (const outcomes of await Promise.all(calls)) deepStrictEqual(new Set(outcomes), new Set(['written']))
    await redis.script('FLUSH')
    const expected = await store.live('shop')
    const { outcome } = await store.swap({ project: 'shop', expected, version: round, action: 'activate', commandId: `c${round}` })
    strictEqual(outcome, 'swapped')
  }
})

test('a command is recognized behind a long history', { skip }, async () => {
  const store = await openStore()
  const first = await store.swap({ project: 'shop', expected: undefined, version: 1, action: 'activate', commandId: 'c1' })
  for (let epoch = 1; epoch < 1_500; epoch++) {
    await store.swap({
      project: 'shop',
      expected: { version: epoch, epoch },
      version: epoch + 1,
      action: 'activate',
      commandId: `c${epoch + 1}`,
    })
  }
  await redis.config('RESETSTAT')
  const again = await store.swap({ project: 'shop', expected: undefined, version: 1, action: 'activate', commandId: 'c1' })
  deepStrictEqual(again, { ...first, outcome: 'repeated' })
  match(await redis.info('commandstats'), /cmdstat_hget:calls=1,/)
  ok(!(await redis.info('commandstats')).includes('cmdstat_lrange'))
  deepStrictEqual(
    (await store.history('shop', 1_498)).map(({ seq }) => seq),
    [1_499, 1_500],
  )
})

test('versions and epochs beyond 15 digits keep every digit', { skip }, async () => {
  const store = await openStore()
  const version = Number.MAX_SAFE_INTEGER
  await store.swap({ project: 'shop', expected: undefined, version, action: 'activate', commandId: 'c1' })
  deepStrictEqual(await store.live('shop'), { version, epoch: 1 })
  strictEqual((await store.history('shop', 0))[0]!.version, version)
  await store.putVersion('shop', version, Uint8Array.of(1))
  strictEqual((await store.listVersions('shop'))[0]!.version, version)
})

test('scan needs no more memory than its window, and gives the same', { skip }, async () => {
  const store = await openStore({ buckets: 5 })
  const all = Array.from({ length: 3_000 }, (_, i) => ({ id: `é-${(i * 7_919) % 3_000}`, value: valueOf(1, i & 255) }))
  await store.write(target, all)
  const connection = await RedisConnection.open({ port: server.port })
  const ids: string[] = []
  let pages = 0
  for await (const page of scanBuckets(connection, target, 5, 20_000)) {
    pages++
    ids.push(...page.map(({ id }) => id))
  }
  connection.close()
  ok(pages > 5)
  const sorted = all.map(({ id }) => Buffer.from(id)).sort(Buffer.compare)
  deepStrictEqual(ids, sorted.map(String))
})

test('keys that hold something else are told as corrupt, with their name', { skip }, async () => {
  const store = await openStore({ buckets: 1 })
  await store.write(target, entries(1, 1))
  const corrupt = (key: RegExp) => ({ code: 'SIDESTREAM_STORE_CORRUPT', message: key })
  await redis.hset('ss:{shop/items/0}:3', 'short', 'x')
  await rejects(store.write(target, [{ id: 'short', value: valueOf(1) }]), corrupt(/ss:\{shop\/items\/0\}:3/))
  await redis.set('ss:{shop/items/0}:3', 'text')
  await rejects(store.write(target, entries(1, 2)), corrupt(/ss:\{shop\/items\/0\}:3/))
  await rejects(store.read(target, ['item-0']), corrupt(/ss:\{shop\/items\/0\}:3/))
  await redis.set('ss:{shop}:live', 'text')
  await rejects(store.live('shop'), corrupt(/ss:\{shop\}:live/))
  await rejects(store.read(target, []), corrupt(/ss:\{shop\}:live/))
  await rejects(
    store.swap({ project: 'shop', expected: undefined, version: 1, action: 'activate', commandId: 'c' }),
    corrupt(/ss:\{shop\}:live/),
  )
  await redis.set('ss:{shop}:live', '{"version":1,"epoch":1,"seq":4}')
  const swap = { project: 'shop', expected: { version: 1, epoch: 1 }, version: 2, action: 'activate', commandId: 'c' } as const
  await rejects(store.swap(swap), corrupt(/ss:\{shop\}:history/))
  await redis.hset('ss:{shop}:buckets:4', 'items', 'many')
  await rejects(store.read({ ...target, version: 4 }, ['a']), corrupt(/ss:\{shop\}:buckets:4/))
})

test('a server that was emptied is seen as empty after the next connection, and can be filled again', { skip }, async () => {
  const store = await openStore({ buckets: 3 })
  await store.write(target, entries(50, 1))
  await redis.flushall()
  await redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await redis.ping()
  let outcomes: string[] = []
  for (let tried = 0; outcomes.length === 0 && tried < 20; tried++) {
    outcomes = await store.write(target, entries(50, 1)).catch(() => [])
  }
  deepStrictEqual(new Set(outcomes), new Set(['written']))
  strictEqual((await (await openStore()).usage('shop', 3)).entries, 50)
})

test(
  'a server that is emptied under open connections and filled again is whole for every process, whatever it remembers',
  { skip },
  async () => {
    const [writer, reader] = [await openStore({ buckets: 3 }), await openStore()]
    const ids = entries(50, 0).map(({ id }) => id)
    const isWhole = async (store: RedisStore): Promise<boolean> =>
      (await store.read(target, ids)).values.every((value) => value !== undefined)
    await writer.write(target, entries(50, 1))
    ok(await isWhole(reader))
    await redis.flushall()
    ok((await reader.read(target, ids)).values.every((value) => value === undefined))
    await writer.write(target, entries(50, 1))
    ok(await isWhole(await openStore()), 'seen by a process that comes later')
    ok(await isWhole(reader))

    await redis.flushall()
    const other = await openStore({ buckets: 5 })
    await other.write(target, entries(50, 2))
    const scanned: string[] = []
    for await (const page of reader.scan(target)) scanned.push(...page.map(({ id }) => id))
    strictEqual(scanned.length, 50)
    await rejects(writer.write(target, entries(50, 3)), { code: 'SIDESTREAM_STORE_UNREACHABLE', message: /emptied and filled anew/ })
    deepStrictEqual(new Set(await writer.write(target, entries(50, 4))), new Set(['written']))
    for (const store of [reader, writer, other]) {
      deepStrictEqual((await store.read(target, ['item-0'])).values, [valueOf(4)])
    }
  },
)

test('a project is forgotten whole, and no other', { skip }, async () => {
  const store = await openStore({ buckets: 3 })
  for (const project of ['shop', 'shop-2']) {
    for (const version of [1, 2]) {
      await store.write({ project, view: 'items', version }, entries(20, 1))
      await store.write({ project, view: 'other', version }, entries(20, 1))
      await store.putVersion(project, version, Uint8Array.of(1))
      await store.pin(project, version, 'reader', 60_000)
    }
    await store.swap({ project, expected: undefined, version: 1, action: 'activate', commandId: 'c1' })
  }
  const others = (await redis.keys('ss:{shop-2*')).sort()
  await store.forget('shop')
  deepStrictEqual((await redis.keys('*')).sort(), others)
  await store.forget('shop')
})

test('an eviction policy, and a server that keeps nothing, are told', { skip }, async () => {
  const store = await openStore()
  const told = async (): Promise<string> => (await store.inspect()).map(({ level, message }) => `${level}: ${message}`).join('\n')
  match(await told(), /advice: redis at 127\.0\.0\.1:\d+ has no append-only file/)
  ok(!(await told()).includes('problem'))
  await redis.config('SET', 'maxmemory-policy', 'allkeys-lru', 'appendonly', 'yes')
  match(await told(), /problem: .*maxmemory-policy allkeys-lru.*set maxmemory-policy noeviction/)
  ok(!(await told()).includes('append-only'))
  await redis.config('SET', 'maxmemory-policy', 'noeviction', 'appendonly', 'no')
})
