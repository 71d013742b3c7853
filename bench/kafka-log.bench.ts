/**
 * The log on Kafka: records of 1 KiB sent and read through the driver, on one broker of its own on this machine.
 * Peers, in the same run and on the same broker: kafkajs itself with the same guarantees asked for (idempotent, acks of all, one
 * request in flight per partition; commits while reading), and with `--peers DIR` Java's own clients by `DIR/kafka_perf.sh`
 * (acks=1, so less is promised; CPU-bound compilers warmed by more records).
 * The broker's CPU is the broker's: how much of the machine everybody else used is printed as `others`.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'

import { Kafka, logLevel } from 'kafkajs'

import { openKafkaLog } from '../connectors/index.ts'
import type { LogDriver } from '../connectors/index.ts'
import { kafkaToolsDirectory, ownBroker } from '../test/services/index.ts'
import { median, watchOthers } from './harness.ts'

const { values: options } = parseArgs({ options: { peers: { type: 'string' } }, strict: false })
const count = Number(process.env['BENCH_RECORDS'] ?? 60_000)
const javaCount = Number(process.env['BENCH_JAVA_RECORDS'] ?? 300_000)
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 5)
const partitions = 4
const sendRecords = 500
const valueBytes = 1024
const run = promisify(execFile)

/** One send: keys of items, values that no codec could shrink. */
const batch = Array.from({ length: sendRecords }, (_, i) => ({ key: Buffer.from(`item-${i}`), value: randomBytes(valueBytes) }))
let serial = 0

interface Read {
  readonly records: number
  readonly bytes: number
  /** From the first batch to the last. */
  readonly seconds: number
}

/** Counts what a reader is given; `all` resolves when everything has come. */
function tally(): { add(records: readonly { value: Uint8Array | null }[]): void; all: Promise<Read> } {
  let [records, bytes, start] = [0, 0, 0]
  let done: (read: Read) => void
  const all = new Promise<Read>((resolve) => (done = resolve))
  const add = (given: readonly { value: Uint8Array | null }[]): void => {
    if (start === 0) start = performance.now()
    for (const { value } of given) bytes += value!.length
    records += given.length
    if (records === count) done({ records, bytes, seconds: (performance.now() - start) / 1000 })
  }
  return { add, all }
}

async function produce(log: LogDriver, topic: string): Promise<void> {
  const producer = await log.producer()
  await Promise.all(
    Array.from({ length: partitions }, async (_, partition) => {
      for (let sent = 0; sent < count / partitions; sent += sendRecords) await producer.send(topic, partition, batch)
    }),
  )
  await producer.close()
}

async function producePlain(kafka: Kafka, topic: string): Promise<void> {
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
  await producer.connect()
  await Promise.all(
    Array.from({ length: partitions }, async (_, partition) => {
      for (let sent = 0; sent < count / partitions; sent += sendRecords) {
        await producer.send({ topic, acks: -1, messages: batch.map(({ key, value }) => ({ key, value, partition })) })
      }
    }),
  )
  await producer.disconnect()
}

async function consume(log: LogDriver, topic: string): Promise<Read> {
  const consumer = await log.consumer({ group: `bench-${serial++}`, topics: [topic], start: 'earliest' })
  const { add, all } = tally()
  await consumer.run({
    onBatch: async ({ records, next }, lane) => {
      add(records)
      await lane.commit(next)
    },
    onFatal: (error) => {
      throw error
    },
  })
  const read = await all
  await consumer.stop({ drainMs: 5000 })
  return read
}

async function consumePlain(kafka: Kafka, topic: string): Promise<Read> {
  const consumer = kafka.consumer({ groupId: `bench-${serial++}`, maxWaitTimeInMs: 250 })
  const { add, all } = tally()
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({ eachBatch: async ({ batch: { messages } }) => add(messages) })
  const read = await all
  await consumer.disconnect()
  return read
}

/** CPU time of a process so far, milliseconds; 0 where the system does not say. */
function cpuMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return 0
  }
}

const broker = await ownBroker({ heapMb: 512 })
const log = await openKafkaLog({ brokers: broker.brokers })
const kafka = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING })
const admin = await log.admin()

/** What others than this process and the broker used of the machine meanwhile, 0 to 1. */
function watchStrangers(): () => number {
  const [others, pid, before] = [watchOthers(), broker.server.process!.pid, performance.now()]
  const brokerBefore = cpuMs(pid)
  return () => {
    const brokerShare = (cpuMs(pid) - brokerBefore) / ((performance.now() - before) * cpus().length)
    return Number(Math.max(0, others() - brokerShare).toFixed(2))
  }
}

/** A new topic, filled by `fill` and removed after; all of its records must be there. */
async function filled(fill: (topic: string) => Promise<void>): Promise<number> {
  const topic = `bench-${serial++}`
  await admin.createTopics([{ name: topic, partitions }])
  const start = performance.now()
  await fill(topic)
  const seconds = (performance.now() - start) / 1000
  const { end } = await admin.describe(topic)
  const written = Number(end.reduce((sum, offset) => sum + offset, 0n))
  if (written !== count) throw new Error(`${written} records were written instead of ${count}`)
  await admin.deleteTopic(topic)
  return seconds
}

interface Line {
  readonly name: string
  readonly rates: readonly number[]
  readonly peer: string
  readonly peerRates: readonly number[]
  readonly extra?: Record<string, unknown>
}

function print({ name, rates, peer, peerRates, extra }: Line): void {
  const [rate, peerRate] = [median(rates), median(peerRates)]
  const line = {
    bench: name,
    'records/s': Math.round(rate),
    'MB/s': Math.round((rate * valueBytes) / 1e6),
    'peer records/s': Math.round(peerRate),
    peer,
    ratio: Number((rate / peerRate).toPrecision(3)),
    ...extra,
    rounds: rates.length,
    node: process.version,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

async function javaRates(folder: string, jars: string): Promise<{ produce: number; consume: number }> {
  const args = [jars, broker.brokers[0]!, String(javaCount), String(valueBytes), String(partitions)]
  const { stdout } = await run(join(folder, 'kafka_perf.sh'), args, { maxBuffer: 16 << 20 })
  const { produce_per_s, consume_per_s } = JSON.parse(stdout) as { produce_per_s: number; consume_per_s: number }
  return { produce: produce_per_s, consume: consume_per_s }
}

try {
  const topic = `bench-${serial++}`
  await admin.createTopics([{ name: topic, partitions }])
  await produce(log, topic)
  const strangers = watchStrangers()
  const rates = { produce: [] as number[], plainProduce: [] as number[], consume: [] as number[], plainConsume: [] as number[] }
  for (let round = -1; round < rounds; round++) {
    const seconds = [await filled((name) => produce(log, name)), await filled((name) => producePlain(kafka, name))] as const
    const [ours, plain] = [await consume(log, topic), await consumePlain(kafka, topic)]
    if (ours.records !== plain.records || ours.bytes !== plain.bytes) throw new Error('the two readers were given different records')
    if (round < 0) continue // warms both up
    rates.produce.push(count / seconds[0])
    rates.plainProduce.push(count / seconds[1])
    rates.consume.push(count / ours.seconds)
    rates.plainConsume.push(count / plain.seconds)
  }
  const extra = { others: strangers() }
  const peer = 'kafkajs alone'
  print({ name: 'Kafka produce 1 KiB, 500 a send', rates: rates.produce, peer, peerRates: rates.plainProduce, extra })
  print({ name: 'Kafka consume 1 KiB', rates: rates.consume, peer, peerRates: rates.plainConsume, extra })

  const folder = typeof options.peers === 'string' ? options.peers : undefined
  const jars = folder === undefined ? undefined : await kafkaToolsDirectory()
  if (folder === undefined || !existsSync(join(folder, 'kafka_perf.sh'))) {
    console.log('left out: Java clients; --peers DIR names the folder that holds kafka_perf.sh')
  } else if (typeof jars !== 'string') {
    console.log(`left out: Java clients; ${jars === undefined ? '' : jars.missing}`)
  } else {
    const java = { produce: [] as number[], consume: [] as number[] }
    for (let round = 0; round < Math.min(rounds, 3); round++) {
      const rate = await javaRates(folder, jars)
      java.produce.push(rate.produce)
      java.consume.push(rate.consume)
    }
    const records = { 'peer records': javaCount }
    print({
      name: 'Kafka produce 1 KiB, 500 a send',
      rates: rates.produce,
      peer: 'Java producer, acks=1',
      peerRates: java.produce,
      extra: records,
    })
    print({ name: 'Kafka consume 1 KiB', rates: rates.consume, peer: 'Java consumer', peerRates: java.consume, extra: records })
  }
} finally {
  await log.close()
  await broker.close()
}
