/** What `sid fit` and `sid refresh` have in common: what they put into a bundle directory, and how a fit tells where it stands. */

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { readColumns } from '../schemas/index.ts'
import { withSuffix } from '../semantic-ids/index.ts'
import type { FitProgress } from '../semantic-ids/index.ts'
import { itemsFile } from './bundle-directory.ts'
import type { BundleItems } from './bundle-directory.ts'

/** Rows of one row group of the table of codes. */
const groupRows = 65_536

/** Items with their codes, in batches that make a row group each. */
export function* itemBatches(ids: readonly string[], codes: Uint16Array, levels: number, suffixes?: Uint16Array): Generator<BundleItems> {
  for (let from = 0; from < ids.length; from += groupRows) {
    const to = Math.min(ids.length, from + groupRows)
    yield {
      ids: ids.slice(from, to),
      codes: codes.subarray(from * levels, to * levels),
      ...(suffixes && { suffixes: suffixes.subarray(from, to) }),
    }
  }
}

/**
 * A number for each item that tells it from the others of its ID, shape [ids.length].
 * @param before - bundle directory: who keeps an ID that has a number there keeps the number
 */
export async function suffixesOf(
  ids: readonly string[],
  codes: Uint16Array,
  sizes: readonly number[],
  before?: string,
): Promise<Uint16Array> {
  const levels = sizes.length
  const published = before === undefined ? undefined : await publishedSuffixes(before, ids, codes, levels)
  return withSuffix(codes, sizes, ids, published).codes.filter((_, at) => at % (levels + 1) === levels)
}

/** Numbers of a bundle's table, -1 for items of another ID. */
async function publishedSuffixes(directory: string, ids: readonly string[], codes: Uint16Array, levels: number): Promise<Int32Array> {
  const rowOf = new Map(ids.map((id, row) => [id, row]))
  const published = new Int32Array(ids.length).fill(-1)
  for await (const { rows, columns } of readColumns(join(directory, itemsFile), { columns: ['item_id', 'sid', 'suffix'] })) {
    for (let i = 0; i < rows; i++) {
      const row = rowOf.get(columns['item_id']![i] as string)
      if (row === undefined) continue
      const sid = columns['sid']![i] as ArrayLike<number>
      const kept = sid.length === levels && Array.from(sid).every((code, level) => code === codes[row * levels + level])
      if (kept) published[row] = columns['suffix']![i] as number
    }
  }
  return published
}

/** How many numbers the fullest ID needs. */
export function suffixCount(suffixes: Uint16Array): number {
  return suffixes.reduce((most, suffix) => Math.max(most, suffix), -1) + 1
}

/** Name of a new ID space: of the codewords that make it, and of the space that it follows, so that equal codewords make another one. */
export function spaceName(levels: readonly Float32Array[], before = ''): string {
  const hash = createHash('sha256').update(before)
  for (const words of levels) hash.update(new Uint8Array(words.buffer, words.byteOffset, words.byteLength))
  return hash.digest('hex').slice(0, 16)
}

/** Share of a fit that is done, up to 1, and where it stands in words. */
export function fitStands({ stage, level, levels, round, rounds, distortion, ended }: FitProgress): { share: number; note: string } {
  const where = { level: `level ${level + 1} of ${levels}`, joint: 'all levels', passes: 'all rows' }[stage]
  return {
    share: Math.min(1, ended ? (level + 1) / levels : (level + Math.min(1, round / rounds)) / levels),
    note: `${where}, round ${round}, distortion ${distortion.toPrecision(5)}`,
  }
}
