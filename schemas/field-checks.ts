/**
 * Checks of single fields, the same on encode and on decode. Every check throws a poison error that names the field, what
 * was found and what is allowed. Invariant: a value that passes fits `limits.ts`.
 */
import { SidestreamError } from './errors.ts'
import { limits } from './limits.ts'

/** String.prototype.isWellFormed is in Node 20, but not yet in the es2023 typings. */
interface WellFormed {
  isWellFormed(): boolean
}

/** UTF-8 cannot hold lone surrogates, and a broken sequence reads as U+FFFD: two different ids could become one. */
function isSoundText(text: string): boolean {
  return (text as unknown as WellFormed).isWellFormed() && !text.includes('\ufffd')
}

/** Length in UTF-8 is at most three bytes per code unit, so short texts need no counting. */
function isLongerThan(text: string, bytes: number): boolean {
  return text.length * 3 > bytes && (text.length > bytes || Buffer.byteLength(text, 'utf8') > bytes)
}

/** An id: 1 to 512 bytes of UTF-8. */
export function checkId(field: string, value: unknown): string {
  if (typeof value !== 'string')
    throw invalidId(field, value === null || value === undefined ? 'is missing' : `is a ${typeof value}, not a string`)
  if (value.length === 0) throw invalidId(field, 'is empty')
  if (isLongerThan(value, limits.idBytes)) {
    throw invalidId(field, `has ${Buffer.byteLength(value, 'utf8')} bytes of UTF-8, at most ${limits.idBytes} are allowed`)
  }
  if (!isSoundText(value)) throw invalidId(field, 'is not sound UTF-8')
  return value
}

/** The error of an id that is missing, empty, too long or not text. */
export function invalidId(field: string, what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_ID_INVALID', `${field} ${what}`, { field })
}

/** A text of at most `bytes` bytes of UTF-8; empty only when `allowEmpty`. */
export function checkText(field: string, value: unknown, bytes: number = limits.textBytes, allowEmpty = false): string {
  if (typeof value !== 'string') throw invalid(field, `is ${describe(value)}, not a string`)
  if (value.length === 0 && !allowEmpty) throw invalid(field, 'is empty')
  if (isLongerThan(value, bytes))
    throw invalid(field, `has ${Buffer.byteLength(value, 'utf8')} bytes of UTF-8, at most ${bytes} are allowed`)
  if (!isSoundText(value)) throw invalid(field, 'is not sound UTF-8')
  return value
}

/** A time in milliseconds since epoch: a whole number from 0 to the end of the year 9999. */
export function checkTs(field: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= limits.eventTs) return value
  const hint = typeof value === 'number' && value > limits.eventTs ? ' (are these microseconds?)' : ''
  throw invalid(field, `is ${describe(value)}; a time is a whole number of milliseconds since epoch, 0 to ${limits.eventTs}${hint}`)
}

/** avsc keeps one unit away from what a double holds exactly, and on the negative side, where zigzag is odd, one bit. */
const largestInteger = Number.MAX_SAFE_INTEGER - 1

/** The least whole number that every field can hold. */
export const leastInteger: number = -(2 ** 52)

/** A whole number that Avro and a double hold exactly, at least `least`. */
export function checkInteger(field: string, value: unknown, least: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= largestInteger) return value
  throw invalid(field, `is ${describe(value)}; a whole number from ${least} to ${largestInteger} is needed`)
}

/** A 32-bit count or index from 0. */
export function checkInt32(field: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0x7fffffff) return value
  throw invalid(field, `is ${describe(value)}; a whole number from 0 to 2147483647 is needed`)
}

/** A finite number of at least `least`. */
export function checkFinite(field: string, value: unknown, least: number = -Infinity): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= least) return value
  throw invalid(field, `is ${describe(value)}; a finite number${least === -Infinity ? '' : ` of at least ${least}`} is needed`)
}

/** An offset: a bigint from 0 to 2^63 - 1. */
export function checkOffset(field: string, value: unknown): bigint {
  if (typeof value === 'bigint' && value >= 0n && value < 1n << 63n) return value
  throw invalid(field, `is ${describe(value)}; an offset is a bigint from 0 to 9223372036854775807`)
}

/** A list of at most `most` entries. */
export function checkList(field: string, value: unknown, most: number): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(field, `is ${describe(value)}, not a list`)
  if (value.length > most) throw invalid(field, `has ${value.length} entries, at most ${most} are allowed`)
  return value as unknown[]
}

/** Bytes of any content; size is bounded by the record. */
export function checkBytes(field: string, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw invalid(field, `is ${describe(value)}, not bytes`)
}

/**
 * The dimension of a vector.
 * @param expected - the configured dimension; undefined accepts 1 to 8192
 */
export function checkDim(field: string, dim: number, expected: number | undefined): void {
  if (expected !== undefined ? dim === expected : dim > 0 && dim <= limits.dim) return
  const wanted = expected === undefined ? `1 to ${limits.dim}` : String(expected)
  throw new SidestreamError('SIDESTREAM_VECTOR_DIM_MISMATCH', `${field} has dimension ${dim}, expected ${wanted}`, {
    field,
    got: dim,
    expected: wanted,
  })
}

/** Every number of `vector` from `start` to `end` is finite, and small enough that sums of squares are so in float32. */
export function checkVectorFinite(field: string, vector: Float32Array, start: number, end: number): void {
  for (let i = start; i < end; i++) {
    const value = vector[i]!
    if (!(Math.abs(value) <= limits.vectorNumber)) {
      throw new SidestreamError(
        'SIDESTREAM_VECTOR_NOT_FINITE',
        `${field} holds ${value} at position ${i - start}; every number of a vector must be finite and at most ${limits.vectorNumber} in size`,
        {
          field,
          position: i - start,
        },
      )
    }
  }
}

/** The error of a field that breaks a limit. */
export function invalid(field: string, what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_RECORD_INVALID', `${field} ${what}`, { field })
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'missing'
  if (typeof value === 'string') return 'a string'
  return typeof value === 'object' ? 'an object' : `${String(value)}`
}
