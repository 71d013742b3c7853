/** Topics on Kafka: how they are made, under which names, what brokers refuse, and what happens when they change under a reader. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { after, test } from 'node:test'

import kafkajs from 'kafkajs'

import { KafkaNames } from '../../../connectors/log/kafka-names.ts'
import type { Lane } from '../../../connectors/index.ts'
import type { SidestreamError } from '../../../schemas/index.ts'
import { collect, gate, numbered, record, start, text, until, values } from '../../contract/log-fixture.ts'
import { bareKafka, bareProducer, freshName, freshTopic, openTestLog, skipWithoutKafka } from './kafka-bench.ts'

const options = { skip: skipWithoutKafka, timeout: 60_000 }
const bare = bareKafka().admin()
if (skipWithoutKafka === false) await bare.connect()
after(() => bare.disconnect())

async function configOf(topic: string): Promise<Record<string, string>> {
  const configNames = ['cleanup.policy', 'retention.ms', 'retention.bytes', 'max.message.bytes']
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames }]
  const { resources: found } = await bare.describeConfigs({ resources, includeSynonyms: false })
  return Object.fromEntries(found[0]!.configEntries.map(({ configName, configValue }) => [configName, configValue]))
}

async function bareTopic(topic: string, numPartitions: number, config: Record<string, string | number> = {}): Promise<void> {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value: String(value) }))
  await bare.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: true })
}

test('topics get their cleanup policy, their retention, and room for the largest record', options, async (t) => {
  const log = await openTestLog({ recordLimitBytes: 3_000_000, retentionMs: 86_400_000 })
  t.after(() => log.close())
  const admin = await log.admin()
  const name = freshName('kinds')
  const kinds = ['compact', 'delete', 'forever'] as const
  await admin.createTopics(kinds.map((cleanup) => ({ name: `${name}.${cleanup}`, partitions: 2, cleanup })))
  const [compact, kept, forever] = await Promise.all(kinds.map((kind) => configOf(`${name}.${kind}`)))
  const bytes = { 'max.message.bytes': '3065536' }
  deepStrictEqual({ ...compact }, { ...compact, ...bytes, 'cleanup.policy': 'compact' })
  deepStrictEqual({ ...kept }, { ...kept, ...bytes, 'cleanup.policy': 'delete', 'retention.ms': '86400000' })
  deepStrictEqual({ ...forever }, { ...forever, ...bytes, 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '-1' })
  const producer = await log.producer()
  await producer.send(`${name}.delete`, 0, [{ key: null, value: new Uint8Array(2_999_000).fill(7) }])
  const { records } = await collect(log, { group: name, topics: [`${name}.delete`] }, 1)
  deepStrictEqual([records[0]!.value!.length, records[0]!.value![2_998_999]], [2_999_000, 7])
})

test('a plan tells a cleanup policy that is neither ours nor another of ours', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const name = freshName('both')
  await bareTopic(name, 1, { 'cleanup.policy': 'compact,delete' })
  const plans = await (await log.admin()).planTopics([{ name, partitions: 1, cleanup: 'compact' }])
  deepStrictEqual(
    plans.map(({ takesBytes: _takesBytes, ...plan }) => plan),
    [{ name, action: 'keep', wantedPartitions: 1, wantedCleanup: 'compact', partitions: 1, cleanup: 'other' }],
  )
})

test('more copies than brokers: said clearly, nothing created', options, async (t) => {
  const log = await openTestLog({ replicationFactor: 3 })
  t.after(() => log.close())
  const name = freshName('copies')
  const admin = await log.admin()
  await rejects(admin.createTopics([{ name, partitions: 1 }]), (error: SidestreamError) => {
    strictEqual(error.code, 'SIDESTREAM_CONFIG_INVALID')
    match(error.message, /fewer brokers than copies/)
    ok(error.cause instanceof Error)
    return true
  })
  deepStrictEqual((await admin.planTopics([{ name, partitions: 1 }]))[0]!.action, 'create')
})

test('names are translated both ways: sends, reads, batches, patterns, lists, lag, commits', options, async (t) => {
  const prefix = `${freshName('shop')}.`
  const clicks = freshName('team-a.clicks')
  const log = await openTestLog({ topicPrefix: prefix, topicNames: { interactions: clicks } })
  t.after(() => log.close())
  const admin = await log.admin()
  await bareTopic(clicks, 1)
  await bareTopic(`${prefix}interactions`, 1) // hidden by the entry for that name
  await admin.createTopics([{ name: 'item-content', partitions: 1 }])
  deepStrictEqual(await admin.list(), ['interactions', 'item-content'])
  const producer = await log.producer()
  await producer.send('interactions', undefined, [record('ann', 'click')])
  await producer.send('item-content', 0, [record('item', 'vector')])
  const physical = await bare.fetchTopicOffsets(clicks)
  deepStrictEqual(physical[0]!.high, '1')
  const [named, found] = [
    await collect(log, { group: 'g', topics: ['interactions'] }, 1),
    await collect(log, { group: 'h', topics: [/./] }, 2),
  ]
  deepStrictEqual([named.batches[0]!.topic, named.lanes[0]!.topic], ['interactions', 'interactions'])
  deepStrictEqual(found.lanes.map(({ topic }) => topic).sort(), ['interactions', 'item-content'])
  const consumer = await start(log, { group: 'g', topics: [/^inter/] }, { onBatch: async () => {} })
  deepStrictEqual(await consumer.lag(), new Map([['interactions/0', 0n]]))
  await consumer.stop({ drainMs: 1000 })
  deepStrictEqual(await admin.committed('g', 'interactions'), [1n])
  ok((await bare.listGroups()).groups.some(({ groupId }) => groupId === `${prefix}g`))
  const seen: string[] = []
  await log.read('interactions', (batch) => void seen.push(batch.topic))
  deepStrictEqual(seen, ['interactions'])
  await rejects(admin.describe('missing'), { code: 'SIDESTREAM_TOPIC_UNKNOWN', message: new RegExp(`${prefix}missing`) })
})

test('names: there and back is the same, what has no name of ours is not there, one topic has one name', () => {
  const names = new KafkaNames({ topicPrefix: 'shop.', topicNames: { interactions: 'clicks', toString: 'odd' }, groupPrefix: 'g.' })
  for (const name of ['interactions', 'item-content', 'toString', 'constructor']) strictEqual(names.logical(names.topic(name)), name)
  deepStrictEqual([names.topic('interactions'), names.topic('control'), names.group('x')], ['clicks', 'shop.control', 'g.x'])
  for (const other of ['shop.interactions', 'shop.', 'other', '__consumer_offsets']) strictEqual(names.logical(other), undefined)
  strictEqual(new KafkaNames({ topicPrefix: '', topicNames: {}, groupPrefix: '' }).logical('__consumer_offsets'), undefined)
  const options = { topicPrefix: '', topicNames: { a: 'x', b: 'x' }, groupPrefix: '' }
  try {
    names.logical(new KafkaNames(options).topic('a'))
    ok(false, 'two names for one topic')
  } catch (error) {
    strictEqual((error as SidestreamError).code, 'SIDESTREAM_CONFIG_INVALID')
  }
})

test('a topic that takes less than most: batches shrink to fit, a record that never fits is poison', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = freshName('narrow')
  await bareTopic(topic, 1, { 'max.message.bytes': 200_000 })
  const producer = await log.producer()
  const sized = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, i) => ({ key: Buffer.from(`${i}`), value: new Uint8Array(bytes) }))
  const [first, second, third, fourth] = [
    producer.send(topic, 0, sized(20, 30_000)),
    producer.send(topic, 0, sized(2, 60_000)),
    producer.send(topic, 0, sized(1, 300_000)),
    producer.send(topic, 0, [record('after', 'all')]),
  ]
  await rejects(third, { code: 'SIDESTREAM_RECORD_TOO_LARGE', class: 'poison' })
  deepStrictEqual([(await first).get(0), (await second).get(0), (await fourth).get(0)], [0n, 20n, 22n])
  const { records } = await collect(log, { group: topic, topics: [topic] }, 23)
  deepStrictEqual(
    records.map(({ value }) => value!.length),
    [...Array.from({ length: 20 }, () => 30_000), 60_000, 60_000, 3],
  )
})

test('records that a broker refuses are poison to their own call alone', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = freshName('keyed')
  await bareTopic(topic, 1, { 'cleanup.policy': 'compact' })
  const producer = await log.producer()
  await producer.send(topic, 0, [record('a', '0')])
  const sends = [
    producer.send(topic, 0, [record('a', '1')]),
    producer.send(topic, 0, [record('b', '2'), record(null, 'no key')]),
    producer.send(topic, 0, [record('c', '3')]),
    producer.send(topic, 0, [{ ...record('d', 'in ten years'), timestamp: Date.now() + 3e11 }]),
    producer.send(topic, 0, [record('e', '4')]),
  ]
  const outcomes = (await Promise.allSettled(sends)).map((one) =>
    one.status === 'fulfilled' ? one.value.get(0) : (one.reason as SidestreamError).code,
  )
  deepStrictEqual(outcomes, [1n, 'SIDESTREAM_RECORD_INVALID', 2n, 'SIDESTREAM_RECORD_INVALID', 3n])
  const { records } = await collect(log, { group: topic, topics: [topic] }, 4)
  deepStrictEqual(values(records), ['0', '1', '3', '4'])
})

test('header names that trouble objects, and headers without a value, are kept in their order', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  const names = ['2', 'toString', '1', '__proto__', '', '2', 'constructor', 'größe', '1']
  const headers = names.map((name, i) => [name, Buffer.from(`${i}`)] as const)
  const producer = await log.producer()
  await producer.send(topic, 0, [
    { ...record('k', 'v'), headers },
    { ...record(null, null), headers },
    { ...record('k', 'one'), headers: headers.slice(1, 2) },
  ])
  const { records } = await collect(log, { group: topic, topics: [topic] }, 3)
  const plain = (i: number) => records[i]!.headers.map(([name, value]) => `${name}=${text(value)}`)
  const sent = names.map((name, i) => `${name}=${i}`)
  deepStrictEqual([plain(0), plain(1), plain(2)], [sent, sent, ['toString=1']])
})

test('partitions that are added are read and sent to', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  await producer.send(topic, 0, [record('k', 'old')])
  const seen = new Map<number, (string | null)[]>()
  const consumer = await start(
    log,
    { group: topic, topics: [topic] },
    { onBatch: async ({ partition, records }) => void seen.set(partition, [...(seen.get(partition) ?? []), ...values(records)]) },
  )
  await until('the old record', () => seen.size === 1)
  await bare.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await until('a send to each partition', async () => {
    const touched = await producer.send(
      topic,
      undefined,
      Array.from({ length: 3 }, (_, i) => record(null, `new${i}`)),
    )
    return touched.size === 3
  })
  await until('all partitions', () => seen.size === 3)
  deepStrictEqual(
    [...(await consumer.lag()).keys()].sort(),
    [0, 1, 2].map((p) => `${topic}/${p}`),
  )
  await consumer.stop({ drainMs: 1000 })
})

test('retention that overtakes a waiting reader: the gap is told once, where it is, and reading goes on behind it', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  const large = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ key: Buffer.from(`${from + i}`), value: new Uint8Array(100_000) }))
  await producer.send(topic, 0, large(0, 40))
  const offsets: bigint[] = []
  const told: (bigint | string)[] = []
  const [entered, release] = [gate(), gate()]
  const consumer = await start(
    log,
    { group: topic, topics: [topic], batchRecords: 1, laneBytes: 300_000 },
    {
      onBatch: async ({ records }) => {
        entered.open()
        await release.opened
        offsets.push(...records.map(({ offset }) => offset))
        told.push(...records.map(({ offset }) => offset))
      },
      onGap: (_lane, expected, first) => void told.push(`${expected}-${first}`),
    },
  )
  await entered.opened
  await bare.fetchTopicOffsets(topic)
  await bare.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '30' }] })
  release.open()
  await until('the last record', () => offsets.at(-1) === 39n)
  await consumer.stop({ drainMs: 1000 })
  const gaps = told.filter((one) => typeof one === 'string')
  strictEqual(gaps.length, 1)
  const [expected, first] = gaps[0]!.split('-').map(BigInt) as [bigint, bigint]
  strictEqual(first, 30n)
  const before = told.slice(0, told.indexOf(gaps[0]!))
  deepStrictEqual(before.at(-1), expected - 1n) // what had been fetched was still handled
  deepStrictEqual(
    told.slice(before.length + 1),
    Array.from({ length: 10 }, (_, i) => BigInt(30 + i)),
  )
  deepStrictEqual(await (await log.admin()).committed(topic, topic), [40n])
})

test('a topic made anew under its reader is told, never read as if nothing had happened', options, async (t) => {
  const log = await openTestLog({ metadataMaxAgeMs: 60_000 })
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  await producer.send(topic, 0, numbered(20))
  const fatal = gate<Error>()
  const seen: string[] = []
  let lane: Lane | undefined
  await start(
    log,
    { group: topic, topics: [topic] },
    {
      onAssigned: async (given) => void (lane = given) as undefined,
      onBatch: async ({ records }) => void seen.push(...values(records).map(String)),
      onFatal: fatal.open,
    },
  )
  await until('the records', () => seen.length === 20)
  await bare.deleteTopics({ topics: [topic] })
  await until(
    'the topic anew',
    async () =>
      await bareTopic(topic, 1).then(
        () => true,
        () => false,
      ),
  )
  const other = await bareProducer()
  await other.send({ topic, messages: [{ key: 'k', value: 'other', partition: 0 }] })
  await other.disconnect()
  const { code } = (await fatal.opened) as SidestreamError
  ok(code === 'SIDESTREAM_STATE_GAP' || code === 'SIDESTREAM_TOPIC_UNKNOWN', code)
  ok(lane!.signal.aborted)
  deepStrictEqual(seen.length, 20)
})

test('a topic that is deleted does not hold up what a producer sends to others', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const [gone, kept] = [await freshTopic(log, 1, 'gone'), await freshTopic(log, 1, 'kept')]
  const producer = await log.producer()
  await producer.send(gone, 0, [record('k', 'v')])
  await producer.send(kept, 0, [record('k', '0')])
  await bare.deleteTopics({ topics: [gone] })
  let sent = 1
  const failures: SidestreamError[] = []
  await until(
    'sends after the topics were looked up anew',
    async () => {
      await producer.send(kept, 0, [record('k', `${sent}`)]).then(
        () => sent++,
        (error: SidestreamError) => failures.push(error),
      )
      return failures.length > 0 ? sent > 3 : sent > 60
    },
    30_000,
  )
  ok(failures.every((error) => error.code === 'SIDESTREAM_LOG_UNAVAILABLE'))
  await rejects(producer.send(gone, 0, [record('k', 'v')]), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
  const seen = new Set<string | null>()
  await log.read(kept, ({ records }) => values(records).forEach((value) => seen.add(value)))
  for (let i = 0; i < sent; i++) ok(seen.has(`${i}`))
})
