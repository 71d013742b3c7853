/** What the log's contract needs from a driver, and small helpers to produce and to read with. */
import { ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import type {
  ConsumerOptions,
  Lane,
  LogBatch,
  LogConsumer,
  LogDriver,
  LogHandlers,
  LogRecord,
  ProducerRecord,
} from '../../connectors/index.ts'

export interface LogFixture {
  readonly driver: LogDriver
  /** Gives the log up without closing its consumers in order, as far as the driver can, and opens the same data again. */
  reopen(): Promise<LogDriver>
  /** Creates a topic that is compacted as eagerly as the driver can: soon, and with tombstones dropped soon after. */
  createCompacted(topic: string, partitions: number): Promise<void>
  /**
   * Brings the driver to compact what the topic holds by now. It may append records with the key `tick`, and need not wait:
   * a case calls it again and again until it sees what it waits for.
   */
  compactNow(topic: string): Promise<void>
  /** Removes all records that the topic (cleanup `delete`) holds by now; resolves when `describe` says start = end. */
  expire(topic: string): Promise<void>
  close(): Promise<void>
}

export interface LogContractDriver {
  readonly name: string
  /** Why tests that open the same data again cannot run; undefined when they can. */
  readonly volatile?: string
  /** Why no test can run here, `false` when all can. @default false */
  readonly skip?: string | false
  /** Opens an empty log (or one in which the suite's fresh names do not occur). Waits between tries should be short. */
  open(): Promise<LogFixture>
}

export interface Bench {
  readonly fixture: LogFixture
  readonly driver: LogDriver
  /** A name no other test uses. */
  name(word: string): string
  /** Creates a topic with a fresh name. */
  topic(partitions: number, word?: string): Promise<string>
  send(topic: string, partition: number | undefined, ...records: ProducerRecord[]): Promise<ReadonlyMap<number, bigint>>
}

let serial = 0

/** Declares one behavior as a test. */
export function behavior(
  { name, volatile, skip: skipAll = false, open }: LogContractDriver,
  title: string,
  body: (bench: Bench, t: TestContext) => Promise<void>,
  { reopens = false, timeoutMs = 30_000 }: { reopens?: boolean; timeoutMs?: number } = {},
): void {
  const skip = skipAll === false && reopens ? (volatile ?? false) : skipAll
  test(`${name} log: ${title}`, { skip, timeout: timeoutMs }, async (t) => {
    const fixture = await open()
    t.after(() => fixture.close())
    const { driver } = fixture
    const freshName = (word: string): string => `${word}-${process.pid}-${serial++}`
    const admin = await driver.admin()
    const producer = await driver.producer()
    const bench: Bench = {
      fixture,
      driver,
      name: freshName,
      topic: async (partitions, word = 'topic') => {
        const topic = freshName(word)
        await admin.createTopics([{ name: topic, partitions }])
        return topic
      },
      send: (topic, partition, ...records) => producer.send(topic, partition, records),
    }
    await body(bench, t)
  })
}

export const text = (bytes: Uint8Array | null): string | null => (bytes === null ? null : Buffer.from(bytes).toString())

/** A record with text as key and value. */
export function record(key: string | null, value: string | null): ProducerRecord {
  return { key: key === null ? null : Buffer.from(key), value: value === null ? null : Buffer.from(value) }
}

/** Values `prefix0`, `prefix1`, … */
export function numbered(count: number, prefix = ''): ProducerRecord[] {
  return Array.from({ length: count }, (_, i) => record(`k${i}`, `${prefix}${i}`))
}

export const values = (records: readonly LogRecord[]): (string | null)[] => records.map(({ value }) => text(value))

/** Polls until the condition holds; fails, saying what it waited for, when that takes too long. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, limitMs = 25_000): Promise<void> {
  for (const deadline = Date.now() + limitMs; !(await condition());) {
    ok(Date.now() < deadline, `waited ${limitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A promise with its handles. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void; fail(error: unknown): void } {
  let open!: (value: T) => void
  let fail!: (error: unknown) => void
  const opened = new Promise<T>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  return { opened, open, fail }
}

/** Starts a consumer; a fatal error that no handler expects fails the returned `failed`. */
export async function start(
  driver: LogDriver,
  options: Omit<ConsumerOptions, 'start'> & { start?: ConsumerOptions['start'] },
  handlers: Omit<LogHandlers, 'onFatal'> & Partial<Pick<LogHandlers, 'onFatal'>>,
): Promise<LogConsumer> {
  const consumer = await driver.consumer({ start: 'earliest', ...options })
  await consumer.run({
    onFatal: (error) => {
      throw error
    },
    ...handlers,
  })
  return consumer
}

export interface Collected {
  readonly records: readonly (LogRecord & { readonly topic: string; readonly partition: number })[]
  readonly batches: readonly LogBatch[]
  readonly lanes: readonly Lane[]
}

/** Reads `count` records with a consumer of its own, stops it and returns what came. */
export async function collect(
  driver: LogDriver,
  options: Omit<ConsumerOptions, 'start'> & { start?: ConsumerOptions['start'] },
  count: number,
): Promise<Collected> {
  const records: Collected['records'][number][] = []
  const batches: LogBatch[] = []
  const lanes: Lane[] = []
  const all = gate()
  const consumer = await start(driver, options, {
    onAssigned: async (lane) => {
      lanes.push(lane)
      return undefined
    },
    onBatch: async (batch) => {
      batches.push(batch)
      for (const one of batch.records) records.push({ ...one, topic: batch.topic, partition: batch.partition })
      if (records.length >= count) all.open()
    },
    onFatal: all.fail,
  })
  if (count === 0) all.open()
  await all.opened
  await consumer.stop({ drainMs: 5000 })
  strictEqual(records.length, count)
  return { records, batches, lanes }
}
