/**
 * Transactions of the driver itself, on a real broker: what a reader of committed records sees is whole, and moves together with the
 * position it was made from. Faults on the way are in kafka-transaction-faults.
 */
import { deepStrictEqual, match, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { transactionalIdOf } from '../../../connectors/index.ts'
import type { KafkaLogOptions, Lane, LogBatch, LogDriver, LogProducer, LogTransaction } from '../../../connectors/index.ts'
import { SidestreamError } from '../../../schemas/index.ts'
import { gate, numbered, record, start, text, until, values } from '../../contract/log-fixture.ts'
import { bareKafka, freshTopic, openTestLog, skipWithoutKafka } from './kafka-bench.ts'
import { copy, copyGroup } from './kafka-copy.ts'

const options = { skip: skipWithoutKafka, timeout: 60_000 }

async function open(t: TestContext, changes: Partial<KafkaLogOptions> = {}): Promise<LogDriver> {
  const log = await openTestLog(changes)
  t.after(() => log.close())
  return log
}

function begin(producer: LogProducer): Promise<LogTransaction> {
  return producer.begin!()
}

/** All committed values of a topic, as `partition:value`. */
async function contents(log: LogDriver, topic: string): Promise<string[]> {
  const found: string[] = []
  await log.read(topic, ({ partition, records }) => void found.push(...records.map(({ value }) => `${partition}:${text(value)}`)))
  return found.sort()
}

test('a transaction over topics and partitions is seen whole after its commit, and never after an abort', options, async (t) => {
  const log = await open(t)
  strictEqual(log.caps.transactions, true)
  const [orders, items] = [await freshTopic(log, 3, 'orders'), await freshTopic(log, 1, 'items')]
  const producer = await log.producer({ transactionalId: orders })
  const plain = await log.producer()
  const taken = await begin(producer)
  const bases = await Promise.all([0, 1, 2].map((p) => taken.send(orders, p, numbered(2, `gone${p}.`))))
  deepStrictEqual(
    bases.map((base, p) => base.get(p)),
    [0n, 0n, 0n],
  )
  await taken.send(items, undefined, numbered(3, 'gone'))
  await plain.send(orders, 1, numbered(1, 'plain'))
  deepStrictEqual(await contents(log, orders), [])
  await taken.abort()
  await until('what stands behind the aborted records', async () => (await contents(log, orders)).length === 1)
  deepStrictEqual([await contents(log, orders), await contents(log, items)], [['1:plain0'], []])

  const kept = await begin(producer)
  for (const p of [0, 1, 2]) await kept.send(orders, p, numbered(2, `kept${p}.`))
  await kept.send(items, undefined, numbered(3, 'kept'))
  deepStrictEqual([await contents(log, orders), await contents(log, items)], [['1:plain0'], []])
  await kept.commit()
  await until('all partitions', async () => (await contents(log, orders)).length === 7 && (await contents(log, items)).length === 3)
  deepStrictEqual(await contents(log, orders), ['0:kept0.0', '0:kept0.1', '1:kept1.0', '1:kept1.1', '1:plain0', '2:kept2.0', '2:kept2.1'])
  deepStrictEqual(await contents(log, items), ['0:kept0', '0:kept1', '0:kept2'])
})

/** Reads a topic in a group of its own, with the producer of its one partition. */
async function reading(
  log: LogDriver,
  topic: string,
  onBatch: (batch: LogBatch, lane: Lane, producer: LogProducer) => Promise<void>,
): Promise<{ group: string; committed(): Promise<bigint | undefined>; stop(): Promise<void> }> {
  const group = `${topic}-g`
  const admin = await log.admin()
  const committed = async (): Promise<bigint | undefined> => (await admin.committed(group, topic))[0]
  let producer: LogProducer
  const consumer = await start(
    log,
    { group, topics: [topic], commits: 'handler' },
    {
      onAssigned: async (lane) => {
        producer = await log.producer({ transactionalId: transactionalIdOf(group, lane) })
        return committed()
      },
      onBatch: (batch, lane) => onBatch(batch, lane, producer),
    },
  )
  return { group, committed, stop: () => consumer.stop({ drainMs: 1000 }) }
}

test('a batch whose transaction was aborted comes again; a commit moves the position with the records', options, async (t) => {
  const log = await open(t)
  const [from, to] = [await freshTopic(log, 1, 'in'), await freshTopic(log, 2, 'out')]
  await (await log.producer()).send(from, 0, numbered(3))
  const [tries, positions]: [(string | null)[][], (bigint | undefined)[]] = [[], []]
  const done = gate()
  const { committed, stop } = await reading(log, from, async (batch, lane, producer) => {
    tries.push(values(batch.records))
    const transaction = await begin(producer)
    await transaction.send(to, tries.length % 2, [record('k', `try${tries.length}`)])
    transaction.consumed(lane, batch.next)
    if (tries.length === 3) {
      positions.push(await committed())
      await transaction.commit()
      return done.open()
    }
    await transaction.abort()
    positions.push(await committed())
    if (tries.length === 1) return lane.seek(batch.first)
    throw new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', 'try again')
  })
  await done.opened
  deepStrictEqual(tries, [
    ['0', '1', '2'],
    ['0', '1', '2'],
    ['0', '1', '2'],
  ])
  deepStrictEqual(positions, [undefined, undefined, undefined])
  await until('the position', async () => (await committed()) === 3n)
  await until('the record', async () => (await contents(log, to)).length > 0)
  deepStrictEqual(await contents(log, to), ['1:try3'])
  await stop()
  deepStrictEqual(await committed(), 3n)
})

test('members come and go while they copy in transactions: every record is there once, in order', options, async (t) => {
  const [log, other] = [await open(t), await open(t)]
  const [from, to] = [await freshTopic(log, 3, 'in'), await freshTopic(log, 3, 'out')]
  const input = await log.producer()
  const admin = await log.admin()
  const positions = async (): Promise<(bigint | undefined)[]> => admin.committed(copyGroup(from), from)
  let sent = 0
  const feeding = new AbortController()
  const feeder = (async () => {
    while (!feeding.signal.aborted) {
      await Promise.all([0, 1, 2].map((p) => input.send(from, p, numbered(2, `${sent++}.`))))
      await until('the copy to keep up', async () => (await positions()).every((next) => sent * 2 < 3 * (Number(next ?? 0n) + 20)))
    }
  })()
  const first = await copy(log, from, to)
  for (const drainMs of [1000, 0]) {
    const second = await copy(other, from, to)
    await until('both to copy', () => second.batches() > 3)
    await second.consumer.stop({ drainMs })
    const before = first.batches()
    await until('the first to copy alone', () => first.batches() > before + 3)
  }
  feeding.abort()
  await feeder
  const { end } = await admin.describe(from)
  await until('the end', async () => (await positions()).every((next, p) => next === end[p]))
  const all = Number(end.reduce((sum, next) => sum + next))
  await until('the last records', async () => (await contents(log, to)).length >= all)
  for (const p of [0, 1, 2]) deepStrictEqual(await inOrder(log, to, p), await inOrder(log, from, p), `partition ${p}`)
  await first.consumer.stop({ drainMs: 1000 })
})

/** Committed values of one partition. */
async function inOrder(log: LogDriver, topic: string, partition: number): Promise<(string | null)[]> {
  const found: (string | null)[] = []
  await log.read(topic, (batch) => void (batch.partition === partition && found.push(...values(batch.records))))
  return found
}

test('a second producer of an id fences the first in the middle of its transaction, and what it sent is taken back', options, async (t) => {
  const [log, other] = [await open(t), await open(t)]
  const topic = await freshTopic(log, 2)
  const zombie = await log.producer({ transactionalId: topic })
  const late = await begin(zombie)
  await late.send(topic, 0, numbered(1, 'zombie'))
  const owner = await other.producer({ transactionalId: topic })
  deepStrictEqual(await contents(log, topic), [])
  const fenced = { code: 'SIDESTREAM_EPOCH_FENCED', class: 'fenced', message: /another producer has the transactional id/ }
  await rejects(late.send(topic, 0, numbered(1, 'zombie again')), fenced)
  await rejects(late.send(topic, 1, numbered(1, 'zombie elsewhere')), fenced)
  await rejects(late.commit(), fenced)
  await late.abort()
  await rejects(begin(zombie), fenced) // for good: it would fence the owner
  const transaction = await begin(owner)
  await transaction.send(topic, 0, numbered(1, 'owner'))
  await transaction.commit()
  await until('the record of the owner', async () => (await contents(log, topic)).length === 1)
  deepStrictEqual(await contents(log, topic), ['0:owner0'])
  await zombie.close()
})

test('a producer that is fenced before its commit commits nothing, positions neither', options, async (t) => {
  const [log, other] = [await open(t), await open(t)]
  const [from, to] = [await freshTopic(log, 1), await freshTopic(log, 1)]
  await (await log.producer()).send(from, 0, numbered(3))
  const refused = gate<SidestreamError>()
  const { group, committed, stop } = await reading(log, from, async (batch, lane, producer) => {
    const transaction = await begin(producer)
    await transaction.send(to, 0, batch.records)
    transaction.consumed(lane, batch.next)
    await other.producer({ transactionalId: transactionalIdOf(group, lane) })
    await transaction.commit().catch(refused.open)
    await transaction.abort()
  })
  strictEqual((await refused.opened).code, 'SIDESTREAM_EPOCH_FENCED')
  await stop()
  deepStrictEqual([await committed(), await contents(log, to)], [undefined, []])
})

test('a lane that was given up is not committed; its producer goes on', options, async (t) => {
  const log = await open(t)
  const [from, to] = [await freshTopic(log, 1), await freshTopic(log, 1)]
  await (await log.producer()).send(from, 0, numbered(3))
  const held = gate<{ transaction: LogTransaction; producer: LogProducer }>()
  const { committed, stop } = await reading(log, from, async (batch, lane, producer) => {
    const transaction = await begin(producer)
    await transaction.send(to, 0, batch.records)
    transaction.consumed(lane, batch.next)
    held.open({ transaction, producer })
  })
  const { transaction, producer } = await held.opened
  await stop()
  await rejects(transaction.commit(), { code: 'SIDESTREAM_EPOCH_FENCED', message: /is not this member's any more/ })
  await transaction.abort()
  const next = await begin(producer)
  await next.send(to, 0, numbered(1, 'next'))
  await next.commit()
  await until('the next transaction', async () => (await contents(log, to)).length > 0)
  deepStrictEqual([await committed(), await contents(log, to)], [undefined, ['0:next0']])
})

test('an open transaction holds readers back for its time-out and no longer; its owner comes too late', options, async (t) => {
  const log = await open(t, { transactionTimeoutMs: 1500 })
  const topic = await freshTopic(log, 1)
  const producer = await log.producer({ transactionalId: topic })
  const forgotten = await begin(producer)
  await forgotten.send(topic, 0, numbered(2, 'forgotten'))
  await (await log.producer()).send(topic, 0, numbered(1, 'behind'))
  const seen: (string | null)[] = []
  const consumer = await start(
    log,
    { group: `${topic}-g`, topics: [topic] },
    { onBatch: async (batch) => void seen.push(...values(batch.records)) },
  )
  strictEqual((await consumer.lag()).get(`${topic}/0`), 0n) // what may be read has been read
  deepStrictEqual([seen, await contents(log, topic)], [[], []])
  await until('the time-out', () => seen.length > 0)
  deepStrictEqual([seen, await contents(log, topic)], [['behind0'], ['0:behind0']])
  await rejects(forgotten.commit(), {
    code: 'SIDESTREAM_EPOCH_FENCED',
    message: /was open for \d+ ms, longer than transactionTimeoutMs \(1500\)/,
  })
  await forgotten.abort()
  const again = await begin(await log.producer({ transactionalId: topic }))
  await again.send(topic, 0, numbered(1, 'again'))
  await again.commit()
  await until('a transaction of the same id', () => seen.length > 1)
  deepStrictEqual(seen, ['behind0', 'again0'])
  await consumer.stop({ drainMs: 1000 })
})

test('transactions one right after the other, also of positions alone', options, async (t) => {
  const log = await open(t)
  const [from, to] = [await freshTopic(log, 2), await freshTopic(log, 1)]
  await Promise.all([0, 1].map(async (p) => (await log.producer()).send(from, p, numbered(60))))
  const group = `${from}-g`
  const lanes: Lane[] = []
  const consumer = await start(
    log,
    { group, topics: [from], commits: 'handler' },
    { onAssigned: async (lane) => void lanes.push(lane), onBatch: async () => {} },
  )
  const producer = await log.producer({ transactionalId: group })
  for (let i = 1n; i <= 40n; i++) {
    const transaction = await begin(producer)
    if (i % 2n === 0n) await transaction.send(to, 0, [record('k', `${i}`)])
    for (const lane of lanes) transaction.consumed(lane, i - 1n) // the last one counts
    for (const lane of lanes) transaction.consumed(lane, i)
    await transaction.commit()
  }
  const admin = await log.admin()
  await until('the last positions', async () => (await admin.committed(group, from)).every((next) => next === 40n))
  await until('the last record', async () => (await contents(log, to)).length === 20)
  await consumer.stop({ drainMs: 1000 })
  deepStrictEqual(await admin.committed(group, from), [40n, 40n])
})

test('a send that is larger than a batch, and one larger than its topic takes, are cut inside the transaction', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 1, 'narrow')
  const admin = bareKafka().admin()
  await admin.connect()
  t.after(() => admin.disconnect())
  const producer = await log.producer({ transactionalId: topic })
  const transaction = await begin(producer)
  const big = Array.from({ length: 30 }, (_, i) => ({ key: Buffer.from(`${i}`), value: new Uint8Array(100_000).fill(i) }))
  deepStrictEqual(await transaction.send(topic, 0, big), new Map([[0, 0n]]))
  await transaction.commit()
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: topic, configEntries: [{ name: 'max.message.bytes', value: '150000' }] }],
  })
  const narrow = await begin(producer)
  await narrow.send(topic, 0, big.slice(0, 8))
  const poison = { code: 'SIDESTREAM_RECORD_TOO_LARGE', class: 'poison' }
  await rejects(narrow.send(topic, 0, [{ key: null, value: new Uint8Array(200_000) }]), poison) // the brokers say so
  await rejects(narrow.send(topic, 0, [{ key: null, value: new Uint8Array(2_000_000) }]), poison) // we do
  await narrow.send(topic, 0, [record('38', 'last')])
  await narrow.commit()
  const keys: number[] = []
  await log.read(topic, ({ records }) => void keys.push(...records.map(({ key }) => Number(text(key)))), { upTo: [40n] })
  deepStrictEqual(keys, [...big.keys(), 0, 1, 2, 3, 4, 5, 6, 7, 38])
})

test('send of a transactional producer is a transaction of its own, in call order', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 3)
  const producer = await log.producer({ transactionalId: topic })
  const bases = await Promise.all(Array.from({ length: 5 }, (_, i) => producer.send(topic, 0, numbered(2, `${i}.`))))
  const starts = bases.map((base) => base.get(0)!)
  ok(starts.every((base, i) => i === 0 || base > starts[i - 1]! + 2n)) // a mark between two
  await rejects(producer.send(topic, 9, numbered(1)), { code: 'SIDESTREAM_USAGE_INVALID' })
  await producer.send(topic, undefined, numbered(9, 'all'))
  await producer.flush()
  await until('all records', async () => (await contents(log, topic)).length === 19)
})

test('a producer that is closed takes its open transaction back: readers need not wait for the time-out', options, async (t) => {
  const log = await open(t, { transactionTimeoutMs: 600_000 })
  const topic = await freshTopic(log, 1)
  const producer = await log.producer({ transactionalId: topic })
  const transaction = await begin(producer)
  await transaction.send(topic, 0, numbered(1, 'open'))
  await (await log.producer()).send(topic, 0, numbered(1, 'behind'))
  await producer.close()
  await until('what stands behind it', async () => (await contents(log, topic)).length > 0)
  deepStrictEqual(await contents(log, topic), ['0:behind0'])
  await rejects(transaction.commit(), { code: 'SIDESTREAM_USAGE_INVALID' })
  await rejects(begin(producer), { code: 'SIDESTREAM_CLOSED' })
})

test('ids of two projects do not meet', options, async (t) => {
  const logs = [await open(t, { groupPrefix: 'one.' }), await open(t, { groupPrefix: 'two.' })]
  const topic = await freshTopic(logs[0]!, 1)
  const producers = await Promise.all(logs.map((log) => log.producer({ transactionalId: topic })))
  for (const producer of producers) await producer.send(topic, 0, numbered(1))
})

test('what a transaction cannot do is refused, and changes nothing', options, async (t) => {
  const [log, other] = [await open(t), await open(t)]
  const topic = await freshTopic(log, 1)
  const usage = (message: RegExp) => ({ code: 'SIDESTREAM_USAGE_INVALID', class: 'fatal', message })
  strictEqual((await log.producer()).begin, undefined)
  for (const transactionalId of ['', 'a b', 'x'.repeat(600)])
    await rejects(log.producer({ transactionalId }), usage(/is no transactional id/))
  await rejects(openTooLong(log, topic), { code: 'SIDESTREAM_CONFIG_INVALID', message: /transaction.max.timeout.ms/ })
  const producer = await log.producer({ transactionalId: topic })
  const transaction = await begin(producer)
  await rejects(begin(producer), usage(/a transaction is open/))
  await rejects(producer.send(topic, 0, numbered(1)), usage(/a transaction is open/))
  const lanes = new Map<string, Lane>()
  for (const [name, from, commits] of [
    ['ours', log, 'handler'],
    ['by itself', log, 'consumer'],
    ['of another log', other, 'handler'],
  ] as const) {
    const consumer = await start(
      from,
      { group: `${topic}-${lanes.size}`, topics: [topic], commits },
      { onAssigned: async (lane) => void lanes.set(name, lane), onBatch: async () => {} },
    )
    t.after(() => consumer.stop({ drainMs: 0 }))
  }
  throws(() => transaction.consumed(lanes.get('by itself')!, 1n), usage(/open it with commits: 'handler'/))
  throws(() => transaction.consumed(lanes.get('of another log')!, 1n), usage(/of another log/))
  throws(() => transaction.consumed(lanes.get('ours')!, -1n), usage(/no offset -1/))
  await rejects(transaction.send(`${topic}-missing`, 0, numbered(1)), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
  await transaction.commit() // nothing to commit
  await rejects(transaction.commit(), usage(/has ended/))
  await rejects(transaction.abort(), usage(/has ended/))
  await rejects(transaction.send(topic, 0, numbered(1)), usage(/has ended/))
  throws(() => transaction.consumed(lanes.get('ours')!, 1n), usage(/has ended/))
  deepStrictEqual(await contents(log, topic), [])
  match(transactionalIdOf('g', { topic: 't', partition: 3 }), /^g\/t\/3$/)
})

/** A time-out above what brokers allow by default, 15 minutes. */
async function openTooLong(log: LogDriver, topic: string): Promise<LogProducer> {
  const patient = await openTestLog({ transactionTimeoutMs: 3_600_000 })
  try {
    strictEqual(patient.name, log.name)
    return await patient.producer({ transactionalId: `${topic}-long` })
  } finally {
    await patient.close()
  }
}
