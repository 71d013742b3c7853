/** What records take in Kafka, before they are encoded. */
import type { ProducerRecord } from './log.ts'

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
