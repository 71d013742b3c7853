/**
 * New items whose vector is that of a published one, bit for bit: they take its published codes, so that the sticky rule, which then sees
 * the same vector and the same codes, gives both one ID.
 * Invariant: of published twins that disagree the first in the order of the rows lends its codes; published codes are left as they are.
 */

import { identicalRows } from './buckets.ts'
import { ParentCodes } from './parent-codes.ts'

/**
 * @param old - published codes, -1 in rows without, shape [rows, levels]; those of twins are written in place
 * @param vectors - row-major float32, shape [rows, dim]
 * @returns rows that were given codes, ascending
 */
export function giveTwinsCodes(old: Int32Array, levels: number, vectors: Float32Array, dim: number): Uint32Array {
  const { of, counts } = identicalRows(vectors, dim)
  const lender = new Int32Array(counts.length).fill(-1)
  const isNew = Uint8Array.from(of, (group, row) => {
    if (old[row * levels]! < 0) return 1
    if (lender[group]! < 0) lender[group] = row
    return 0
  })
  const given: number[] = []
  for (let row = 0; row < of.length; row++) {
    const from = lender[of[row]!]!
    if (isNew[row] === 0 || from < 0) continue
    old.copyWithin(row * levels, from * levels, (from + 1) * levels)
    given.push(row)
  }
  return Uint32Array.from(given)
}

/**
 * The table with some items more.
 * @param rows - those of `ids` and `old` that come in; none of them stands in the table
 * @param old - shape [ids.length, table.levels]
 */
export function withTwins(table: ParentCodes, rows: Uint32Array, ids: readonly string[], old: Int32Array): ParentCodes {
  if (rows.length === 0) return table
  const { levels } = table
  const names: string[] = []
  const codes = new Uint16Array((table.rows + rows.length) * levels)
  for (const [id, sid] of table.entries()) codes.set(sid, (names.push(id) - 1) * levels)
  for (const row of rows) codes.set(old.subarray(row * levels, (row + 1) * levels), (names.push(ids[row]!) - 1) * levels)
  return ParentCodes.of(names, codes, levels)
}
