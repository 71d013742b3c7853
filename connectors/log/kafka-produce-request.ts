/**
 * The body of a request to produce, in one buffer. kafkajs makes several objects of each record, and copies a batch eight times into
 * ever wider encoders.
 * Invariants: the bytes are those of the record format (magic 2); headers keep order and repeats.
 */
import kafkajs from 'kafkajs'
import { crc32c } from '../../compute/index.ts'
import type { BatchMessages } from './kafka-batch-messages.ts'
import { framedBytes } from './kafka-records.ts'
import { varintBytes, writeVarint } from './kafka-varint.ts'
import type { ProducerRecord } from './log.ts'

/** What kafkajs asks a broker to append. */
export interface ProduceRequest {
  readonly acks: number
  readonly timeout: number
  readonly compression: number
  readonly transactionalId?: string | null
  /** A whole number as text. */
  readonly producerId: string
  readonly producerEpoch: number
  readonly topicData: readonly {
    readonly topic: string
    readonly partitions: readonly ProducePart[]
  }[]
}

interface ProducePart {
  readonly partition: number | string
  readonly firstSequence: number
  readonly messages: BatchMessages
}

/** As kafkajs's encoders show their bytes. */
interface EncodedBytes {
  readonly buf: Buffer
  readonly buffer: Buffer
}

const transactionFlag = 16
const magic = 2
/** From a batch's start to its records. */
const batchHeadBytes = 61
/** The length of a batch counts what follows it, the checksum what follows that. */
const [countedFrom, checksumAt, checkedFrom] = [12, 17, 21]
/** Numbers and lengths of a request, of a topic, of a partition: at most. */
const fieldBytes = 16

/** @param now - time of records without one, milliseconds */
export async function encodeProduce(request: ProduceRequest, now: number): Promise<EncodedBytes> {
  const { acks, timeout, compression, transactionalId = null, topicData } = request
  let room = fieldBytes + textRoom(transactionalId)
  const packed = new Map<ProducePart, Packed>()
  for (const { topic, partitions } of topicData) {
    room += textRoom(topic) + fieldBytes
    for (const part of partitions) {
      if (compression !== 0) packed.set(part, await pack(part.messages.records, compression, now))
      room += fieldBytes + batchHeadBytes + (packed.get(part)?.bytes.length ?? recordsRoom(part.messages.records))
    }
  }
  const out = Buffer.allocUnsafeSlow(room)
  let at = writeText(out, 0, transactionalId)
  at = out.writeInt16BE(acks, at)
  at = out.writeInt32BE(timeout, at)
  at = out.writeInt32BE(topicData.length, at)
  for (const { topic, partitions } of topicData) {
    at = writeText(out, at, topic)
    at = out.writeInt32BE(partitions.length, at)
    for (const part of partitions) {
      at = out.writeInt32BE(Number(part.partition), at)
      const start = at + 4
      const end = writeBatch(out, start, request, part, packed.get(part) ?? now)
      out.writeInt32BE(end - start, at)
      at = end
    }
  }
  const buffer = out.subarray(0, at)
  return { buf: buffer, buffer }
}

/** @param content - compressed records, or the time of those without one; returns where the batch ends */
function writeBatch(out: Buffer, start: number, request: ProduceRequest, part: ProducePart, content: Packed | number): number {
  const { compression, transactionalId, producerId, producerEpoch } = request
  const { records } = part.messages
  const recordsAt = start + batchHeadBytes
  const { end, first, most } = typeof content === 'number' ? writeRecords(out, recordsAt, records, content) : content
  if (typeof content !== 'number') out.set(content.bytes, recordsAt)
  const batchEnd = typeof content === 'number' ? end : recordsAt + content.bytes.length
  let at = out.writeBigInt64BE(0n, start) // the first record's offset: for the broker to say
  at = out.writeInt32BE(batchEnd - start - countedFrom, at)
  at = out.writeInt32BE(0, at) // the leader's epoch as well
  out.writeInt8(magic, at)
  at = start + checkedFrom
  at = out.writeInt16BE(compression | (transactionalId ? transactionFlag : 0), at)
  at = out.writeInt32BE(records.length - 1, at)
  at = out.writeBigInt64BE(BigInt(first), at)
  at = out.writeBigInt64BE(BigInt(most), at)
  at = out.writeBigInt64BE(BigInt(producerId), at)
  at = out.writeInt16BE(producerEpoch, at)
  at = out.writeInt32BE(part.firstSequence, at)
  out.writeInt32BE(records.length, at)
  out.writeUInt32BE(crc32c(out, 0, start + checkedFrom, batchEnd), start + checksumAt)
  return batchEnd
}

/** Where records end, the time from which theirs are counted, and the greatest of them. */
interface Written {
  readonly end: number
  readonly first: number
  readonly most: number
}

interface Packed extends Written {
  readonly bytes: Buffer
}

async function pack(records: readonly ProducerRecord[], compression: number, now: number): Promise<Packed> {
  const plain = Buffer.allocUnsafeSlow(recordsRoom(records))
  const written = writeRecords(plain, 0, records, now)
  const codecs = kafkajs.CompressionCodecs as Record<number, () => { compress(encoder: { buffer: Buffer }): Promise<Buffer> }>
  const bytes = await codecs[compression]!().compress({ buffer: plain.subarray(0, written.end) })
  return { ...written, bytes }
}

const textRoom = (text: string | null): number => 2 + 3 * (text?.length ?? 0)

/** @returns where it ends */
function writeText(out: Buffer, at: number, text: string | null): number {
  if (text === null) return out.writeInt16BE(-1, at)
  const bytes = out.write(text, at + 2)
  out.writeInt16BE(bytes, at)
  return at + 2 + bytes
}

function recordsRoom(records: readonly ProducerRecord[]): number {
  let room = 0
  for (const record of records) room += framedBytes(record)
  return room
}

function writeRecords(out: Buffer, start: number, records: readonly ProducerRecord[], now: number): Written {
  const first = timeOf(records[0]!, now)
  let most = first
  let at = start
  for (let i = 0; i < records.length; i++) {
    const record = records[i]!
    const ts = timeOf(record, now)
    if (ts > most) most = ts
    at = writeRecord(out, at, record, ts - first, i)
  }
  return { end: at, first, most }
}

function timeOf({ timestamp }: ProducerRecord, now: number): number {
  return timestamp === undefined ? now : Math.trunc(timestamp)
}

function writeRecord(out: Buffer, start: number, { key, value, headers }: ProducerRecord, timeDelta: number, offsetDelta: number): number {
  let body =
    1 + varintBytes(timeDelta) + varintBytes(offsetDelta) + stretchBytes(key) + stretchBytes(value) + varintBytes(headers?.length ?? 0)
  if (headers !== undefined) {
    for (const [name, content] of headers) {
      const nameBytes = Buffer.byteLength(name)
      body += varintBytes(nameBytes) + nameBytes + stretchBytes(content)
    }
  }
  let at = writeVarint(out, start, body)
  out[at++] = 0 // attributes: none are given out yet
  at = writeVarint(out, at, timeDelta)
  at = writeVarint(out, at, offsetDelta)
  at = writeStretch(out, at, key)
  at = writeStretch(out, at, value)
  at = writeVarint(out, at, headers?.length ?? 0)
  if (headers === undefined) return at
  for (const [name, content] of headers) {
    at = writeVarint(out, at, Buffer.byteLength(name))
    at += out.write(name, at)
    at = writeStretch(out, at, content)
  }
  return at
}

function stretchBytes(bytes: Uint8Array | null): number {
  return bytes === null ? 1 : varintBytes(bytes.length) + bytes.length
}

function writeStretch(out: Buffer, start: number, bytes: Uint8Array | null): number {
  const at = writeVarint(out, start, bytes === null ? -1 : bytes.length)
  if (bytes === null) return at
  out.set(bytes, at)
  return at + bytes.length
}
