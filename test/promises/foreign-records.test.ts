/**
 * Promise: what other producers put on the input topics is read as they wrote it, whatever its compression, key and headers; what
 * cannot be read is a dead letter that can be retried; a record that the brokers do not take costs an import that record only.
 */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import kafkajs from 'kafkajs'
import type { IHeaders, Message } from 'kafkajs'

import { hashUnit } from '../../compute/index.ts'
import {
  createTopics,
  importSources,
  InputFeed,
  listDeadLetters,
  openProject,
  readFeatures,
  retryDeadLetters,
  startDaemon,
} from '../../pipeline/index.ts'
import type { Daemon, Project } from '../../pipeline/index.ts'
import type { Config, SourceEvent } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { isMissing, kafkaService, redisService } from '../services/index.ts'
import { onServers } from './server-config.ts'
import { hourMs, smallConfig, sourceOf, startTs } from './small-world.ts'

const kafka = await kafkaService()
const redis = await redisService()
const missing = isMissing(kafka) ? kafka.missing : isMissing(redis) ? redis.missing : undefined
const options = { skip: missing ?? false, timeout: 120_000 }

const vector = (id: string, dim: number): Float32Array => Float32Array.from({ length: dim }, (_, d) => hashUnit(3, `${id}/${d}`) * 2 - 1)
const contentOf = (itemId: string, labels: string[] = []): Extract<SourceEvent, { topic: 'item-content' }> => ({
  topic: 'item-content',
  itemId,
  eventTs: startTs,
  record: { itemId, eventTs: startTs, vectors: { image: vector(itemId, 12), text: vector(itemId, 8) }, labels },
})

/** A project of its own on the servers; `topicConfigs` are settings of topics that somebody else has made. */
async function openShared(
  t: TestContext,
  topicConfigs: Readonly<Record<string, { partitions: number; settings: Readonly<Record<string, string>> }>>,
): Promise<{ config: Config; client: kafkajs.Kafka; topicOf: (name: string) => string; start: (changes?: object) => Promise<Running> }> {
  if (isMissing(kafka) || isMissing(redis)) throw new Error(missing)
  const { directory, remove } = await scratchDirectory()
  const servers = onServers({ kafka, redis, partitions: 2 })
  const configOf = (changes: object): Config =>
    smallConfig({ dataDir: directory, partitions: 2 }, { ...servers, refresh: { everyMs: 0, bootstrapMs: hourMs }, ...changes })
  const config = configOf({})
  const client = new kafkajs.Kafka({ brokers: [...kafka.brokers], clientId: 'another-team', logLevel: kafkajs.logLevel.NOTHING })
  const topicOf = (name: string): string => config.log.kafka.topicPrefix + name
  const admin = client.admin()
  await admin.connect()
  await admin.createTopics({
    waitForLeaders: true,
    topics: Object.entries(topicConfigs).map(([name, { partitions, settings }]) => ({
      topic: topicOf(name),
      numPartitions: partitions,
      configEntries: Object.entries(settings).map(([key, value]) => ({ name: key, value })),
    })),
  })
  await admin.disconnect()
  await createTopics(config)
  const running: Running[] = []
  t.after(async () => {
    for (const { stop } of running) await stop()
    await remove()
  })
  const start = async (changes: object = {}): Promise<Running> => {
    const project = await openProject(configOf(changes))
    const daemon = await startDaemon(project)
    let stopped: Promise<void> | undefined
    const stop = (): Promise<void> => (stopped ??= daemon.stop().then(() => project.close()))
    running.push({ project, daemon, stop })
    return running.at(-1)!
  }
  return { config, client, topicOf, start }
}

interface Running {
  readonly project: Project
  readonly daemon: Daemon
  stop(): Promise<void>
}

const oddHeaders: IHeaders[] = [
  {},
  { trace: ['a', 'b', 'a'], 'größe ü ✓': Buffer.from([0, 0xff, 0xfe]) },
  { empty: '', [`x-${'n'.repeat(200)}`]: Buffer.alloc(2000, 7), 'SS-END': '1', 'ss-': '1' },
]
const oddKeys: (Buffer | null)[] = [Buffer.from('item'), null, Buffer.alloc(0), Buffer.from([0xff, 0x00, 0xc3])]

test('records of other producers: compressed by Java brokers and gzip, any key, any headers, deletes, garbage', options, async (t) => {
  const { client, topicOf, start } = await openShared(t, {
    // A topic of another team need not be compacted: then it takes records without a key.
    'item-content': { partitions: 3, settings: { 'cleanup.policy': 'delete', 'compression.type': 'zstd' } },
    interactions: { partitions: 1, settings: { 'compression.type': 'lz4' } },
  })
  const { project, daemon, stop } = await start()
  const producer = client.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await producer.connect()
  t.after(() => producer.disconnect())
  const send = (name: string, messages: Message[], compression = kafkajs.CompressionTypes.None): Promise<unknown> =>
    producer.send({ topic: topicOf(name), messages, compression })

  const ids = Array.from({ length: 60 }, (_, i) => `item-${i}`)
  const contents = ids.map((id, i): Message => {
    const value = Buffer.from(project.codec.encode('item-content', contentOf(id).record!))
    return { key: oddKeys[i % oddKeys.length]!, value, headers: oddHeaders[i % oddHeaders.length]!, partition: i % 3 }
  })
  await send('item-content', contents.slice(0, 30))
  await send('item-content', contents.slice(30), kafkajs.CompressionTypes.GZIP)
  const clicks = Array.from({ length: 200 }, (_, i): Message => {
    const record = {
      userId: `user-${i % 7}`,
      itemId: ids[i % 60]!,
      eventTs: startTs + i * 1000,
      behaviors: i === 100 ? ['teleport'] : ['click'],
    }
    const key = i % 4 === 1 ? null : Buffer.from(record.userId)
    return { key, value: Buffer.from(project.codec.encode('interactions', record)), headers: oddHeaders[i % oddHeaders.length]! }
  })
  await send('interactions', clicks)
  await send('item-content', [
    { key: 'item-3', value: null, partition: 0 },
    { key: null, value: null, partition: 1 },
    { key: 'item-5', value: 'no Avro at all', partition: 2, headers: oddHeaders[2]! },
  ])
  await send('interactions', [{ key: 'user-1', value: null }, { value: Buffer.alloc(50, 0xc3) }])
  const feed = await InputFeed.open(project)
  await feed.end()
  await feed.close()
  await daemon.idle()

  const { features } = await readFeatures(project, 'main', ids)
  deepStrictEqual(
    ids.filter((_, i) => features[i] === undefined),
    ['item-3'],
  )
  strictEqual(daemon.ingest!.counts.interactions, 199)
  const letters = (await listDeadLetters(project)).map(({ topic, code, key, headers }) => ({ topic, code, key, headers: headers.length }))
  const key = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text))
  deepStrictEqual(
    letters.sort((a, b) => (`${a.topic} ${a.code}` < `${b.topic} ${b.code}` ? -1 : 1)),
    [
      { topic: 'interactions', code: 'SIDESTREAM_BEHAVIOR_UNKNOWN', key: key('user-2'), headers: 4 },
      { topic: 'interactions', code: 'SIDESTREAM_RECORD_UNDECODABLE', key: key('user-1'), headers: 0 },
      { topic: 'interactions', code: 'SIDESTREAM_RECORD_UNDECODABLE', key: null, headers: 0 },
      { topic: 'item-content', code: 'SIDESTREAM_ID_INVALID', key: null, headers: 0 },
      { topic: 'item-content', code: 'SIDESTREAM_RECORD_UNDECODABLE', key: key('item-5'), headers: 4 },
    ],
  )
  await stop()

  // The cause mended, the one record that can be read is; garbage comes back.
  const mended = await start({ interactions: { positiveBehaviors: ['click', 'like', 'teleport'], otherBehaviors: ['view'] } })
  const again = await listDeadLetters(mended.project)
  deepStrictEqual(await retryDeadLetters(mended.project, again), { retried: 5, left: [] })
  await mended.daemon.idle()
  strictEqual(mended.daemon.ingest!.counts.interactions, 1)
  const left = await listDeadLetters(mended.project)
  strictEqual(left.filter(({ retriedAt }) => retriedAt !== null).length, 5)
  strictEqual(left.filter(({ retriedAt }) => retriedAt === null).length, 4)
})

test('a record above what the brokers take: a dead letter, cut to what they take; the import goes on', options, async (t) => {
  const small = { 'max.message.bytes': '20000' } // far below log.recordBytes, of which nobody told us
  const { start } = await openShared(t, {
    'item-content': { partitions: 2, settings: { 'cleanup.policy': 'compact', ...small } },
    'dead-letters': { partitions: 1, settings: small },
  })
  const { project, daemon } = await start()
  const heavy = contentOf(
    'heavy',
    Array.from({ length: 250 }, (_, i) => String(i).padEnd(200, '.')),
  )
  const events = [
    ...Array.from({ length: 60 }, (_, i) => contentOf(`item-${i}`)),
    heavy,
    ...Array.from({ length: 60 }, (_, i) => contentOf(`more-${i}`)),
  ]
  const report = await importSources(project, [sourceOf('above the limit', events, 50)], { end: true })
  deepStrictEqual({ appended: report.appended, refused: report.refused }, { appended: 121, refused: 1 })
  await daemon.idle()
  const ids = events.map(({ itemId }) => itemId)
  const { features } = await readFeatures(project, 'main', ids)
  deepStrictEqual(
    ids.filter((_, i) => features[i] === undefined),
    ['heavy'],
  )
  const [letter, ...others] = await listDeadLetters(project)
  deepStrictEqual([others, letter!.code, Buffer.from(letter!.key!).toString()], [[], 'SIDESTREAM_RECORD_TOO_LARGE', 'heavy'])
  match(letter!.reason, /max\.message\.bytes.*value cut from \d+ to \d+ bytes/)
  ok(letter!.value!.length < 20_000)
  strictEqual((await retryDeadLetters(project, [letter!])).left.length, 1)
})
