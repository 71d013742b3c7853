/**
 * One cell of a file, whatever the format gave, to the value a record holds.
 * Invariant: a refusal names file, row, column, what stood there and what is wanted. Rows count from 1, without a header.
 */
import type { SidestreamError } from '../errors.ts'
import { limits } from '../limits.ts'
import { invalidFile } from './source.ts'

/** Where a cell stands, for messages. `row` counts from 1. */
export interface CellPlace {
  readonly file: string
  readonly row: number
  readonly column: string
}

/** Unit of a column of times. */
export type TimeUnit = 's' | 'ms' | 'us'

const unitMs: Readonly<Record<TimeUnit, number>> = { s: 1000, ms: 1, us: 0.001 }
const lastTs = 253_402_300_799_999
const isoTime = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/

/** True for what formats give when there is no value. */
export function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === ''
}

/** An id: text as it stands, or a whole number as decimal text; 1 to 512 bytes. 64-bit integers keep every digit. */
export function idCell(value: unknown, place: CellPlace): string {
  let id: string
  if (typeof value === 'string') id = value
  else if (typeof value === 'bigint') id = value.toString()
  else if (typeof value === 'number' && Number.isSafeInteger(value)) id = String(value)
  else throw cellError(value, place, isAbsent(value) ? 'an id is required' : 'an id must be text or a whole number')
  if (id === '') throw cellError(value, place, 'an id must not be empty')
  if (id.length * 3 > limits.idBytes && Buffer.byteLength(id) > limits.idBytes) {
    throw cellError(value, place, `an id must have at most ${limits.idBytes} bytes, this one has ${Buffer.byteLength(id)}`)
  }
  return id
}

/** A time as whole milliseconds since the epoch; numbers in `unit`, or ISO text with its zone. */
export function timeCell(value: unknown, place: CellPlace, unit: TimeUnit = 'ms'): number {
  if (typeof value === 'string' && isoTime.test(value)) return Date.parse(value)
  const ts = Math.floor(numberCell(value, place) * unitMs[unit])
  if (ts < 0 || ts > lastTs) {
    throw cellError(
      value,
      place,
      `a time must be ${unit === 's' ? 'seconds' : unit === 'ms' ? 'milliseconds' : 'microseconds'} since 1970 and before the year 10000`,
    )
  }
  return ts
}

/** A finite number. */
export function numberCell(value: unknown, place: CellPlace): number {
  const number =
    typeof value === 'number'
      ? value
      : typeof value === 'bigint' || (typeof value === 'string' && value.trim() !== '')
        ? Number(value)
        : NaN
  if (!Number.isFinite(number)) throw cellError(value, place, isAbsent(value) ? 'a number is required' : 'must be a finite number')
  return number
}

/** A whole number of at least 0. */
export function countCell(value: unknown, place: CellPlace): number {
  const number = numberCell(value, place)
  if (!Number.isSafeInteger(number) || number < 0) throw cellError(value, place, 'must be a whole number of at least 0')
  return number
}

/** A short text, or undefined when absent. */
export function textCell(value: unknown, place: CellPlace, maxBytes: number = limits.textBytes): string | undefined {
  if (isAbsent(value)) return undefined
  const text =
    typeof value === 'string'
      ? value
      : typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean'
        ? String(value)
        : undefined
  if (text === undefined) throw cellError(value, place, 'must be text')
  if (Buffer.byteLength(text) > maxBytes) throw cellError(value, place, `must have at most ${maxBytes} bytes`)
  return text
}

/** A list of short texts: a list column, or one text with `separator` between entries. Absent: an empty list. */
export function listCell(value: unknown, place: CellPlace, maxEntries: number, separator = '|'): string[] {
  if (isAbsent(value)) return []
  const entries: readonly unknown[] = Array.isArray(value) ? (value as unknown[]) : String(value).split(separator)
  if (entries.length > maxEntries) throw cellError(value, place, `must have at most ${maxEntries} entries, this one has ${entries.length}`)
  const texts: string[] = []
  for (const entry of entries) {
    const text = textCell(typeof entry === 'string' ? entry.trim() : entry, place)
    if (text !== undefined && !texts.includes(text)) texts.push(text)
  }
  return texts
}

/** A list of whole numbers of at least 0, such as the codes of a semantic ID. */
export function codesCell(value: unknown, place: CellPlace): number[] {
  if (Array.isArray(value) && value.length > 0 && value.every(isCount)) return value
  const entries: readonly unknown[] = isList(value) ? Array.from(value) : typeof value === 'string' ? splitNumbers(value) : []
  if (entries.length === 0) throw cellError(value, place, 'a list of codes is required')
  return entries.map((entry) => countCell(entry, place))
}

/**
 * A vector of finite numbers: a list column, or text such as `0.1|0.2`, `0.1 0.2` or `[0.1, 0.2]`. Absent: undefined.
 * @param dim - wanted dimension; undefined takes any
 * @param largest - size of a number that is taken
 */
export function vectorCell(value: unknown, place: CellPlace, dim?: number, largest = Infinity): Float32Array | undefined {
  if (isAbsent(value)) return undefined
  const entries: ArrayLike<unknown> | undefined = isList(value) ? value : typeof value === 'string' ? splitNumbers(value) : undefined
  if (entries === undefined) throw cellError(value, place, 'must be a list of numbers')
  if (dim !== undefined && entries.length !== dim)
    throw cellError(value, place, `must have ${dim} dimensions, this one has ${entries.length}`)
  if (entries.length === 0 || entries.length > limits.dim)
    throw cellError(value, place, `must have 1 to ${limits.dim} dimensions, this one has ${entries.length}`)
  const vector = new Float32Array(entries.length)
  for (let i = 0; i < vector.length; i++) {
    const entry = entries[i]
    const number =
      typeof entry === 'number' ? entry : typeof entry === 'bigint' || (typeof entry === 'string' && entry !== '') ? Number(entry) : NaN
    vector[i] = number
    if (!Number.isFinite(vector[i]!)) throw cellError(entry, place, `must hold finite float32 numbers; dimension ${i + 1} does not`)
    if (Math.abs(vector[i]!) > largest)
      throw cellError(entry, place, `must hold numbers of at most ${largest} in size; dimension ${i + 1} is larger: scale the vectors`)
  }
  return vector
}

/** True or false: booleans, 0 and 1, or the words. Absent: false. */
export function flagCell(value: unknown, place: CellPlace): boolean {
  if (isAbsent(value)) return false
  if (typeof value === 'boolean') return value
  const text = String(value).toLowerCase()
  if (text === '1' || text === 'true' || text === 't') return true
  if (text === '0' || text === 'false' || text === 'f') return false
  throw cellError(value, place, 'must be true or false')
}

/** SIDESTREAM_FILE_INVALID that names the cell. */
export function cellError(value: unknown, { file, row, column }: CellPlace, problem: string): SidestreamError {
  // JSON would make null of NaN and infinity.
  const text =
    typeof value === 'bigint' || typeof value === 'number'
      ? String(value)
      : value === undefined
        ? 'nothing'
        : (JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner)) ?? String(value))
  return invalidFile(file, `row ${row}, column ${column}: ${problem} (got ${text.length > 60 ? `${text.slice(0, 57)}…` : text})`, {
    row,
    column,
  })
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))
}

function splitNumbers(text: string): string[] {
  const inner = text.trim().replace(/^\[/, '').replace(/\]$/, '').trim()
  return inner === '' ? [] : inner.split(/\s*[|,;]\s*|\s+/)
}
