/** Servers that a test owns: they answer, keep port and data over a crash, and ask who you are when told to. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import type { KafkaConfig, SASLOptions } from 'kafkajs'

import { certificate, faultProxy, ownBroker, ownRedis, securedBroker, skipWithoutBroker, skipWithoutRedisServer } from './index.ts'

const noBroker = await skipWithoutBroker()
const noRedis = await skipWithoutRedisServer()

/** Topics that a broker names to this client; one try, no patience. */
async function topics(config: Omit<KafkaConfig, 'logLevel' | 'retry'>): Promise<string[]> {
  const kafka = new Kafka({ connectionTimeout: 3000, requestTimeout: 3000, ...config, logLevel: logLevel.NOTHING, retry: { retries: 0 } })
  const admin = kafka.admin()
  try {
    await admin.connect()
    return await admin.listTopics()
  } finally {
    await admin.disconnect()
  }
}

async function createTopic(brokers: string[], topic: string): Promise<void> {
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] })
  await admin.disconnect()
}

test('a broker keeps its port and topics over a crash and a stop', { skip: noBroker }, async (t) => {
  const broker = await ownBroker({ properties: { 'message.max.bytes': '2000000' } })
  t.after(() => broker.close())
  await createTopic(broker.brokers, 'kept')
  const first = broker.server.process!.pid
  await broker.server.kill()
  await rejects(topics({ brokers: broker.brokers }), /ECONNREFUSED/)
  await broker.server.start()
  deepStrictEqual(await topics({ brokers: broker.brokers }), ['kept'])
  ok(broker.server.process!.pid !== first)
  await broker.server.stop()
  strictEqual(broker.server.process, undefined)
})

test('clients of a broker behind a proxy come through the proxy alone', { skip: noBroker }, async (t) => {
  const proxy = await faultProxy()
  const broker = await ownBroker({ proxy })
  t.after(() => Promise.all([broker.close(), proxy.close()]))
  await createTopic([proxy.address], 'through')
  proxy.refuse()
  await rejects(topics({ brokers: [proxy.address] }))
  deepStrictEqual(await topics({ brokers: broker.brokers }), ['through'])
  proxy.heal()
  deepStrictEqual(await topics({ brokers: [proxy.address] }), ['through'])
})

test('a secured broker lets in who has the password, over TLS and without', { skip: noBroker }, async (t) => {
  const broker = await securedBroker()
  t.after(() => broker.close())
  const ssl = { ca: [broker.ca] }
  for (const mechanism of ['scram-sha-256', 'scram-sha-512', 'plain'] as const) {
    // A new object each time: kafkajs writes an authenticator with the password into it.
    const sasl = (given: { password?: string } = {}) => ({ mechanism, ...broker.users[mechanism], ...given }) as SASLOptions
    await topics({ brokers: [broker.saslSsl], ssl, sasl: sasl() })
    await topics({ brokers: [broker.saslPlaintext], sasl: sasl() })
    const wrong = topics({ brokers: [broker.saslSsl], ssl, sasl: sasl({ password: 'wrong' }) })
    await rejects(wrong, { name: 'KafkaJSSASLAuthenticationError' })
  }
  const stranger = await certificate(broker.server.directory)
  const sasl = { mechanism: 'plain', ...broker.users.plain } as SASLOptions
  await rejects(topics({ brokers: [broker.saslSsl], ssl: { ca: [stranger.ca] }, sasl }), /certificate|signature/)
})

/** A client that fails at once instead of trying again. */
function redisClient(options: RedisOptions): Redis {
  const redis = new Redis({ ...options, lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 })
  redis.on('error', () => {})
  return redis
}

test('a persistent Redis keeps its port and data over a crash', { skip: noRedis }, async (t) => {
  const server = await ownRedis({ persistent: true })
  t.after(() => server.close())
  const before = redisClient({ host: server.host, port: server.port })
  await before.set('a', '1')
  before.disconnect()
  await server.server.kill()
  await rejects(redisClient({ host: server.host, port: server.port }).get('a'))
  await server.server.start()
  const after = redisClient({ host: server.host, port: server.port })
  strictEqual(await after.get('a'), '1')
  after.disconnect()
})

test('a frozen server takes connections and answers nothing until it is thawed', { skip: noRedis }, async (t) => {
  const server = await ownRedis()
  t.after(() => server.close())
  const client = redisClient({ host: server.host, port: server.port, commandTimeout: 300 })
  t.after(() => client.disconnect())
  strictEqual(await client.ping(), 'PONG')
  server.server.freeze()
  await rejects(client.ping(), /timed out/)
  server.server.thaw()
  strictEqual(await client.ping(), 'PONG')
})

test('lines of redis.conf count: a password, a user with few rights, a memory limit', { skip: noRedis }, async (t) => {
  const server = await ownRedis({ config: ['requirepass pw', 'user reader on >reader-pw ~* +get', 'maxmemory 2mb'] })
  t.after(() => server.close())
  const { host, port } = server
  await rejects(redisClient({ host, port }).get('a'), /NOAUTH/)
  const owner = redisClient({ host, port, password: 'pw' })
  deepStrictEqual(await owner.config('GET', 'maxmemory'), ['maxmemory', '2097152'])
  await rejects(
    owner.set('big', 'x'.repeat(3 << 20)).then(() => owner.set('more', '1')),
    /OOM/,
  )
  owner.disconnect()
  const reader = redisClient({ host, port, username: 'reader', password: 'reader-pw', enableReadyCheck: false })
  strictEqual(await reader.get('a'), null)
  await rejects(reader.set('a', '1'), /NOPERM/)
  reader.disconnect()
})

test('a Redis with TLS is trusted by its authority alone', { skip: noRedis }, async (t) => {
  const server = await ownRedis({ tls: true })
  t.after(() => server.close())
  const { host, port } = server
  const trusting = redisClient({ host, port, tls: { ca: server.ca! } })
  strictEqual(await trusting.ping(), 'PONG')
  trusting.disconnect()
  const stranger = await certificate(server.server.directory)
  const wary = redisClient({ host, port, tls: { ca: stranger.ca } })
  let reason = ''
  wary.on('error', (error: Error) => (reason = error.message))
  await rejects(wary.ping())
  match(reason, /certificate|signature/)
})

test('a server that cannot start says what it printed', { skip: noRedis }, async () => {
  await rejects(ownRedis({ config: ['no-such-setting yes'] }), /no-such-setting/)
})
