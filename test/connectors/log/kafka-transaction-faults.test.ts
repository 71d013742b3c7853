/** Transactions whose requests or answers are lost: in the end every record is there once, and the producer goes on. */
import { deepStrictEqual, rejects } from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'

import { kafkaLogDefaults, openKafkaLog } from '../../../connectors/index.ts'
import type { KafkaLogOptions, LogDriver, LogProducer, LogTransaction } from '../../../connectors/index.ts'
import { faultProxy, ownBroker, skipWithoutBroker } from '../../services/index.ts'
import type { Broker, FaultProxy } from '../../services/index.ts'
import { numbered, until, values } from '../../contract/log-fixture.ts'
import { freshTopic, quickSettings } from './kafka-bench.ts'
import { copy, copyGroup } from './kafka-copy.ts'

const skip = await skipWithoutBroker()
const options = { skip, timeout: 90_000 }
const api = { produce: 0, initProducer: 22, addPartitions: 24, addOffsets: 25, endTransaction: 26, commitOffsets: 28 }
let proxy: FaultProxy
let broker: Broker
before(async () => {
  if (skip !== false) return
  proxy = await faultProxy()
  broker = await ownBroker({ proxy })
})
after(async () => {
  await broker?.close()
  await proxy?.close()
})

/** Two logs on one broker: one through the proxy, one that has no faults. */
async function open(t: TestContext, changes: Partial<KafkaLogOptions> = {}): Promise<{ log: LogDriver; sound: LogDriver }> {
  t.after(() => proxy.heal())
  const sound = await openKafkaLog({ ...quickSettings, brokers: broker.brokers })
  const log = await openKafkaLog({ ...quickSettings, brokers: [proxy.address], wait: kafkaLogDefaults.wait, ...changes })
  t.after(async () => {
    proxy.heal()
    await Promise.all([log.close(), sound.close()])
  })
  return { log, sound }
}

/** Asks the sound log how far the copy of a topic has come. */
function positionIn(sound: LogDriver, topic: string): () => Promise<bigint | undefined> {
  return async () => (await (await sound.admin()).committed(copyGroup(topic), topic))[0]
}

async function contents(log: LogDriver, topic: string): Promise<(string | null)[]> {
  const found: (string | null)[] = []
  await log.read(topic, ({ records }) => void found.push(...values(records)))
  return found
}

const begin = (producer: LogProducer): Promise<LogTransaction> => producer.begin!()

for (const { lost, apiKey, outcome } of [
  { lost: 'answer', apiKey: api.endTransaction, outcome: 'unknown' },
  { lost: 'request', apiKey: api.endTransaction, outcome: 'unknown' },
  { lost: 'answer', apiKey: api.addOffsets, outcome: undefined },
] as const) {
  const what = { [api.endTransaction]: 'a commit', [api.addOffsets]: 'a position' }[apiKey]
  test(`the ${lost} of ${what} is lost: it is told, and every record is there once`, options, async (t) => {
    const { log, sound } = await open(t)
    const [from, to] = [await freshTopic(sound, 1), await freshTopic(sound, 1)]
    const input = await sound.producer()
    const { consumer, errors } = await copy(log, from, to)
    const committed = positionIn(sound, from)
    await input.send(from, 0, numbered(3, 'a'))
    await until('the first batch', async () => (await committed()) === 3n)
    const done = proxy.lose(lost, apiKey)
    await input.send(from, 0, numbered(3, 'b'))
    await done
    await until('the second batch', async () => (await committed()) === 6n)
    await input.send(from, 0, numbered(3, 'c'))
    await until('the third batch', async () => (await committed()) === 9n)
    await until('its records', async () => (await contents(sound, to)).length >= 9)
    deepStrictEqual(await contents(sound, to), await contents(sound, from))
    deepStrictEqual(
      errors.map(({ code, details }) => [code, details['outcome']]),
      [['SIDESTREAM_LOG_UNAVAILABLE', outcome]],
    )
    await consumer.stop({ drainMs: 1000 })
  })
}

test('the answers of sends and of a take-over are lost: kafkajs asks again, and every record is there once', options, async (t) => {
  const { log, sound } = await open(t)
  const topic = await freshTopic(sound, 1)
  const lostStart = proxy.lose('answer', api.initProducer)
  const plain = await sound.producer()
  const producer = await log.producer({ transactionalId: topic })
  await lostStart
  for (const apiKey of [api.addPartitions, api.produce, api.produce]) {
    const transaction = await begin(producer)
    if (apiKey === api.produce) await transaction.send(topic, 0, numbered(1, 'first'))
    const lost = proxy.lose('answer', apiKey)
    await transaction.send(topic, 0, numbered(2, 'second'))
    await lost
    await transaction.commit()
  }
  await plain.send(topic, 0, numbered(1, 'plain'))
  const all = ['second0', 'second1', 'first0', 'second0', 'second1', 'first0', 'second0', 'second1', 'plain0']
  await until('all records', async () => (await contents(sound, topic)).length >= all.length)
  deepStrictEqual(await contents(sound, topic), all)
})

test('a copy in transactions has every record once, in order, however often connections are cut', options, async (t) => {
  const { log, sound } = await open(t, { transactionTimeoutMs: 5000 })
  const [from, to] = [await freshTopic(sound, 1), await freshTopic(sound, 1)]
  const input = await sound.producer()
  const { consumer } = await copy(log, from, to)
  const committed = positionIn(sound, from)
  let sent = 0
  for (let cuts = 0; cuts < 10; cuts++) {
    for (let i = 0; i < 10; i++) await input.send(from, 0, numbered(3, `${(sent += 3)}.`))
    const before = (await committed()) ?? 0n
    await until('the copy to go on', async () => ((await committed()) ?? 0n) > before)
    proxy.cut()
  }
  await until('the end', async () => (await committed()) === BigInt(sent))
  await until('the last records', async () => (await contents(sound, to)).length >= sent)
  deepStrictEqual(await contents(sound, to), await contents(sound, from))
  await consumer.stop({ drainMs: 1000 })
})

test(
  'brokers that fall silent: a transaction is given up after its time-out, and the producer goes on when they are back',
  options,
  async (t) => {
    const { log, sound } = await open(t, { requestTimeoutMs: 1000, transactionTimeoutMs: 2000 })
    const topic = await freshTopic(sound, 1)
    const producer = await log.producer({ transactionalId: topic })
    const transaction = await begin(producer)
    await transaction.send(topic, 0, numbered(1, 'before'))
    await (await sound.producer()).send(topic, 0, numbered(1, 'plain'))
    proxy.blackHole()
    const unavailable = { code: 'SIDESTREAM_LOG_UNAVAILABLE', class: 'retryable' }
    await rejects(transaction.send(topic, 0, numbered(1, 'silent')), unavailable)
    await rejects(transaction.commit(), unavailable)
    await rejects(transaction.abort(), unavailable)
    await rejects(begin(producer), unavailable)
    await until('the time-out', async () => (await contents(sound, topic)).length === 1)
    proxy.heal()
    const next = await begin(producer)
    await next.send(topic, 0, numbered(1, 'after'))
    await next.commit()
    await until('the next transaction', async () => (await contents(sound, topic)).length === 2)
    deepStrictEqual(await contents(sound, topic), ['plain0', 'after0'])
  },
)
