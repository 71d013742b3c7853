/** A broker that is away, late, slow, silent or killed: nothing acknowledged is lost, nothing stands there twice, all goes on after. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { kafkaLogDefaults, openKafkaLog } from '../../../connectors/index.ts'
import type { KafkaLogOptions, LogDriver, LogProducer, LogRecord } from '../../../connectors/index.ts'
import type { SidestreamError } from '../../../schemas/index.ts'
import { faultProxy, freePorts, ownBroker, skipWithoutBroker } from '../../services/index.ts'
import type { Broker, FaultProxy } from '../../services/index.ts'
import { record, start, until, values } from '../../contract/log-fixture.ts'
import { freshTopic, quickSettings } from './kafka-bench.ts'

const skip = await skipWithoutBroker()
const options = { skip, timeout: 90_000 }
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

async function open(t: TestContext, changes: Partial<KafkaLogOptions> = {}): Promise<LogDriver> {
  t.after(() => proxy.heal())
  const log = await openKafkaLog({ ...quickSettings, brokers: [proxy.address], wait: kafkaLogDefaults.wait, ...changes })
  t.after(async () => {
    proxy.heal()
    await log.close()
  })
  return log
}

/** What the log holds of one partition. */
async function contents(log: LogDriver, topic: string): Promise<(string | null)[]> {
  const found: (string | null)[] = []
  await log.read(topic, ({ records }) => void found.push(...values(records)))
  return found
}

/** Sends values `0`, `1`, … in small sends, several at a time, until told to stop. */
class Writer {
  sent = 0
  readonly errors: SidestreamError[] = []
  readonly #producer: LogProducer
  readonly #topic: string
  readonly #running: Promise<void>[]
  #stopped = false

  constructor(producer: LogProducer, topic: string, lanes = 4) {
    this.#producer = producer
    this.#topic = topic
    this.#running = Array.from({ length: lanes }, () => this.#run())
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
    deepStrictEqual(this.errors, [])
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const records = Array.from({ length: 3 }, () => record('k', `${this.sent++}`))
      await this.#producer.send(this.#topic, 0, records).catch((error: SidestreamError) => void this.errors.push(error))
      await pause(1)
    }
  }
}

/** A sink that owns its position; it has everything once, in order. */
async function reading(log: LogDriver, topic: string) {
  const taken: (string | null)[] = []
  let next = 0n
  const consumer = await start(
    log,
    { group: `${topic}-g`, topics: [topic] },
    {
      onAssigned: async () => next,
      onBatch: async (batch) => {
        taken.push(...values(batch.records.filter(({ offset }) => offset >= next)))
        if (batch.next > next) next = batch.next
      },
    },
  )
  return { taken, consumer }
}

const upTo = (count: number): string[] => Array.from({ length: count }, (_, i) => `${i}`)

test('a broker that comes later is waited for; one that does not come is told with its address', options, async (t) => {
  proxy.refuse()
  const opening = open(t, { connectTimeoutMs: 30_000 })
  await pause(300)
  proxy.heal()
  const log = await opening
  strictEqual(log.name, 'kafka')
  const [port] = await freePorts(1)
  const brokers = [`127.0.0.1:${port}`]
  await rejects(openKafkaLog({ ...quickSettings, brokers, connectTimeoutMs: 400 }), (error: SidestreamError) => {
    strictEqual(error.code, 'SIDESTREAM_LOG_UNAVAILABLE')
    strictEqual(error.class, 'retryable')
    match(error.message, new RegExp(`cannot reach Kafka at 127.0.0.1:${port}: .*nothing listens there`))
    return true
  })
})

test('a consumer that is run while the broker is away runs when it is back', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 1)
  await (await log.producer()).send(topic, 0, [record('k', '0')])
  proxy.refuse()
  const running = reading(log, topic)
  await pause(500)
  proxy.heal()
  const { taken, consumer } = await running
  await until('the record', () => taken.length === 1)
  await consumer.stop({ drainMs: 1000 })
})

test('connections that are cut again and again: every record once, in the order it was sent', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 1)
  const writer = new Writer(await log.producer(), topic)
  const { taken, consumer } = await reading(log, topic)
  for (let i = 0; i < 8; i++) {
    const before = writer.sent
    await until('sends to go on', () => writer.sent > before + 30)
    proxy.cut()
  }
  await writer.stop()
  deepStrictEqual(await contents(log, topic), upTo(writer.sent))
  await until('the last record', () => taken.length === writer.sent)
  deepStrictEqual(taken, upTo(writer.sent))
  await consumer.stop({ drainMs: 1000 })
})

test('answers of sends are lost, with others waiting behind them: every record once, in order', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  const sends: Promise<unknown>[] = []
  for (let i = 0; i < 5; i++) {
    const lost = proxy.lose('answer', 0)
    for (let k = 0; k < 8; k++) sends.push(producer.send(topic, 0, [record('k', `${sends.length}`)]))
    await lost // written, but not acknowledged
  }
  await Promise.all(sends)
  deepStrictEqual(await contents(log, topic), upTo(sends.length))
})

test('large answers that are cut in the middle are asked for again, by consumers and by readings', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 2)
  const producer = await log.producer()
  for (const p of [0, 1]) {
    const records = Array.from({ length: 100 }, (_, i) => ({ key: Buffer.from(`${p}.${i}`), value: new Uint8Array(100_000).fill(i) }))
    await producer.send(topic, p, records)
  }
  const whole = ({ key, value }: LogRecord): string => {
    const text = Buffer.from(key!).toString()
    ok(value!.length === 100_000 && value!.every((byte) => byte === Number(text.slice(2))), text)
    return text
  }
  const [taken, read]: [string[], string[]] = [[], []]
  const consumer = await start(
    log,
    { group: `${topic}-g`, topics: [topic], laneBytes: 2_000_000, batchRecords: 5 },
    { onBatch: async ({ records }) => void taken.push(...records.map(whole)) },
  )
  const reading = log.read(topic, ({ records }) => void read.push(...records.map(whole)), { batchRecords: 5 })
  let cuts = 0
  const cutting = (async () => {
    for (; cuts < 12 && (taken.length < 200 || read.length < 200); cuts++) {
      await pause(20)
      proxy.cut()
    }
  })()
  await reading
  await cutting
  const sent = [0, 1].flatMap((p) => Array.from({ length: 100 }, (_, i) => `${p}.${i}`)).sort()
  deepStrictEqual(read.slice().sort(), sent)
  await until('everything', () => new Set(taken).size === 200)
  for (const p of ['0', '1']) {
    const ofPartition = [...new Set(taken)].filter((one) => one.startsWith(p))
    deepStrictEqual(
      ofPartition,
      Array.from({ length: 100 }, (_, i) => `${p}.${i}`),
    )
  }
  await consumer.stop({ drainMs: 1000 })
})

test('a broker that is killed and started again: nothing acknowledged is lost, the consumer goes on by itself', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 1)
  const writer = new Writer(await log.producer(), topic)
  const { taken, consumer } = await reading(log, topic)
  await until('some records', () => taken.length > 100)
  await broker.server.kill()
  await broker.server.start()
  const before = taken.length
  await until('records after the restart', () => taken.length > before + 100, 60_000)
  await writer.stop()
  const all = await contents(log, topic)
  deepStrictEqual([...new Set(all)].sort(), upTo(writer.sent).sort())
  await until('the last record', () => taken.length >= all.length)
  deepStrictEqual(taken, all)
  await consumer.stop({ drainMs: 1000 })
})

test('a broker that falls silent: sends are given up in time, in order; progress stands still; all goes on after', options, async (t) => {
  const log = await open(t, { requestTimeoutMs: 1500, clock: () => Date.now() })
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  await producer.send(topic, 0, [record('k', '0')])
  const { taken, consumer } = await reading(log, topic)
  await until('the first record', () => taken.length === 1)
  await producer.send(topic, 0, [record('k', '1')])
  proxy.blackHole()
  const from = Date.now()
  const outcomes = await Promise.allSettled(['2', '3', '4'].map((value) => producer.send(topic, 0, [record('k', value)])))
  ok(Date.now() - from < 20_000)
  for (const one of outcomes) {
    strictEqual(one.status, 'rejected')
    strictEqual((one.reason as SidestreamError).code, 'SIDESTREAM_LOG_UNAVAILABLE')
  }
  await rejects(consumer.lag(), { code: 'SIDESTREAM_LOG_UNAVAILABLE' })
  await until('progress to stand still', () => consumer.lastProgress() < Date.now() - 3000)
  proxy.heal()
  for (const value of ['2', '3', '4']) await producer.send(topic, 0, [record('k', value)])
  await until('all records', () => taken.includes('4'), 60_000)
  await until('progress to go on', () => consumer.lastProgress() > Date.now() - 1000, 60_000)
  deepStrictEqual([...new Set(taken)], ['0', '1', '2', '3', '4']) // what was given up may stand there twice, never out of order
  await consumer.stop({ drainMs: 1000 })
})

test('a slow way to the broker slows everything and breaks nothing', options, async (t) => {
  const log = await open(t)
  const topic = await freshTopic(log, 1)
  proxy.delay(60)
  const writer = new Writer(await log.producer(), topic)
  const { taken, consumer } = await reading(log, topic)
  await until('some records', () => taken.length > 60)
  await writer.stop()
  proxy.heal()
  await until('all records', () => taken.length === writer.sent)
  deepStrictEqual(taken, upTo(writer.sent))
  deepStrictEqual(await contents(log, topic), upTo(writer.sent))
  await consumer.stop({ drainMs: 1000 })
})

test('a stop while the broker is silent ends; so does the log', options, async (t) => {
  const log = await open(t, { requestTimeoutMs: 2000 })
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  await producer.send(topic, 0, [record('k', '0')])
  const { taken, consumer } = await reading(log, topic)
  await until('the record', () => taken.length === 1)
  proxy.blackHole()
  const from = Date.now()
  await consumer.stop({ drainMs: 500 })
  await log.close()
  ok(Date.now() - from < 25_000)
})
