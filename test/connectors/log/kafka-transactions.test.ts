/**
 * Records that other teams write in transactions: only what was committed is seen, and positions pass what was taken back. The
 * driver itself begins no transactions (docs/decisions/0009-kafka-driver.md).
 */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import type { LogBatch, LogDriver } from '../../../connectors/index.ts'
import { gate, numbered, start, text, until, values } from '../../contract/log-fixture.ts'
import { bareProducer, freshTopic, openTestLog, skipWithoutKafka } from './kafka-bench.ts'

const options = { skip: skipWithoutKafka, timeout: 60_000 }

interface Setting {
  readonly log: LogDriver
  readonly topic: string
  /** Sends values in a transaction of its own producer and ends it. */
  within(end: 'commit' | 'abort', ...sent: string[]): Promise<void>
}

async function setting(t: TestContext): Promise<Setting> {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  return {
    log,
    topic,
    within: async (end, ...sent) => {
      const producer = await bareProducer(`${topic}-${end}`)
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: sent.map((value) => ({ key: 'k', value, partition: 0 })) })
      await transaction[end]()
      await producer.disconnect()
    },
  }
}

interface Reader {
  readonly seen: string[]
  readonly batches: LogBatch[]
  lag(): Promise<bigint>
  stop(): Promise<void>
}

async function reader(log: LogDriver, topic: string, group = `${topic}-g`): Promise<Reader> {
  const [seen, batches]: [string[], LogBatch[]] = [[], []]
  const consumer = await start(
    log,
    { group, topics: [topic], batchRecords: 3 },
    {
      onBatch: async (batch) => {
        batches.push(batch)
        seen.push(...values(batch.records).map(String))
      },
    },
  )
  return {
    seen,
    batches,
    lag: async () => (await consumer.lag()).get(`${topic}/0`)!,
    stop: () => consumer.stop({ drainMs: 1000 }),
  }
}

async function readAll(log: LogDriver, topic: string, upTo?: bigint): Promise<{ seen: string[]; next: bigint }> {
  const seen: string[] = []
  const [next] = await log.read(
    topic,
    ({ records }) => void seen.push(...values(records).map(String)),
    upTo === undefined ? {} : { upTo: [upTo] },
  )
  return { seen, next: next! }
}

test('control records at the end leave no lag: the position passes them and is committed', options, async (t) => {
  const { log, topic, within } = await setting(t)
  await within('commit', 'a', 'b')
  const { seen, batches, lag, stop } = await reader(log, topic)
  await until('the records', () => seen.length === 2)
  await until('no lag', async () => (await lag()) === 0n)
  await within('commit', 'c')
  await until('no lag again', async () => (await lag()) === 0n && seen.length === 3)
  await stop()
  const admin = await log.admin()
  deepStrictEqual((await admin.describe(topic)).end, [5n]) // three records, two marks
  deepStrictEqual(await admin.committed(`${topic}-g`, topic), [5n])
  strictEqual(batches.at(-1)!.next, 5n)
})

test('a reader that waits for the end of a log ends, also when the last records were taken back', options, async (t) => {
  const { log, topic, within } = await setting(t)
  const producer = await log.producer()
  await producer.send(topic, 0, numbered(4))
  await within('abort', ...Array.from({ length: 40 }, (_, i) => `gone${i}`))
  await within('abort', 'gone too')
  const end = (await (await log.admin()).describe(topic)).end[0]!
  strictEqual(end, 47n)
  const { seen, batches, lag, stop } = await reader(log, topic)
  await until('the end', () => batches.at(-1)?.next === end) // told by an empty batch when need be
  strictEqual(await lag(), 0n)
  await stop()
  deepStrictEqual(seen, ['0', '1', '2', '3'])
  deepStrictEqual(await (await log.admin()).committed(`${topic}-g`, topic), [47n])
  deepStrictEqual(await readAll(log, topic), { seen, next: 47n })
  deepStrictEqual(await readAll(log, topic, 47n), { seen, next: 47n })
})

test('only taken back records: a restore ends with nothing, a consumer at the end', options, async (t) => {
  const { log, topic, within } = await setting(t)
  await within('abort', 'x', 'y')
  deepStrictEqual(await readAll(log, topic), { seen: [], next: 3n })
  const { seen, batches, stop } = await reader(log, topic)
  await until('the end', () => batches.at(-1)?.next === 3n)
  await stop()
  deepStrictEqual([seen, batches.map(({ first, next }) => [first, next])], [[], [[0n, 3n]]])
})

test('an open transaction holds readers back until it is decided; then they go on', options, async (t) => {
  const { log, topic } = await setting(t)
  const ours = await log.producer()
  await ours.send(topic, 0, numbered(2, 'before'))
  const [first, second] = [await bareProducer(`${topic}-1`), await bareProducer(`${topic}-2`)]
  t.after(() => Promise.all([first.disconnect(), second.disconnect()]))
  const [one, two] = [await first.transaction(), await second.transaction()]
  const message = (value: string) => ({ topic, messages: [{ key: 'k', value, partition: 0 }] })
  await one.send(message('one'))
  await two.send(message('two'))
  await ours.send(topic, 0, numbered(1, 'between'))
  await one.send(message('one again'))
  const { seen, lag, stop } = await reader(log, topic)
  await until('what is decided', () => seen.length === 2)
  strictEqual(await lag(), 0n) // what may be read has been read
  deepStrictEqual(await readAll(log, topic), { seen: ['before0', 'before1'], next: 2n })
  const waiting = readAll(log, topic, 6n)
  await two.abort()
  deepStrictEqual(await readAll(log, topic), { seen: ['before0', 'before1'], next: 2n })
  await one.commit()
  await until('the rest', () => seen.length === 5)
  await stop()
  const all = ['before0', 'before1', 'one', 'between0', 'one again']
  deepStrictEqual(seen, all)
  deepStrictEqual((await waiting).seen, all)
  deepStrictEqual(await readAll(log, topic), { seen: all, next: 8n })
})

test('transactions that overlap, read from any offset: never a record that was taken back', options, async (t) => {
  const { log, topic } = await setting(t)
  const producers = await Promise.all([0, 1, 2].map((i) => bareProducer(`${topic}-${i}`)))
  t.after(() => Promise.all(producers.map((producer) => producer.disconnect())))
  for (let round = 0; round < 4; round++) {
    const open = await Promise.all(producers.map((producer) => producer.transaction()))
    for (let step = 0; step < 3; step++) {
      for (const [i, transaction] of open.entries()) {
        const value = `${(round + i) % 2 === 0 ? 'kept' : 'gone'}-${round}-${i}-${step}`
        // The key is what kafkajs takes for an abort mark; a fetch that begins inside of two transactions confuses it too.
        await transaction.send({ topic, messages: [{ key: Buffer.alloc(4), value, partition: 0 }] })
      }
    }
    for (const [i, transaction] of open.entries()) await ((round + i) % 2 === 0 ? transaction.commit() : transaction.abort())
  }
  const end = (await (await log.admin()).describe(topic)).end[0]!
  const expected = new Map<bigint, string>()
  // A commit is acknowledged before all its marks are written: what is below the end is waited for.
  await log.read(topic, ({ records }) => records.forEach(({ offset, value }) => expected.set(offset, text(value)!)), { upTo: [end] })
  deepStrictEqual(
    [...expected.values()].map((value) => value.slice(0, 4)),
    Array.from({ length: 18 }, () => 'kept'),
  )
  const from = (first: bigint): string[] => [...expected].filter(([offset]) => offset >= first).map(([, value]) => value)
  const done = gate()
  let [begin, seen]: [bigint, string[]] = [0n, []]
  const consumer = await start(
    log,
    { group: `${topic}-g`, topics: [topic] },
    {
      onBatch: async (batch, lane) => {
        seen.push(...values(batch.records).map(String))
        if (batch.next < end) return
        deepStrictEqual(seen, from(begin), `from ${begin}`)
        if (++begin === end) done.open()
        else lane.seek(begin)
        seen = []
      },
      onFatal: done.fail,
    },
  )
  await done.opened
  await consumer.stop({ drainMs: 1000 })
  for (let first = 0n; first < end; first++) {
    const read: string[] = []
    await log.read(topic, ({ records }) => void read.push(...values(records).map(String)), { from: [first] })
    deepStrictEqual(read, from(first), `from ${first}`)
  }
})
