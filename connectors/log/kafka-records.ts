/**
 * Records as kafkajs has them and as the port has them.
 * Invariant: headers keep order and repeats, which kafkajs's own objects of headers would lose; bytes are not copied.
 */
import type { IHeaders, KafkaMessage, Message } from 'kafkajs'
import type { LogHeader, LogRecord, ProducerRecord } from './log.ts'

/** What a record takes in a batch besides key, value and headers; an upper bound. */
const recordOverheadBytes = 36
/** The same for a header: two lengths. */
const headerOverheadBytes = 10

/** Bytes of key, value and headers, as the limit for one record counts them. */
export function recordBytes({ key, value, headers }: Pick<ProducerRecord, 'key' | 'value' | 'headers'>): number {
  let bytes = (key === null ? 0 : key.length) + (value === null ? 0 : value.length)
  if (headers !== undefined) for (const [name, content] of headers) bytes += Buffer.byteLength(name) + content.length
  return bytes
}

/** Bytes of a record in an uncompressed batch, at most. */
export function framedBytes(record: ProducerRecord): number {
  return recordBytes(record) + recordOverheadBytes + (record.headers?.length ?? 0) * headerOverheadBytes
}

export function toMessage({ key, value, headers, timestamp }: ProducerRecord, partition: number): Message {
  const message: Message = { key: asBuffer(key), value: asBuffer(value), partition }
  if (timestamp !== undefined) message.timestamp = String(Math.trunc(timestamp))
  if (headers !== undefined && headers.length > 0) message.headers = toHeaders(headers)
  return message
}

/** kafkajs writes Buffers; anything else it would turn into text. */
function asBuffer<T extends Uint8Array | null>(bytes: T): Buffer | (T & null) {
  if (bytes === null || Buffer.isBuffer(bytes)) return bytes as Buffer | (T & null)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * kafkajs takes headers as an object, in which a repeated name is an array that it maps to pairs. This array answers that with
 * all the pairs of the record, in their order.
 */
class OrderedHeaders extends Array<Buffer> {
  readonly #pairs: readonly { key: string; value: Buffer }[]

  constructor(headers: readonly LogHeader[]) {
    super()
    this.#pairs = headers.map(([key, value]) => ({ key, value: asBuffer(value) }))
  }

  override map<U>(): U[] {
    return this.#pairs as unknown as U[]
  }
}

function toHeaders(headers: readonly LogHeader[]): IHeaders {
  if (headers.length === 1) return { [headers[0]![0]]: asBuffer(headers[0]![1]) }
  return { all: new OrderedHeaders(headers) }
}

const none: readonly LogHeader[] = []
const nothing = Buffer.alloc(0)

export function toRecord({ key, value, headers, timestamp, offset }: KafkaMessage): LogRecord {
  return { key, value, headers: headers === undefined ? none : toPairs(headers), timestamp: Number(timestamp), offset: BigInt(offset) }
}

/** Bytes that a fetched record holds. */
export function heldBytes({ key, value, headers }: KafkaMessage): number {
  let bytes = (key === null ? 0 : key.length) + (value === null ? 0 : value.length)
  if (headers !== undefined) for (const name in headers) for (const one of [headers[name]].flat()) bytes += name.length + (one?.length ?? 0)
  return bytes
}

/** kafkajs groups by name; the values are views into one block, and where they stand tells their order. */
function toPairs(headers: IHeaders): readonly LogHeader[] {
  const names = Object.keys(headers)
  if (names.length === 0) return none
  if (names.length === 1 && !Array.isArray(headers[names[0]!])) return [[names[0]!, (headers[names[0]!] as Buffer | null) ?? nothing]]
  const pairs: { readonly pair: LogHeader; readonly at: number }[] = []
  for (const name of names) {
    let at = -1
    for (const value of [headers[name]].flat()) {
      const bytes: unknown = value // names such as `toString` bring along what every object has
      if (bytes instanceof Uint8Array) at = bytes.byteOffset
      else if (bytes !== null) continue
      pairs.push({ pair: [name, bytes ?? nothing], at })
    }
  }
  return pairs.sort((a, b) => a.at - b.at).map(({ pair }) => pair)
}
