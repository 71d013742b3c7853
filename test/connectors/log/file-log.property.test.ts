import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'

import fc from 'fast-check'

import { openFileLog } from '../../../connectors/index.ts'
import type { FileLogOptions, LogDriver, LogRecord, ProducerRecord } from '../../../connectors/index.ts'
import { gate, start } from '../../contract/log-fixture.ts'
import { scratchDirectory, segmentFiles } from './scratch.ts'

const bytes = fc.uint8Array({ maxLength: 300 })
const sent: fc.Arbitrary<ProducerRecord> = fc.record({
  key: fc.option(bytes),
  value: fc.option(
    fc.oneof({ weight: 9, arbitrary: bytes }, { weight: 1, arbitrary: fc.uint8Array({ minLength: 5000, maxLength: 9000 }) }),
  ),
  headers: fc.array(fc.tuple(fc.string({ unit: 'grapheme', maxLength: 12 }), bytes), { maxLength: 3 }),
  timestamp: fc.integer({ min: -(2 ** 52), max: 2 ** 52 }),
})
const batch = fc.array(sent, { minLength: 1, maxLength: 8 })
const shape: fc.Arbitrary<Partial<FileLogOptions>> = fc.record({
  segmentBytes: fc.constantFrom(200, 3000, 1 << 20),
  tailBytes: fc.constantFrom(1, 2000, 1 << 20),
  sync: fc.constantFrom('group', 'none'),
  groupCommitMs: fc.constant(0),
})

const plain = ({ key, value, headers = [], timestamp }: ProducerRecord | LogRecord): unknown => ({
  key: key === null ? null : Buffer.from(key).toString('hex'),
  value: value === null ? null : Buffer.from(value).toString('hex'),
  headers: headers.map(([name, content]) => [name, Buffer.from(content).toString('hex')]),
  timestamp,
})

async function readAll(log: LogDriver, from = 0n): Promise<LogRecord[]> {
  const end = (await (await log.admin()).describe('orders')).end[0]!
  const records: LogRecord[] = []
  const done = gate()
  if (end === from) done.open()
  const consumer = await start(
    log,
    { group: 'reader', topics: ['orders'], batchRecords: 5 },
    {
      onAssigned: async () => from,
      onBatch: async (given) => {
        records.push(...given.records)
        if (given.next === end) done.open()
      },
      onFatal: done.fail,
    },
  )
  await done.opened
  await consumer.stop({ drainMs: 1000 })
  return records
}

async function withLog<T>(
  options: Partial<FileLogOptions>,
  body: (open: () => Promise<LogDriver>, directory: string) => Promise<T>,
): Promise<T> {
  const directory = scratchDirectory()
  try {
    const log = await openFileLog({ directory, ...options })
    await (await log.admin()).createTopics([{ name: 'orders', partitions: 1 }])
    await log.close()
    return await body(() => openFileLog({ directory, ...options }), directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test('what was appended is read back the same, across restarts, segments and tails, from any offset', async () => {
  await fc.assert(
    fc.asyncProperty(
      shape,
      fc.array(fc.array(batch, { maxLength: 6 }), { minLength: 1, maxLength: 3 }),
      fc.nat(),
      (options, lives, anywhere) =>
        withLog(options, async (open) => {
          const expected: unknown[] = []
          for (const batches of lives) {
            const log = await open()
            const producer = await log.producer()
            await Promise.all(batches.map((records) => producer.send('orders', 0, records)))
            expected.push(...batches.flat().map(plain))
            const records = await readAll(log)
            deepStrictEqual(records.map(plain), expected)
            records.forEach(({ offset }, i) => strictEqual(offset, BigInt(i)))
            const from = anywhere % (expected.length + 1)
            deepStrictEqual((await readAll(log, BigInt(from))).map(plain), expected.slice(from))
            await log.close()
          }
        }),
    ),
    { numRuns: 40 },
  )
})

/** Writes the batches one by one and says how long the last segment was, and how many records there were, after each. */
async function writeBatches(
  open: () => Promise<LogDriver>,
  directory: string,
  batches: readonly ProducerRecord[][],
): Promise<{ file: string; boundaries: { bytes: number; records: number }[] }> {
  const log = await open()
  const producer = await log.producer()
  const seen: { file: string; bytes: number; records: number }[] = [
    { file: segmentFiles(directory, 'orders').at(-1)!, bytes: 0, records: 0 },
  ]
  let records = 0
  for (const one of batches) {
    await producer.send('orders', 0, one)
    const file = segmentFiles(directory, 'orders').at(-1)!
    if (file !== seen.at(-1)!.file) seen.push({ file, bytes: 0, records })
    records += one.length
    seen.push({ file, bytes: statSync(file).size, records })
  }
  await log.close()
  const { file } = seen.at(-1)!
  return { file, boundaries: seen.filter((boundary) => boundary.file === file) }
}

test('the last segment cut at any byte holds a prefix of whole batches: all that end before the cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(batch, { minLength: 1, maxLength: 6 }),
      fc.constantFrom(400, 1 << 20),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (batches, segmentBytes, share) =>
        withLog({ segmentBytes, sync: 'none' }, async (open, directory) => {
          const { file, boundaries } = await writeBatches(open, directory, batches)
          const cut = Math.floor(share * boundaries.at(-1)!.bytes)
          truncateSync(file, cut)
          const log = await open()
          const kept = boundaries.findLast(({ bytes: end }) => end <= cut)!
          deepStrictEqual((await readAll(log)).map(plain), batches.flat().slice(0, kept.records).map(plain))
          const next = await (await log.producer()).send('orders', 0, [{ key: null, value: null }])
          deepStrictEqual(next, new Map([[0, BigInt(kept.records)]]))
          await log.close()
        }),
    ),
    { numRuns: 60 },
  )
})

test('a flipped bit in the last segment never shows as a record: a prefix of whole batches is left', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(batch, { minLength: 1, maxLength: 5 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.nat(7),
      (batches, share, bit) =>
        withLog({ sync: 'none' }, async (open, directory) => {
          const { file, boundaries } = await writeBatches(open, directory, batches)
          const content = readFileSync(file)
          const at = Math.floor(share * content.length)
          content[at]! ^= 1 << bit
          writeFileSync(file, content)
          const log = await open()
          const kept = boundaries.findLast(({ bytes: end }) => end <= at)!
          deepStrictEqual((await readAll(log)).map(plain), batches.flat().slice(0, kept.records).map(plain))
          await log.close()
        }),
    ),
    { numRuns: 60 },
  )
})
