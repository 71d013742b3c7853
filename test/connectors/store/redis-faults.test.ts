/** The Redis driver beside servers that are down, slow, full, locked or not what they seem: what it says, and that it recovers. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { inspect } from 'node:util'

import { Redis } from 'ioredis'

import { openRedisStore } from '../../../connectors/index.ts'
import type { RedisStore, RedisStoreOptions, StoreEntry } from '../../../connectors/index.ts'
import { isSidestreamError, valueHeader } from '../../../schemas/index.ts'
import { valueOf } from '../../contract/store.ts'
import { faultProxy, freePorts, ownRedis, skipWithoutRedisServer, until } from '../../services/index.ts'
import type { OwnRedis, RedisOptions } from '../../services/index.ts'
import { leastRules } from './redis-users.ts'

const skip = await skipWithoutRedisServer()
const target = { project: 'shop', view: 'items', version: 1 }
const unreachable = { code: 'SIDESTREAM_STORE_UNREACHABLE', class: 'retryable' }
const password = 'secret-pass-word'

const entries = (count: number, offset: number, bytes = 48): StoreEntry[] =>
  Array.from({ length: count }, (_, i) => ({ id: `item-${i}`, value: valueOf(offset, offset & 255, 0, bytes) }))

async function serve(t: TestContext, options: RedisOptions = {}): Promise<OwnRedis> {
  const server = await ownRedis(options)
  t.after(() => server.close())
  return server
}

async function open(t: TestContext, options: RedisStoreOptions): Promise<RedisStore> {
  const store = await openRedisStore({ commandTimeoutMs: 1_000, ...options })
  t.after(() => store.close())
  return store
}

async function admin(t: TestContext, port: number): Promise<Redis> {
  const redis = new Redis({ port })
  t.after(() => redis.disconnect())
  return redis
}

/** What a lane does: the same call again until it is done. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  let result: { value: T } | undefined
  const again = async (): Promise<boolean> => {
    try {
      result = { value: await call() }
    } catch (error) {
      if (!isSidestreamError(error) || error.class !== 'retryable') throw error
    }
    return result !== undefined
  }
  await until('the call is done', again, 20_000)
  return result!.value
}

test('a server that is not there yet is waited for', { skip }, async (t) => {
  const server = await serve(t)
  await server.server.stop()
  const opening = openRedisStore({ port: server.port, connectTimeoutMs: 20_000 })
  await server.server.start()
  const store = await opening
  t.after(() => store.close())
  deepStrictEqual(await store.write(target, entries(1, 1)), ['written'])
})

test('a server that never comes is told with its address after the time-out', { skip }, async () => {
  const [port] = await freePorts(1)
  const opening = openRedisStore({ port: port!, connectTimeoutMs: 300, username: 'user', password })
  await rejects(opening, (error: Error) => {
    ok(isSidestreamError(error) && error.code === unreachable.code && error.class === 'retryable')
    ok(error.message.includes(`127.0.0.1:${port}`) && error.message.includes('nothing listens there'))
    ok(!inspect(error, { depth: 20, showHidden: true }).includes(password))
    return true
  })
  await rejects(openRedisStore({ host: 'no-such-host.invalid', connectTimeoutMs: 300 }), unreachable)
  await rejects(openRedisStore({ cluster: true, nodes: [{ host: '127.0.0.1', port: port! }], connectTimeoutMs: 300 }), unreachable)
})

test('a restart in the middle of writing loses nothing that was acknowledged, and needs no restart of ours', { skip }, async (t) => {
  const server = await serve(t, { persistent: true })
  const store = await open(t, { port: server.port })
  const acknowledged = new Map<string, number>()
  let round = 0
  let failures = 0
  const stopped = { yet: false }
  const writing = (async () => {
    while (!stopped.yet) {
      const batch = entries(300, ++round)
      await insist(() =>
        store.write(target, batch).catch((error: unknown) => {
          failures++
          throw error
        }),
      )
      for (const { id } of batch) acknowledged.set(id, round)
    }
  })()
  for (const stop of [() => server.server.kill(), () => server.server.stop()]) {
    const before = round
    await until('some rounds', async () => round > before + 5, 20_000)
    await stop()
    const seen = failures
    await until('a call has failed', async () => failures > seen, 20_000)
    await server.server.start()
  }
  const before = round
  await until('some rounds', async () => round > before + 5, 20_000)
  stopped.yet = true
  await writing
  const { values } = await store.read(target, [...acknowledged.keys()])
  const offsets = values.map((value) => Number(Buffer.from(value!).readBigUInt64BE(valueHeader.offsetAt)))
  deepStrictEqual(offsets, [...acknowledged.values()])
})

test('a server that is down later fails calls as retryable, with little waiting; then all goes on', { skip }, async (t) => {
  const server = await serve(t, { persistent: true })
  const store = await open(t, { port: server.port, commandTimeoutMs: 200 })
  await store.write(target, entries(10, 1))
  await server.server.stop()
  await rejects(store.write(target, entries(10, 2)), unreachable)
  await rejects(store.read(target, ['item-0']), unreachable)
  await rejects(store.now(), unreachable)
  await server.server.start()
  deepStrictEqual(new Set(await insist(() => store.write(target, entries(10, 2)))), new Set(['written']))
})

test('a pointer and its history agree whenever the server dies', { skip }, async (t) => {
  const server = await serve(t, { persistent: true })
  const store = await open(t, { port: server.port })
  let asked = 0
  for (let kills = 0; kills < 3; kills++) {
    const from = asked
    const swapping = (async () => {
      for (;;) {
        const expected = await store.live('shop')
        const commandId = `c${++asked}`
        await store.swap({ project: 'shop', expected, version: asked, action: 'activate', commandId })
      }
    })()
    const ended = rejects(swapping, unreachable)
    await until('some swaps', async () => asked > from + 20, 20_000)
    await server.server.kill()
    await ended
    await server.server.start()
    const live = await insist(() => store.live('shop'))
    const history = await store.history('shop', 0)
    deepStrictEqual(
      history.map(({ seq, epoch }) => [seq, epoch]),
      history.map((_, i) => [i + 1, i + 1]),
    )
    deepStrictEqual(live, { version: history.at(-1)!.version, epoch: history.length })
    const again = await store.swap({
      project: 'shop',
      expected: live,
      version: 1,
      action: 'activate',
      commandId: history.at(-1)!.commandId,
    })
    strictEqual(again.outcome, 'repeated')
  }
})

test('a server that hangs fails calls within the time-out, is left, and is used again when it answers', { skip }, async (t) => {
  const server = await serve(t)
  const store = await open(t, { port: server.port, commandTimeoutMs: 300, maxPendingBytes: 100_000 })
  await store.write(target, entries(10, 1))
  server.server.freeze()
  const calls = [1, 2, 3].map(() => store.write(target, entries(500, 2, 200)))
  for (const call of await Promise.allSettled(calls)) ok(call.status === 'rejected' && call.reason.code === unreachable.code)
  await rejects(store.read(target, ['item-0']), unreachable)
  await rejects(openRedisStore({ port: server.port, connectTimeoutMs: 300 }), unreachable)
  server.server.thaw()
  await insist(() => store.write(target, entries(500, 3, 200)))
  strictEqual((await store.read(target, ['item-0'])).values[0]!.length, 200)
})

test('an answer that came while this process did something else is not late', { skip }, async (t) => {
  const server = await serve(t)
  const store = await open(t, { port: server.port, commandTimeoutMs: 100 })
  await store.write(target, entries(10, 1))
  for (let round = 0; round < 5; round++) {
    const reading = store.read(target, ['item-0'])
    const until = performance.now() + 250
    setImmediate(() => {
      while (performance.now() < until); // blocks the event loop, as a long computation does
    })
    deepStrictEqual((await reading).values, [valueOf(1, 1)])
  }
})

test('a slow line is waited for; a silent one is cut and made anew', { skip }, async (t) => {
  const server = await serve(t)
  const proxy = await faultProxy({ host: '127.0.0.1', port: server.port })
  t.after(() => proxy.close())
  const store = await open(t, { port: proxy.port, commandTimeoutMs: 800 })
  proxy.delay(100)
  deepStrictEqual(new Set(await store.write(target, entries(2_000, 1, 300))), new Set(['written']))
  proxy.delay(0)
  proxy.blackHole()
  await rejects(store.write(target, entries(10, 2)), unreachable)
  proxy.heal()
  await insist(() => store.write(target, entries(10, 3)))
  proxy.cut()
  await insist(() => store.write(target, entries(10, 4)))
  proxy.refuse()
  await rejects(
    insistFor(() => store.write(target, entries(10, 5)), 3),
    unreachable,
  )
  proxy.heal()
  await insist(() => store.write(target, entries(10, 5)))
  deepStrictEqual((await store.read(target, ['item-0'])).values, [valueOf(5, 5)])
})

async function insistFor(call: () => Promise<unknown>, times: number): Promise<void> {
  for (let tried = 1; tried < times; tried++) await call().catch(() => undefined)
  await call()
}

test('a wrong or missing password is told at once, without the password', { skip }, async (t) => {
  const { port } = await serve(t, { config: [`user default on >${password}1 ~* &* +@all`] })
  const denied = (error: Error): boolean => {
    ok(isSidestreamError(error) && error.code === 'SIDESTREAM_STORE_ACCESS_DENIED' && error.class === 'fatal', error.message)
    ok(error.message.includes(`127.0.0.1:${port}`))
    ok(!inspect(error, { depth: 20, showHidden: true }).includes(password))
    return true
  }
  const started = performance.now()
  await rejects(openRedisStore({ port, password }), denied)
  await rejects(openRedisStore({ port }), denied)
  await rejects(openRedisStore({ port, username: 'nobody', password }), denied)
  ok(performance.now() - started < 25_000, 'not waited for as if it were down')
  await (await openRedisStore({ port, password: `${password}1` })).close()
})

test('a password that the server does not ask for is told once, in our words, and nothing is printed', { skip }, async (t) => {
  const { port } = await serve(t)
  const redis = await admin(t, port)
  const printed = t.mock.method(console, 'warn', () => {})
  const told: string[] = []
  const store = await open(t, { port, password, logger: { warn: (_, message) => void told.push(message) } })
  await redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  deepStrictEqual(await insist(() => store.write(target, entries(1, 1))), ['written'])
  strictEqual(told.length, 1)
  match(told[0]!, /asks for no password, though one is configured/)
  ok((await store.inspect()).some(({ message }) => message === told[0]))
  strictEqual(printed.mock.callCount(), 0)
  ok(!told[0]!.includes(password))
  await redis.call('ACL', 'SETUSER', 'default', 'resetpass', `>${password}`)
  const closed = await open(t, { port, password, logger: { warn: (_, message) => void told.push(message) } })
  deepStrictEqual([(await closed.inspect()).some(({ message }) => message === told[0]), told.length], [false, 1])
})

test('a password that is changed while we run stops calls with a clear error, until it is changed back', { skip }, async (t) => {
  const { port } = await serve(t, { config: ['user default on nopass ~* &* +@all', `user alice on >${password} ${leastRules}`] })
  const redis = await admin(t, port)
  const store = await open(t, { port, username: 'alice', password })
  await redis.call('ACL', 'SETUSER', 'alice', 'resetpass', '>other')
  await redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  let code = ''
  const refused = async (): Promise<boolean> => {
    code = await store.now().then(
      () => '',
      (error: unknown) => (isSidestreamError(error) ? error.code : String(error)),
    )
    return code === 'SIDESTREAM_STORE_ACCESS_DENIED'
  }
  await until('the new connection is refused', refused, 10_000)
  await redis.call('ACL', 'SETUSER', 'alice', 'resetpass', `>${password}`)
  await until('it works again', async () => (await store.now()) > 0, 10_000)
})

test('a user without a right is told which command, and on which key', { skip }, async (t) => {
  const config = [
    'user default on nopass ~* &* +@all',
    `user noscript on >${password} ${leastRules} -evalsha -eval`,
    `user nohash on >${password} ${leastRules} -hmget`,
    `user otherkeys on >${password} ${leastRules} resetkeys ~other:*`,
  ]
  const { port } = await serve(t, { config })
  const denied = (message: RegExp) => ({ code: 'SIDESTREAM_STORE_ACCESS_DENIED', class: 'fatal', message })
  const as = (username: string): Promise<RedisStore> => open(t, { port, username, password })
  await (await open(t, { port })).write(target, entries(1, 1))
  await rejects((await as('noscript')).write(target, entries(1, 2)), denied(/eval.*redis-store\.md/))
  await rejects((await as('nohash')).read(target, ['item-0']), denied(/hmget.*ss:\{shop\/items\/\d+\}:1/))
  await rejects((await as('nohash')).write(target, entries(1, 2)), denied(/ssWrite ss:\{shop/))
  await rejects((await as('otherkeys')).live('shop'), denied(/ss:\{shop\}:live/))
})

test('out of memory is told as full; versions can still be collected, and writes go on when there is room', { skip }, async (t) => {
  const { port } = await serve(t, { config: ['maxmemory 8mb'] })
  const store = await open(t, { port })
  const full = { code: 'SIDESTREAM_STORE_FULL', class: 'retryable', message: /out of memory.*versions gc.*maxmemory/ }
  const fill = async (version: number): Promise<void> => {
    for (let round = 0; round < 100; round++) {
      const batch = Array.from({ length: 500 }, (_, i) => ({ id: `${round}-${i}`, value: valueOf(1, 1, 0, 1_000) }))
      await store.write({ ...target, version }, batch)
    }
  }
  await rejects(fill(1), full)
  await rejects(fill(2), full)
  await store.putVersion('shop', 1, Uint8Array.of(1))
  await store.pin('shop', 1, 'reader', 1_000)
  const { outcome } = await store.swap({ project: 'shop', expected: undefined, version: 1, action: 'activate', commandId: 'c1' })
  strictEqual(outcome, 'swapped')
  strictEqual((await store.read(target, ['0-0'])).values[0]!.length, 1_000)
  await store.collect('shop', 1)
  deepStrictEqual(await insist(() => store.write({ ...target, version: 2 }, entries(1, 1))), ['written'])
  await rejects(fill(3), full)
  const redis = await admin(t, port)
  await redis.config('SET', 'maxmemory', '100mb')
  await fill(3)
})

test('TLS: the own authority is trusted, an unknown one and a plain port are told with what to do', { skip }, async (t) => {
  const server = await serve(t, { tls: true })
  const { port, ca = '' } = server
  const store = await open(t, { port, tls: { ca } })
  deepStrictEqual(await store.write(target, entries(1, 1)), ['written'])
  const named = await open(t, { port, tls: { ca, servername: 'localhost' } })
  deepStrictEqual((await named.read(target, ['item-0'])).values, [valueOf(1, 1)])
  const fatal = (message: RegExp) => ({ code: 'SIDESTREAM_CONFIG_INVALID', class: 'fatal', message })
  await rejects(openRedisStore({ port, tls: {} }), fatal(/certificate of redis at 127\.0\.0\.1:\d+ is not trusted.*\(ca\)/))
  await rejects(openRedisStore({ port, tls: { ca, servername: 'redis.example' } }), fatal(/made for another name.*\(servername\)/))
  await rejects(openRedisStore({ port, connectTimeoutMs: 500 }), { ...unreachable, message: /expect TLS/ })
  const plain = await serve(t)
  await rejects(openRedisStore({ port: plain.port, tls: { ca }, connectTimeoutMs: 500 }), {
    ...unreachable,
    message: /with TLS, or without/,
  })
})

test('databases and clusters that the server does not have are told at once', { skip }, async (t) => {
  const { port } = await serve(t)
  const fatal = (message: RegExp) => ({ code: 'SIDESTREAM_CONFIG_INVALID', class: 'fatal', message })
  await rejects(openRedisStore({ port, db: 99 }), fatal(/no such database/))
  await rejects(openRedisStore({ port, cluster: true }), fatal(/no cluster/))
  const member = await serve(t, { config: ['cluster-enabled yes'] })
  await rejects(openRedisStore({ port: member.port }), fatal(/is a cluster/))
  await rejects(openRedisStore({ port, cluster: true, db: 1 }), { code: 'SIDESTREAM_USAGE_INVALID' })
  await rejects(openRedisStore({ port, buckets: 0 }), { code: 'SIDESTREAM_USAGE_INVALID' })
})

test('a master that became a replica takes no writes: retryable, and over when it is a master again', { skip }, async (t) => {
  const server = await serve(t)
  const redis = await admin(t, server.port)
  const store = await open(t, { port: server.port })
  await store.write(target, entries(1, 1))
  const [nowhere] = await freePorts(1)
  await redis.replicaof('127.0.0.1', nowhere!)
  await rejects(store.write(target, entries(1, 2)), unreachable)
  ok((await insist(() => store.inspect())).some(({ level, message }) => level === 'problem' && message.includes('replica')))
  await redis.replicaof('NO', 'ONE')
  deepStrictEqual(await insist(() => store.write(target, entries(1, 2))), ['written'])
})
