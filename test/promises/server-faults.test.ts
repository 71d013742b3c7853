/**
 * Promise: what goes wrong with Kafka or Redis under a running daemon is told, and over when its cause is: out of memory, away for
 * long, slow, emptied. What waiting cannot mend ends the daemon with the name of what is missing.
 * One project goes through all of it, in the order of the tests: most of the time would go into building versions anew.
 */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Redis } from 'ioredis'

import { hashUnit } from '../../compute/index.ts'
import { createTopics, InputFeed, listDeadLetters, openProject, readFeatures, startDaemon, versionDigest } from '../../pipeline/index.ts'
import type { Daemon, Logger, Project } from '../../pipeline/index.ts'
import { openLog } from '../../pipeline/compose.ts'
import type { Config, SourceEvent } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { faultProxy, ownBroker, ownRedis, skipWithoutBroker, skipWithoutRedisServer, until } from '../services/index.ts'
import type { Broker, FaultProxy, OwnRedis } from '../services/index.ts'
import { onServers } from './server-config.ts'
import { hourMs, smallConfig, startTs } from './small-world.ts'

const skip = (await skipWithoutBroker()) || (await skipWithoutRedisServer())
const options = { skip, timeout: 240_000 }
const soonMs = 60_000

let [toKafka, toRedis]: FaultProxy[] = []
let broker: Broker
let redis: OwnRedis
let admin: Redis
let bench: Bench
/** The daemon of the tests; the one that empties Redis starts another. */
let running: Running

before(async () => {
  if (skip !== false) return
  ;[toKafka, toRedis] = await Promise.all([faultProxy(), faultProxy()])
  ;[broker, redis] = await Promise.all([ownBroker({ proxy: toKafka! }), ownRedis({ config: ['maxmemory-policy noeviction'] })])
  toRedis!.leadTo(redis.host, redis.port)
  admin = new Redis(redis.port, redis.host)
  admin.on('error', () => {}) // while it is restarted
  bench = await openBench()
  running = await bench.start()
  await bench.feed([...contents(items), ...clicks(60, items)], true)
  await running.daemon.idle()
})
after(async () => {
  toKafka?.heal()
  toRedis?.heal()
  await bench?.close()
  admin?.disconnect()
  await Promise.all([broker?.close(), redis?.close(), toKafka?.close(), toRedis?.close()])
})

const ids = (count: number, word: string): string[] => Array.from({ length: count }, (_, i) => `${word}-${i}`)
const items = ids(60, 'item')
const vector = (id: string, dim: number): Float32Array => Float32Array.from({ length: dim }, (_, d) => hashUnit(5, `${id}/${d}`) * 2 - 1)
const contents = (of: readonly string[]): SourceEvent[] =>
  of.map((itemId) => ({
    topic: 'item-content',
    itemId,
    eventTs: startTs,
    record: { itemId, eventTs: startTs, vectors: { image: vector(itemId, 12), text: vector(itemId, 8) } },
  }))
const clicks = (count: number, of: readonly string[]): SourceEvent[] =>
  Array.from({ length: count }, (_, i) => {
    const record = { userId: `user-${i % 5}`, itemId: of[i % of.length]!, eventTs: startTs + i * 60_000, behaviors: ['click'] }
    return { topic: 'interactions', eventTs: record.eventTs, record }
  })

interface Running {
  readonly project: Project
  readonly daemon: Daemon
  /** Everything told at level info and above. */
  readonly told: string[]
  stop(): Promise<void>
}

interface Bench {
  /** `name` is that of the data directory. */
  configOf(name: string): Config
  start(name?: string): Promise<Running>
  /** The project past the proxies, without a daemon. */
  readonly direct: Project
  /** Appends straight to the broker. */
  feed(events: readonly SourceEvent[], end?: boolean): Promise<void>
  /** Stops what was started. */
  close(): Promise<void>
}

/** A project of its own, reached through the proxies. */
async function openBench(): Promise<Bench> {
  const { directory, remove } = await scratchDirectory()
  const servers = onServers({ kafka: { brokers: [toKafka!.address] }, redis: { host: '127.0.0.1', port: toRedis!.port }, partitions: 1 })
  const { log, store } = servers as { log: { kafka: object }; store: { redis: object } }
  const configOf = (name: string): Config =>
    smallConfig(
      { dataDir: join(directory, name), partitions: 1 },
      {
        project: servers.project,
        log: { ...log, kafka: { ...log.kafka, sessionTimeoutMs: 6000 } },
        store: { ...store, redis: { ...store.redis, commandTimeoutMs: 1000 } },
        refresh: { everyMs: 0, bootstrapMs: hourMs },
      },
    )
  await createTopics(configOf('setup'))
  const config = configOf('direct')
  const direct = await openProject({
    ...config,
    log: { ...config.log, kafka: { ...config.log.kafka, brokers: broker.brokers } },
    store: { ...config.store, redis: { ...config.store.redis, nodes: [`${redis.host}:${redis.port}`] } },
  })
  const started: Running[] = []
  return {
    configOf,
    direct,
    start: async (name = 'data') => {
      const told: string[] = []
      const tell = (_: object, message: string): void => void told.push(message)
      const logger: Logger = { debug: () => {}, info: tell, warn: tell, error: tell }
      const project = await openProject(configOf(name), { logger })
      let closed: Promise<void> | undefined
      try {
        const daemon = await startDaemon(project)
        const stop = (): Promise<void> => (closed ??= daemon.stop().then(() => project.close()))
        started.push({ project, daemon, told, stop })
        return started.at(-1)!
      } catch (error) {
        await project.close()
        throw error
      }
    },
    feed: async (events, end = false) => {
      const feed = await InputFeed.open(direct)
      await feed.append(events)
      if (end) await feed.end()
      await feed.close()
    },
    close: async () => {
      for (const { stop } of started) await stop()
      await direct.close()
      await remove()
    },
  }
}

/** Looks through connections of its own, as another process does: those of the daemon may remember what the server has lost. */
async function beside<T>(look: (other: Project) => Promise<T>): Promise<T> {
  const { config } = bench.direct
  const other = await openProject({ ...config, dataDir: `${config.dataDir}-beside` })
  try {
    return await look(other)
  } finally {
    await other.close()
  }
}

async function missing(project: Project, wanted: readonly string[]): Promise<string[]> {
  const { features } = await readFeatures(project, 'main', wanted)
  return wanted.filter((_, i) => features[i] === undefined)
}

test('Redis out of memory: told, waited out; when there is room everything is there', options, async (t) => {
  const { project, daemon, told } = running
  t.after(() => admin.config('SET', 'maxmemory', '0'))
  await admin.config('SET', 'maxmemory', '1')
  const later = ids(300, 'later')
  await bench.feed(contents(later))
  await until('the warning', async () => told.some((line) => /waiting: redis .* is out of memory/.test(line)), soonMs)
  deepStrictEqual(await missing(project, items), [], 'what is live can be read')
  await admin.config('SET', 'maxmemory', '0')
  await daemon.idle()
  deepStrictEqual(await missing(project, [...items, ...later]), [])
  ok(told.some((line) => /what waited goes on/.test(line)))
  deepStrictEqual(await listDeadLetters(project), [])
})

test('Redis away for longer than a command may take: what was asked meanwhile is done when it is back', options, async (t) => {
  const { project, daemon, told } = running
  strictEqual((await daemon.refresh('again')).version, 2)
  t.after(() => toRedis!.heal())
  const toldBefore = told.length
  toRedis!.refuse()
  const rolledBack = daemon.ask('back', { action: 'rollback' })
  const more = ids(50, 'more')
  await bench.feed(contents(more))
  await until('the warning', async () => told.slice(toldBefore).some((line) => line.startsWith('waiting: redis')), soonMs)
  strictEqual((await daemon.status()).live, 2, 'as it was last known')
  toRedis!.heal()
  strictEqual((await rolledBack).version, 1)
  await daemon.idle()
  deepStrictEqual(await missing(project, more), [])
})

test('a slow broker and a slow Redis: all is done in the end, nothing is refused', options, async () => {
  const { project, daemon } = running
  const before = daemon.ingest!.counts.interactions
  toKafka!.delay(200)
  toRedis!.delay(200)
  const more = ids(200, 'slow')
  await bench.feed([...contents(more), ...clicks(50, more)])
  const isDone = async (): Promise<boolean> =>
    daemon.ingest!.counts.interactions === before + 50 && (await missing(bench.direct, more)).length === 0
  await until('all is taken in', isDone, soonMs)
  toKafka!.heal()
  toRedis!.heal()
  await daemon.idle()
  deepStrictEqual(await listDeadLetters(project), [])
})

test('Redis emptied, under a running daemon and between two: the live version is written again, the same bytes', options, async () => {
  const { project, daemon, told, stop } = running
  strictEqual((await daemon.ask('forward', { action: 'activate', version: 2 })).version, 2)
  const digest = await versionDigest(project, 2)
  const history = async (from: Project): Promise<object[]> =>
    (await from.store.history(from.config.project, 0)).map(({ at: _at, ...move }) => move)
  const moves = await history(project)

  await admin.flushall()
  await until('restored', async () => told.some((line) => /the store is restored: version 2 is live/.test(line)), soonMs)
  ok(told.some((line) => /the store has lost data: version 2 is written again/.test(line)))
  strictEqual(await versionDigest(project, 2), digest)
  deepStrictEqual(await history(project), moves)
  await beside(async (other) => {
    strictEqual(await versionDigest(other, 2), digest)
    deepStrictEqual(await missing(other, items), [])
  })
  deepStrictEqual(await missing(bench.direct, items), [], 'for a process that read before')
  await rejects(daemon.versions.rollback('after the loss'), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
  await stop()

  await redis.server.kill()
  await redis.server.start()
  running = await bench.start()
  const second = running
  await second.daemon.idle()
  await beside(async (other) => strictEqual(await versionDigest(other, 2), digest))
  await bench.feed(contents(['new']))
  await second.daemon.idle()
  deepStrictEqual(await missing(second.project, ['new']), [])
  strictEqual((await second.daemon.refresh('next')).version, 3)
  deepStrictEqual((await history(second.project)).slice(0, moves.length), moves)
})

test('a topic that is deleted ends the daemon with its name; made anew, the start says which positions are gone', options, async () => {
  const { start, feed, configOf } = bench
  const { daemon, stop } = running
  const config = configOf('setup')
  const remove = async (topic: string): Promise<void> => {
    const log = await openLog(config)
    await (await log.admin()).deleteTopic(topic)
    await log.close()
  }
  const called = (topic: string): string => `${config.log.kafka.topicPrefix}${topic}`
  const names = (topic: string, text = ''): RegExp => new RegExp(`${called(topic).replaceAll('.', '\\.')}.*${text}`)
  /** How a daemon ends, at its start or soon after. */
  const ending = async (name: string): Promise<never> => {
    const short = await start(name)
    try {
      return await Promise.race([short.daemon.failed(), short.daemon.idle().then(() => Promise.reject(new Error('it is idle')))])
    } finally {
      await short.stop()
    }
  }

  await remove('interactions')
  await rejects(daemon.failed(), { code: 'SIDESTREAM_TOPIC_UNKNOWN', message: names('interactions', 'deleted while it was read') })
  await stop()
  await rejects(ending('data'), { code: 'SIDESTREAM_TOPIC_UNKNOWN', message: names('interactions', '--create-topics') })
  await createTopics(config)
  await rejects(ending('data'), { code: 'SIDESTREAM_STATE_GAP', message: names('interactions', 'start with a new data directory') })
  const anew = await start('anew') // as it says
  await feed(clicks(7, items))
  await anew.daemon.idle()
  strictEqual(anew.daemon.ingest!.counts.interactions, 7)
  await anew.stop()

  // What versions were made of cannot be had from elsewhere.
  await remove('item-content')
  await createTopics(config)
  await rejects(ending('anew'), { code: 'SIDESTREAM_STATE_GAP' })
  await rejects(ending('third'), { code: 'SIDESTREAM_STATE_GAP', message: /item-content\/0 up to \d+.*another project name/ })
  await remove('control')
  await createTopics(config)
  await rejects(ending('fourth'), (error: { code: string; message: string }) => {
    strictEqual(error.code, 'SIDESTREAM_STORE_CORRUPT')
    match(error.message, /version 3 .* topic control was emptied, or another project uses this name/)
    return true
  })
})
