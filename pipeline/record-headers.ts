/**
 * Headers that sidestream itself puts on log records.
 * `ss-end`: end mark; no event of this partition comes after it. `ss-file` and `ss-row`: which row of which imported
 * file a record is, so that an import that was cut short goes on where it stopped and nothing is counted twice.
 * `ss-done`: mark behind the last row of an imported file, since compaction may remove that row.
 * `ss-retried`: which dead letter a record was.
 * `ss-owner`: the claim under which a decision in `control` was made.
 */

import type { LogHeader, LogRecord, ProducerRecord } from '../connectors/index.ts'
import type { Codec } from '../schemas/index.ts'

const endName = 'ss-end'
const fileName = 'ss-file'
const rowName = 'ss-row'
const doneName = 'ss-done'
/** Header of a record that was appended again from its dead letter, and of the mark that says so: the letter's place. */
export const retriedName = 'ss-retried'
const ownerName = 'ss-owner'
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const one = encoder.encode('1')

/**
 * The record that closes a partition: `import --end` appends one to every partition of every input topic. It has a key, which
 * compacted topics ask for, and is no tombstone, which they drop.
 */
export function endMark(): ProducerRecord {
  return { key: encoder.encode(endName), value: new Uint8Array(), headers: [[endName, one]] }
}

/** The record that stands for the last row of a file in one partition of a compacted topic. @param file - as in `importHeaders` */
export function fileMark(file: Uint8Array, row: number): ProducerRecord {
  const key = encoder.encode(`${doneName}/${decoder.decode(file)}`)
  return { key, value: new Uint8Array(), headers: [...importHeaders(file, row), [doneName, one]] }
}

/** True for records that hold nothing but a mark of ours. */
export function isMark(record: LogRecord): boolean {
  return record.headers.length > 0 && (isEndMark(record) || isFileMark(record))
}

export function isFileMark({ headers }: LogRecord): boolean {
  return headers.some(([name]) => name === doneName)
}

export function isEndMark({ headers }: LogRecord): boolean {
  return headers.some(([name]) => name === endName)
}

/** True for a record that was appended again from its dead letter. */
export function isRetried(record: LogRecord): boolean {
  return record.headers.some(([name]) => name === retriedName)
}

/** @param file - SHA-256 of the file's identity, hex; the same buffer may be shared by all rows */
export function importHeaders(file: Uint8Array, row: number): readonly LogHeader[] {
  return [
    [fileName, file],
    [rowName, encoder.encode(String(row))],
  ]
}

/** Which imported row a record is; undefined for records of live producers. */
export function importedRow(record: Pick<LogRecord, 'headers'>): { readonly file: string; readonly row: number } | undefined {
  let file: string | undefined
  let row: number | undefined
  for (const [name, value] of record.headers) {
    if (name === fileName) file = decoder.decode(value)
    else if (name === rowName) row = Number(decoder.decode(value))
  }
  return file === undefined || row === undefined ? undefined : { file, row }
}

/** The headers of whoever produced the record. */
export function withoutImportHeaders(headers: readonly LogHeader[]): readonly LogHeader[] {
  return headers.filter(([name]) => name !== fileName && name !== rowName)
}

/** The claim of the owner that decides. */
export function ownerHeader(claim: string): LogHeader {
  return [ownerName, encoder.encode(claim)]
}

/** Under which claim a decision was made; undefined in records of the first release, and in what anyone may write. */
export function ownerOf(headers: readonly LogHeader[]): string | undefined {
  const found = headers.find(([name]) => name === ownerName)
  return found === undefined ? undefined : decoder.decode(found[1])
}

/**
 * The item a tombstone deletes: its record key.
 * @throws SIDESTREAM_ID_INVALID, or what else makes the key poison
 */
export function tombstoneId({ key }: LogRecord, codec: Pick<Codec, 'decodeItemKey'>): string {
  return codec.decodeItemKey(key ?? new Uint8Array())
}
