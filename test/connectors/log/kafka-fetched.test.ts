/** Record batches: what is sent is what is read, by us and by kafkajs; nothing else is shown. */
import { deepStrictEqual, rejects, strictEqual, throws } from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'

import fc from 'fast-check'

import type { LogRecord, ProducerRecord } from '../../../connectors/index.ts'
import { BatchMessages } from '../../../connectors/log/kafka-batch-messages.ts'
import type { FetchedPartition } from '../../../connectors/log/kafka-cluster.ts'
import { readFetchAnswer } from '../../../connectors/log/kafka-fetch-answer.ts'
import { hideAborted } from '../../../connectors/log/kafka-fetched.ts'
import type { FetchedRecords } from '../../../connectors/log/kafka-fetched-records.ts'
import { encodeProduce } from '../../../connectors/log/kafka-produce-request.ts'

const require = createRequire(import.meta.url)
const topic = 't'
const all = { records: Infinity, bytes: Infinity }

/** A batch as we send it: the record set inside of a request to produce. */
async function recordSet(records: readonly ProducerRecord[], { first = 0, compression = 0 } = {}): Promise<Buffer> {
  const topicData = [{ topic, partitions: [{ partition: 0, firstSequence: 0, messages: new BatchMessages(records, 0) }] }]
  const request = { acks: -1, timeout: 1, producerId: '7', producerEpoch: 0, compression, topicData }
  const { buffer } = await encodeProduce(request, Date.now())
  const head = 2 + 2 + 4 + 4 + 2 + topic.length + 4 + 4 + 4 // of the request, before the set
  const set = Buffer.from(buffer.subarray(head))
  set.writeBigInt64BE(BigInt(first), 0) // the broker's
  return set
}

const int16 = (value: number): Buffer => Buffer.from([(value >> 8) & 255, value & 255])
const int32 = (value: number): Buffer => Buffer.from([value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255])
const int64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}

/** An answer of a broker with one partition. */
function answer(version: number, set: Buffer, aborted: readonly { producerId: number; first: number }[] = []): Buffer {
  return Buffer.concat([
    int32(5),
    ...(version >= 7 ? [int16(0), int32(0)] : []),
    int32(1),
    int16(topic.length),
    Buffer.from(topic),
    int32(1),
    int32(0),
    int16(0),
    int64(1000),
    int64(900),
    ...(version >= 5 ? [int64(0)] : []),
    int32(aborted.length),
    ...aborted.flatMap(({ producerId, first }) => [int64(producerId), int64(first)]),
    ...(version >= 11 ? [int32(-1)] : []),
    int32(set.length),
    set,
  ])
}

async function partitionOf(set: Buffer, aborted: readonly { producerId: number; first: number }[] = []): Promise<FetchedPartition> {
  const read = await readFetchAnswer(11, answer(11, set, aborted))
  return read!.responses[0]!.partitions[0]!
}

async function batchesOf(set: Buffer): Promise<readonly FetchedRecords[]> {
  return (await partitionOf(set)).messages
}

function taken(batches: readonly FetchedRecords[], limits = all): LogRecord[] {
  const out: LogRecord[] = []
  for (const batch of batches) batch.take(out, limits)
  return out
}

const keyed = (offset: number): ProducerRecord => ({ key: Buffer.from(`k${offset}`), value: Buffer.from('v') })
const batchAt = (first: number, count: number, options = {}): Promise<Buffer> =>
  recordSet(
    Array.from({ length: count }, (_, i) => keyed(first + i)),
    { first, ...options },
  )

const bytes = fc.option(fc.uint8Array({ maxLength: 300 }), { nil: null })
const producerRecord = fc.record({
  key: bytes,
  value: bytes,
  timestamp: fc.integer({ min: 0, max: 4_000_000_000_000 }),
  headers: fc.array(fc.tuple(fc.string({ unit: 'grapheme', maxLength: 80 }), fc.uint8Array({ maxLength: 80 })), { maxLength: 4 }),
})

test('what is sent is read as it was, plain and compressed, also by kafkajs itself', async () => {
  const records = fc.array(producerRecord, { minLength: 1, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(records, fc.constantFrom(0, 1), fc.nat(2 ** 40), async (sent, compression, first) => {
      const set = await recordSet(sent, { first, compression })
      const plain = (record: ProducerRecord) => [
        record.key && [...record.key],
        record.value && [...record.value],
        record.timestamp,
        record.headers!.map(([name, value]) => [name, [...value]]),
      ]
      const read = taken(await batchesOf(set))
      deepStrictEqual(read.map(plain), sent.map(plain))
      deepStrictEqual(
        read.map(({ offset }) => offset),
        sent.map((_, i) => BigInt(first + i)),
      )
      const Decoder = require('kafkajs/src/protocol/decoder.js') as new (bytes: Buffer) => object
      const decode = require('kafkajs/src/protocol/requests/fetch/v4/decodeMessages.js') as (from: object) => Promise<LogRecord[]>
      const theirs = await decode(new Decoder(Buffer.concat([int32(set.length), set])))
      deepStrictEqual(
        theirs.map(({ key, value, timestamp, offset }) => [key, value, String(timestamp), String(offset)]),
        sent.map(({ key, value, timestamp }, i) => [key && Buffer.from(key), value && Buffer.from(value), `${timestamp}`, `${first + i}`]),
      )
    }),
    { numRuns: 60 },
  )
})

test('records without a time get that of the sending, all of a batch the same', async () => {
  const before = Date.now()
  const messages = await batchesOf(await batchAt(0, 3))
  const times = taken(messages).map(({ timestamp }) => timestamp)
  strictEqual(new Set(times).size, 1)
  strictEqual(times[0]! >= before && times[0]! <= Date.now(), true)
})

test('all versions of the answer give the same, and an older one is left to kafkajs', async () => {
  const set = await batchAt(10, 2)
  for (const version of [4, 5, 7, 8, 11]) {
    const { responses, ...others } = (await readFetchAnswer(version, answer(version, set)))!
    const { messages, highWatermark, lastStableOffset } = responses[0]!.partitions[0]!
    deepStrictEqual([highWatermark, lastStableOffset, taken(messages).length], ['1000', '900', 2])
    deepStrictEqual([others.throttleTime, others.clientSideThrottleTime], version >= 8 ? [0, 5] : [5, undefined])
  }
  strictEqual(await readFetchAnswer(3, answer(4, set)), undefined)
  const old = Buffer.alloc(80)
  old[16] = 1
  strictEqual(await readFetchAnswer(11, answer(11, old)), undefined)
})

test('a fetch that began inside of a batch, a batch cut off at the end, a hole at the end of a batch', async () => {
  const [one, two] = [await batchAt(0, 5), await batchAt(5, 5)]
  const [first, ...others] = await batchesOf(Buffer.concat([one, two.subarray(0, two.length - 3)]))
  strictEqual(others.length, 0)
  first!.skipTo(3n)
  deepStrictEqual(
    taken([first!]).map(({ offset }) => offset),
    [3n, 4n],
  )
  two.writeInt32BE(99, 23) // lastOffsetDelta: what was compacted away
  strictEqual((await batchesOf(two))[0]!.offset, '104')
  const [passed] = await batchesOf(one)
  passed!.skipTo(5n)
  deepStrictEqual([passed!.isEmpty, passed!.heldBytes], [true, 0])
})

test('records are taken up to a number and a size, one at least', async () => {
  const [batch] = await batchesOf(await recordSet([1, 200, 200, 200].map((size) => ({ key: null, value: Buffer.alloc(size) }))))
  const out: LogRecord[] = []
  const held = batch!.heldBytes
  strictEqual(batch!.take(out, { records: 2, bytes: 1000 }), held - batch!.heldBytes)
  strictEqual(out.length, 2)
  strictEqual(batch!.take(out, { records: 3, bytes: 100 }), 0)
  const next: LogRecord[] = []
  batch!.take(next, { records: 3, bytes: 100 })
  strictEqual(next.length, 1)
  batch!.take(next, all)
  deepStrictEqual([next.length, batch!.isEmpty, batch!.heldBytes], [2, true, 0])
})

test('batches of aborted transactions, and marks, are hidden; those of others are not', async () => {
  const inTransaction = (set: Buffer, producerId: number, flags = 16): Buffer => {
    set.writeInt16BE(flags, 21)
    set.writeBigInt64BE(BigInt(producerId), 43)
    return set
  }
  const set = Buffer.concat([
    inTransaction(await batchAt(0, 2), 1),
    inTransaction(await batchAt(2, 2), 2),
    inTransaction(await batchAt(4, 1), 1, 48), // the mark
    inTransaction(await batchAt(5, 2), 1),
    await batchAt(7, 1),
  ])
  const fetched = await partitionOf(set, [{ producerId: 1, first: 0 }])
  hideAborted(fetched)
  deepStrictEqual(
    fetched.messages.map(({ offset, isControlRecord }) => [offset, isControlRecord]),
    [
      ['1', true],
      ['3', false],
      ['4', true],
      ['6', false],
      ['7', false],
    ],
  )
})

test('bytes that are no records end in an error that says so, never in records', async () => {
  const set = await batchAt(0, 3)
  set[61] = 250 // length of the first record
  const batches = await batchesOf(set)
  throws(() => taken(batches), { code: 'SIDESTREAM_LOG_CORRUPT' })
  const short = await batchAt(0, 1)
  short.writeInt32BE(20, 8)
  await rejects(batchesOf(short), { code: 'SIDESTREAM_LOG_CORRUPT' })
})
