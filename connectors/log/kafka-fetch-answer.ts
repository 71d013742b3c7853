/**
 * Reads a broker's answer to a fetch, versions 4 to 11, with its record batches left as bytes (`BatchRecords`).
 * Invariants: a batch cut off at the end is left out, as brokers cut at a size; what is no record batch (formats of before Kafka 0.11)
 * is left to kafkajs.
 */
import kafkajs from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import type { FetchAnswer, FetchedPartition } from './kafka-cluster.ts'
import { BatchRecords } from './kafka-fetched-records.ts'

/** Bytes before a batch's length counts, and from there to its records. */
const prefixBytes = 12
const headBytes = 49
const magicAt = 16
/** The format with record batches. */
const batchMagic = 2
const codecMask = 7

/** The answer as kafkajs has it after decoding; undefined when kafkajs is to read it itself. */
export async function readFetchAnswer(version: number, raw: Buffer): Promise<FetchAnswer | undefined> {
  if (version < 4 || version > 11) return undefined
  const reader = new Reader(raw)
  const throttleMs = reader.int32()
  const [errorCode, sessionId] = version >= 7 ? [reader.int16(), reader.int32()] : [0, 0]
  const responses: FetchAnswer['responses'][number][] = []
  for (let topics = reader.int32(); topics > 0; topics--) {
    const topicName = reader.text()
    const partitions: FetchedPartition[] = []
    for (let count = reader.int32(); count > 0; count--) {
      const partition = await readPartition(version, reader)
      if (partition === undefined) return undefined
      partitions.push(partition)
    }
    responses.push({ topicName, partitions })
  }
  // Since version 8 it is the client that waits, not the broker.
  const throttle = version >= 8 ? { throttleTime: 0, clientSideThrottleTime: throttleMs } : { throttleTime: throttleMs }
  return { ...throttle, errorCode, sessionId, responses }
}

async function readPartition(version: number, reader: Reader): Promise<FetchedPartition | undefined> {
  const partition = reader.int32()
  const errorCode = reader.int16()
  const highWatermark = reader.int64()
  const lastStableOffset = reader.int64()
  const lastStartOffset = version >= 5 ? reader.int64() : undefined
  const abortedTransactions: { producerId: string; firstOffset: string }[] = []
  for (let count = reader.int32(); count > 0; count--) abortedTransactions.push({ producerId: reader.int64(), firstOffset: reader.int64() })
  const preferredReadReplica = version >= 11 ? reader.int32() : undefined
  const messages = await readBatches(reader.bytes(reader.int32()))
  if (messages === undefined) return undefined
  return {
    partition,
    errorCode,
    highWatermark,
    lastStableOffset,
    ...(lastStartOffset === undefined ? {} : { lastStartOffset }),
    abortedTransactions,
    ...(preferredReadReplica === undefined ? {} : { preferredReadReplica }),
    messages,
  }
}

/** Whole batches; undefined when there is something else among them. */
async function readBatches(set: Buffer): Promise<BatchRecords[] | undefined> {
  const batches: BatchRecords[] = []
  for (let at = 0; at + prefixBytes + headBytes <= set.length;) {
    if (set[at + magicAt] !== batchMagic) return undefined
    const end = at + prefixBytes + set.readInt32BE(at + 8)
    if (end > set.length) break
    batches.push(await readBatch(set, at, end))
    at = end
  }
  return batches
}

async function readBatch(set: Buffer, at: number, end: number): Promise<BatchRecords> {
  if (end - at < prefixBytes + headBytes) throw corrupt(`a record batch of ${end - at} bytes is shorter than its head`)
  const attributes = set.readInt16BE(at + 21)
  const head = {
    first: set.readBigInt64BE(at),
    lastOffsetDelta: set.readInt32BE(at + 23),
    firstTs: Number(set.readBigInt64BE(at + 27)),
    maxTs: Number(set.readBigInt64BE(at + 35)),
    producerId: String(set.readBigInt64BE(at + 43)),
    count: set.readInt32BE(at + 57),
    attributes,
  }
  const records = set.subarray(at + prefixBytes + headBytes, end)
  const codec = attributes & codecMask
  return new BatchRecords(head, codec === 0 || head.count === 0 ? records : await decompressed(codec, records))
}

async function decompressed(codec: number, bytes: Buffer): Promise<Buffer> {
  const codecs = kafkajs.CompressionCodecs as Record<number, () => { decompress(bytes: Buffer): Promise<Buffer> }>
  return codecs[codec]!().decompress(bytes)
}

/** Big-endian fields, one after the other. */
class Reader {
  readonly #raw: Buffer
  #at = 0

  constructor(raw: Buffer) {
    this.#raw = raw
  }

  int16(): number {
    return this.#raw.readInt16BE((this.#at += 2) - 2)
  }

  int32(): number {
    return this.#raw.readInt32BE((this.#at += 4) - 4)
  }

  int64(): string {
    return String(this.#raw.readBigInt64BE((this.#at += 8) - 8))
  }

  text(): string {
    return this.bytes(this.int16()).toString()
  }

  /** None for a length of -1. */
  bytes(length: number): Buffer {
    const start = this.#at
    this.#at += Math.max(0, length)
    if (this.#at > this.#raw.length) throw corrupt('an answer to a fetch ends inside of a field')
    return this.#raw.subarray(start, this.#at)
  }
}

/** kafkajs does not ask again after such an error. */
function corrupt(message: string): SidestreamError {
  return Object.assign(new SidestreamError('SIDESTREAM_LOG_CORRUPT', message), { retriable: false })
}
