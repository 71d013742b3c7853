/**
 * Semantic IDs as tokens of a sequence model and as text.
 * Invariant: tokens of two levels never meet. They are another thing than prefix n-grams: a token says one code, whatever comes before.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkSizes, rowsOf } from './codebooks.ts'
import { checkRow } from './prefix-ngrams.ts'

/**
 * First token of each level, and behind them the size of the vocabulary, which is the token of a missing ID: [0, K_1, K_1 + K_2, …].
 * @returns shape [levels + 1]
 */
export function levelOffsets(sizes: readonly number[]): Int32Array {
  checkSizes(sizes)
  const offsets = new Int32Array(sizes.length + 1)
  for (let level = 0; level < sizes.length; level++) offsets[level + 1] = offsets[level]! + sizes[level]!
  return offsets
}

/**
 * token = code + sum of the sizes of the levels before.
 * @param codes - row-major, shape [items, sizes.length]; as int32 a row that begins with -1 has no ID
 * @returns row-major, shape [items, sizes.length]
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function levelTokens(codes: Uint16Array | Int32Array, sizes: readonly number[]): Int32Array {
  const offsets = levelOffsets(sizes)
  const levels = sizes.length
  const items = rowsOf(codes, levels)
  const tokens = new Int32Array(items * levels)
  for (let item = 0; item < items; item++) {
    const missing = codes[item * levels]! < 0
    if (!missing) checkRow(codes, item, sizes)
    for (let level = 0; level < levels; level++) {
      tokens[item * levels + level] = missing ? offsets[levels]! : codes[item * levels + level]! + offsets[level]!
    }
  }
  return tokens
}

/**
 * Codes as text, `12-200-7`; of a prefix too. null for a missing ID.
 * @param codes - of one item
 */
export function semanticIdText(codes: ArrayLike<number>): string | null {
  return codes.length === 0 || codes[0]! < 0 ? null : Array.from(codes).join('-')
}

/**
 * The codes of a text that `semanticIdText` made.
 * @throws SIDESTREAM_SHAPE_MISMATCH when it is none, or does not fit the sizes
 */
export function parseSemanticId(text: string, sizes: readonly number[]): Uint16Array {
  const codes = /^(?:0|[1-9]\d*)(?:-(?:0|[1-9]\d*))*$/.test(text) ? text.split('-').map(Number) : []
  if (codes.length !== sizes.length) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${JSON.stringify(text)} is no semantic ID of ${sizes.length} codes, such as ${sizes.map(() => 0).join('-')}`,
    )
  }
  checkRow(codes, 0, sizes)
  return Uint16Array.from(codes)
}
