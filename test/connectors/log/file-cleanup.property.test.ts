/** Any mixture of appends, compactions, restarts and time, against a model in a few lines. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { test } from 'node:test'

import fc from 'fast-check'

import { openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { FileLog, FileLogOptions, LogRecord, MemoryLog, ProducerRecord } from '../../../connectors/index.ts'
import { KeyMap } from '../../../connectors/log/file-key-map.ts'
import { scratchDirectory } from './scratch.ts'

const topic = 'changelog'
const retentionMs = 1000

const key = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'e').map((name) => Buffer.from(name)) },
  { weight: 1, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
)
const value = fc.oneof({ weight: 4, arbitrary: fc.uint8Array({ maxLength: 120 }) }, { weight: 1, arbitrary: fc.constant(null) })
const batch = fc.array(fc.record({ key, value }), { minLength: 1, maxLength: 6 })

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ send: batch }) },
  { weight: 3, arbitrary: fc.constant('compact' as const) },
  { weight: 1, arbitrary: fc.constant('reopen' as const) },
  { weight: 1, arbitrary: fc.constantFrom(retentionMs / 2, retentionMs) },
)

const shape: fc.Arbitrary<Partial<FileLogOptions>> = fc.record({
  segmentBytes: fc.constantFrom(150, 700, 1 << 20),
  tailBytes: fc.constantFrom(1, 600, 1 << 20),
})

interface Kept extends ProducerRecord {
  readonly offset: number
}

const name = (bytes: Uint8Array | null): string | null => (bytes === null ? null : Buffer.from(bytes).toString('hex'))
const plain = (records: readonly (Kept | LogRecord)[]): unknown[] =>
  records.map((one) => [Number(one.offset), name(one.key), name(one.value)])

/** What compaction means. */
class Model {
  records: Kept[] = []
  end = 0
  now = 0
  readonly #runs: { readonly end: number; readonly at: number }[] = []

  send(records: readonly ProducerRecord[]): void {
    for (const one of records) this.records.push({ ...one, offset: this.end++ })
  }

  compact(): void {
    const horizon = Math.max(0, ...this.#runs.filter(({ at }) => at <= this.now - retentionMs).map(({ end }) => end))
    this.records = this.records.filter(
      (one) =>
        one.key === null ||
        (!this.records.some((later) => later.offset > one.offset && name(later.key) === name(one.key)) &&
          !(one.value === null && one.offset < horizon)),
    )
    this.#runs.push({ end: this.end, at: this.now })
  }
}

async function read(log: FileLog | MemoryLog, from = 0): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  await log.read(topic, ({ records }) => void found.push(...records), { from: [BigInt(from)], batchRecords: 4 })
  return found
}

/** Reads with a consumer from `from` to the end. */
async function consume(log: FileLog | MemoryLog, from: number, end: number): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  if (from >= end) return found
  const consumer = await log.consumer({ group: 'g', topics: [topic], start: 'earliest', batchRecords: 3 })
  let position = BigInt(from)
  await new Promise<void>((resolve, reject) => {
    consumer
      .run({
        onAssigned: async () => BigInt(from),
        onBatch: async ({ records, first, next }) => {
          ok(first >= position && next > position && records.every(({ offset }) => offset < next))
          position = next
          found.push(...records)
          if (next === BigInt(end)) resolve()
        },
        onGap: () => reject(new Error('a hole was told as a gap')),
        onFatal: reject,
      })
      .catch(reject)
  })
  await consumer.stop({ drainMs: 1000 })
  return found
}

for (const driver of ['file', 'memory'] as const) {
  test(`any sequence of appends, compactions, restarts and time reads as the model does: ${driver} log`, async () => {
    await fc.assert(
      fc.asyncProperty(shape, fc.array(step, { minLength: 1, maxLength: 24 }), fc.nat(), async (options, steps, anywhere) => {
        const directory = scratchDirectory()
        const model = new Model()
        const open = (): Promise<FileLog | MemoryLog> =>
          driver === 'memory'
            ? openMemoryLog({ deleteRetentionMs: retentionMs, wallClock: () => model.now })
            : openFileLog({ directory, sync: 'none', deleteRetentionMs: retentionMs, wallClock: () => model.now, ...options })
        let log = await open()
        try {
          await (await log.admin()).createTopics([{ name: topic, partitions: 1, cleanup: 'compact' }])
          let producer = await log.producer()
          for (const one of steps) {
            if (one === 'compact') {
              await log.compact(topic)
              model.compact()
            } else if (one === 'reopen') {
              if (driver === 'memory') continue
              await log.close()
              log = await open()
              producer = await log.producer()
            } else if (typeof one === 'number') {
              model.now += one
            } else {
              const base = (await producer.send(topic, 0, one.send)).get(0)
              strictEqual(base, BigInt(model.end))
              model.send(one.send)
            }
            deepStrictEqual(plain(await read(log)), plain(model.records))
          }
          const from = anywhere % (model.end + 1)
          const expected = plain(model.records.filter(({ offset }) => offset >= from))
          deepStrictEqual(plain(await read(log, from)), expected)
          deepStrictEqual(plain(await consume(log, from, model.end)), expected)
          deepStrictEqual((await (await log.admin()).describe(topic)).end, [BigInt(model.end)])
        } finally {
          await log.close()
          rmSync(directory, { recursive: true })
        }
      }),
      { numRuns: driver === 'memory' ? 40 : 60 },
    )
  })
}

test('the key map knows the last offset of every key it took, and refuses new ones when it is full', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 300 }), (keys) => {
      const map = new KeyMap(1 << 24)
      const model = new Map<string, number>()
      for (const [offset, one] of keys.entries()) {
        strictEqual(map.note(one, offset), true)
        model.set(String(name(one)), offset)
      }
      strictEqual(map.size, model.size)
      for (const one of keys) strictEqual(map.last(one), model.get(String(name(one))))
      strictEqual(map.last(new Uint8Array(13)), undefined)
    }),
  )
  const limit = 4 << 20
  const map = new KeyMap(limit)
  let taken = 0
  while (map.note(Buffer.from(`key-${taken}`), taken)) taken++
  ok(taken > 50_000 && taken < limit / 16, `${taken}`)
  strictEqual(map.note(Buffer.from('key-7'), 1_000_000), true, 'a key that is there can be noted again')
  deepStrictEqual([map.last(Buffer.from('key-7')), map.last(Buffer.from(`key-${taken - 1}`))], [1_000_000, taken - 1])
  strictEqual(map.last(Buffer.from(`key-${taken}`)), undefined)
  const big = new KeyMap(1)
  ok(big.note(Buffer.alloc(3 << 20, 1), 0) && big.last(Buffer.alloc(3 << 20, 1)) === 0, 'one key fits however big it is')
  ok(!big.note(Buffer.alloc(3 << 20, 2), 1))
})
