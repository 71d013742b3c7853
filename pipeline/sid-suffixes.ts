/**
 * Numbers that tell the items of one ID apart, see `withSuffix`.
 * Invariant: who keeps a published ID keeps the number that stands beside it there.
 */

import { countCell, readColumns, SidestreamError } from '../schemas/index.ts'
import { withSuffix } from '../semantic-ids/index.ts'
import type { ItemCodes } from './sid-items.ts'

/** Published codes with their numbers. */
export interface PublishedSuffixes extends Pick<ItemCodes, 'ids' | 'codes'> {
  /** Shape [ids.length]. */
  readonly suffixes: Int32Array
}

export interface Suffixes {
  /** Shape [items]. */
  readonly suffixes: Uint16Array
  /** How many items keep a published number. */
  readonly kept: number
}

/**
 * A number for each item that tells it from the others of its ID.
 * @param codes - row-major, shape [ids.length, sizes.length]
 * @param published - who has the same ID there keeps the number
 * @throws SIDESTREAM_USAGE_INVALID when two items of one ID were published with one number; SIDESTREAM_SHAPE_MISMATCH for more than
 *   65,536 items of one ID
 */
export function suffixesOf(
  ids: readonly string[],
  codes: Uint16Array,
  sizes: readonly number[],
  published: PublishedSuffixes | undefined,
): Suffixes {
  const levels = sizes.length
  const before = published && keptSuffixes(ids, codes, levels, published)
  return {
    suffixes: withSuffix(codes, sizes, ids, before).codes.filter((_, at) => at % (levels + 1) === levels),
    kept: before ? before.reduce((count, suffix) => count + (suffix < 0 ? 0 : 1), 0) : 0,
  }
}

/** Published numbers of the items, -1 for those of another ID. */
function keptSuffixes(
  ids: readonly string[],
  codes: Uint16Array,
  levels: number,
  { ids: had, codes: old, suffixes }: PublishedSuffixes,
): Int32Array {
  const rowOf = new Map(ids.map((id, row) => [id, row]))
  const kept = new Int32Array(ids.length).fill(-1)
  for (const [from, id] of had.entries()) {
    const row = rowOf.get(id)
    if (row === undefined) continue
    let level = 0
    while (level < levels && old[from * levels + level] === codes[row * levels + level]) level++
    if (level === levels) kept[row] = suffixes[from]!
  }
  return kept
}

/**
 * Numbers that stand beside published codes.
 * @returns shape [published.ids.length]; undefined where there is no column `suffix`
 * @throws SIDESTREAM_FILE_INVALID
 */
export async function readSuffixes({ file, ids }: Pick<ItemCodes, 'file' | 'ids'>): Promise<Int32Array | undefined> {
  const column = 'suffix'
  const suffixes = new Int32Array(ids.length)
  let row = 0
  for await (const { rows, columns } of readColumns(file, { columns: ['item_id'], optional: [column] })) {
    const values = columns[column]
    if (values === undefined) return undefined
    for (let i = 0; i < rows; i++, row++) {
      const value = countCell(values[i], { file, row: row + 1, column })
      if (value > mostSuffix)
        throw new SidestreamError('SIDESTREAM_FILE_INVALID', `${file}: row ${row + 1}, column ${column}: must be at most ${mostSuffix}`)
      suffixes[row] = value
    }
  }
  return suffixes
}

const mostSuffix = 65_535

/** How many numbers the fullest ID needs. */
export function suffixCount(suffixes: Uint16Array): number {
  return suffixes.reduce((most, suffix) => Math.max(most, suffix), -1) + 1
}
