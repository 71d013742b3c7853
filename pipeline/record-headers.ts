/**
 * Headers that sidestream itself puts on log records.
 * `ss-end`: end mark; no event of this partition comes after it. `ss-file` and `ss-row`: which row of which imported
 * file a record is, so that an import that was cut short goes on where it stopped and nothing is counted twice.
 */

import type { LogHeader, LogRecord, ProducerRecord } from '../connectors/index.ts'
import { limits, SidestreamError } from '../schemas/index.ts'

const endName = 'ss-end'
const fileName = 'ss-file'
const rowName = 'ss-row'
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const one = encoder.encode('1')

/** The record that closes a partition: `import --end` appends one to every partition of every input topic. */
export function endMark(): ProducerRecord {
  return { key: null, value: null, headers: [[endName, one]] }
}

export function isEndMark(record: LogRecord): boolean {
  return record.key === null && record.value === null && record.headers.some(([name]) => name === endName)
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

const strict = new TextDecoder('utf-8', { fatal: true })

/**
 * The item a tombstone deletes: its record key.
 * @throws SIDESTREAM_ID_INVALID (poison)
 */
export function tombstoneId(record: LogRecord): string {
  const bytes = record.key?.length ?? 0
  if (bytes === 0 || bytes > limits.idBytes) {
    throw new SidestreamError(
      'SIDESTREAM_ID_INVALID',
      `a tombstone's key must be an id of 1 to ${limits.idBytes} bytes, this one has ${bytes}`,
    )
  }
  try {
    return strict.decode(record.key!)
  } catch (cause) {
    throw new SidestreamError('SIDESTREAM_ID_INVALID', `a tombstone's key must be UTF-8 text`, { cause })
  }
}
