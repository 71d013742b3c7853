/**
 * Semantic IDs as sparse features: one index per prefix length (Meta's prefix n-grams, arXiv 2504.02137, Table 1), hashed to a table.
 * Invariant: exact for any sizes, also where the product of the sizes passes 2^53; a missing ID has an index of its own, never 0.
 *
 * For equal sizes K and 0-based codes c the index of a prefix is sum_t K^(i-t) (c_t + 1) - 1. In general it is the mixed-radix value of
 * the prefix plus the number of all shorter prefixes, sum_{j<i} prod_{t<=j} K_t: the same where all sizes are equal, and without overlap
 * between lengths. These are no token ids: see `level-tokens.ts`.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkSizes, rowsOf } from './codebooks.ts'

export interface PrefixNgramOptions {
  /**
   * Rows of a table, without the one for a missing ID: indices are taken modulo this. Smaller: less memory, more prefixes that share a
   * row.
   * @default none is needed: as many rows as there are prefixes
   */
  readonly tableSize?: number
  /**
   * `shared`: all lengths in one id space and one table; `per-length`: a table for each length, whose indices begin at 0.
   * @default 'shared'
   */
  readonly tables?: 'shared' | 'per-length'
  /** Prefix lengths, ascending. @default all */
  readonly lengths?: readonly number[]
}

export interface PrefixNgrams {
  /** Row-major, shape [items, lengths]. */
  readonly indices: Uint32Array
  readonly lengths: readonly number[]
  /** Per length, rows of its table without the one for a missing ID, which is the last: index `tableSizes[i]`. */
  readonly tableSizes: readonly number[]
}

/** Indices are uint32, and the largest is kept for a missing ID. */
const mostRows = 2 ** 32 - 1

/**
 * Index of every prefix of every item.
 * @param codes - row-major, shape [items, sizes.length]; as int32 a row that begins with -1 has no ID
 * @throws SIDESTREAM_SHAPE_MISMATCH for codes outside their level, SIDESTREAM_USAGE_INVALID for bad options and for more prefixes than
 *   2^32 - 1 without a `tableSize`
 */
export function prefixNgrams(codes: Uint16Array | Int32Array, sizes: readonly number[], options: PrefixNgramOptions = {}): PrefixNgrams {
  checkSizes(sizes)
  const { tables = 'shared', lengths = sizes.map((_, level) => level + 1) } = options
  checkLengths(lengths, sizes.length)
  const items = rowsOf(codes, sizes.length)
  const tableSizes = lengths.map((length) => options.tableSize ?? exactRows(sizes, tables === 'shared' ? lengths.at(-1)! : length, tables))
  for (const size of tableSizes) checkTableSize(size)
  const columns = lengths.map((length, at) => ({
    length,
    rows: tableSizes[at]!,
    // What stands before this length in the shared id space, modulo the table.
    offset: tables === 'shared' ? offsetModulo(sizes, length, tableSizes[at]!) : 0,
  }))
  const indices = new Uint32Array(items * lengths.length)
  for (let item = 0; item < items; item++) {
    const from = item * sizes.length
    const missing = codes[from]! < 0
    if (!missing) checkRow(codes, item, sizes)
    for (let at = 0; at < columns.length; at++) {
      const { length, rows, offset } = columns[at]!
      indices[item * columns.length + at] = missing ? rows : (valueModulo(codes, from, sizes, length, rows) + offset) % rows
    }
  }
  return { indices, lengths: [...lengths], tableSizes }
}

/** Mixed-radix value of a prefix modulo `rows`, by Horner's rule: every product stays below 2^32 x 2^16. */
function valueModulo(codes: ArrayLike<number>, from: number, sizes: readonly number[], length: number, rows: number): number {
  let value = 0
  for (let level = 0; level < length; level++) value = (value * sizes[level]! + codes[from + level]!) % rows
  return value
}

/** Number of shorter prefixes modulo `rows`. */
function offsetModulo(sizes: readonly number[], length: number, rows: number): number {
  let [offset, product] = [0, 1]
  for (let level = 0; level + 1 < length; level++) {
    product = (product * sizes[level]!) % rows
    offset = (offset + product) % rows
  }
  return offset
}

/** Rows of a table that needs no hashing. @throws SIDESTREAM_USAGE_INVALID */
function exactRows(sizes: readonly number[], length: number, tables: 'shared' | 'per-length'): number {
  let [all, product] = [0, 1]
  for (let level = 0; level < length; level++) {
    product *= sizes[level]!
    all += product
  }
  const rows = tables === 'shared' ? all : product
  if (rows <= mostRows) return rows
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `prefixes of length ${length} over [${sizes.join(', ')}] need more than 2^32 - 1 rows; give a tableSize, such as 50000000`,
  )
}

function checkTableSize(size: number): void {
  if (Number.isInteger(size) && size >= 1 && size <= mostRows) return
  throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a table has 1 to 2^32 - 1 rows, got ${size}`)
}

function checkLengths(lengths: readonly number[], levels: number): void {
  const fits =
    lengths.length > 0 && lengths.every((length, at) => Number.isInteger(length) && length > (lengths[at - 1] ?? 0) && length <= levels)
  if (!fits) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `prefix lengths must ascend within 1 to ${levels}, got [${lengths.join(', ')}]`)
  }
}

/** @throws SIDESTREAM_SHAPE_MISMATCH for a code outside its level */
export function checkRow(codes: ArrayLike<number>, item: number, sizes: readonly number[]): void {
  for (let level = 0; level < sizes.length; level++) {
    const code = codes[item * sizes.length + level]!
    if (code >= 0 && code < sizes[level]!) continue
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `item ${item} has code ${code} on level ${level + 1}, which holds ${sizes[level]}`,
    )
  }
}

/**
 * Index of one prefix in the shared id space, without a table: exact whatever its size.
 * @param prefix - its codes
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function prefixIndex(prefix: ArrayLike<number>, sizes: readonly number[]): bigint {
  if (prefix.length < 1 || prefix.length > sizes.length) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `a prefix has 1 to ${sizes.length} codes, got ${prefix.length}`)
  }
  checkRow(prefix, 0, sizes.slice(0, prefix.length))
  let [value, offset, product] = [0n, 0n, 1n]
  for (let level = 0; level < prefix.length; level++) {
    if (level > 0) offset += product
    value = value * BigInt(sizes[level]!) + BigInt(prefix[level]!)
    product *= BigInt(sizes[level]!)
  }
  return value + offset
}
