/** What files say of items: codes, labels, traffic and pairs, aligned by item. */

import { stat } from 'node:fs/promises'
import { idCell, numberCell, readColumns, readFlatCodes, SidestreamError, textCell } from '../schemas/index.ts'
import { sortedOrder } from '../semantic-ids/index.ts'
import { checkedItemsFile } from './bundle-directory.ts'

/** The items of a file, each once. */
export class DistinctItems {
  readonly #file: string
  /** Rows from 0, in the order of the file. */
  readonly #rowOf = new Map<string, number>()

  constructor(file: string) {
    this.#file = file
  }

  /** @throws SIDESTREAM_ID_INVALID for an item that stands twice */
  note(ids: readonly string[]): void {
    for (const id of ids) {
      const row = this.#rowOf.size
      const before = this.#rowOf.get(id)
      if (before !== undefined) throw twiceIn(this.#file, id, before, row)
      this.#rowOf.set(id, row)
    }
  }

  /** The batches as they are, their items noted. */
  async *noting<T extends { readonly ids: readonly string[] }>(batches: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const batch of batches) {
      this.note(batch.ids)
      yield batch
    }
  }

  ids(): string[] {
    return [...this.#rowOf.keys()]
  }
}

/** Codes of a file. */
export interface ItemCodes {
  /** Where they stand: of a bundle its table of items, unchanged as its manifest says. */
  readonly file: string
  readonly ids: readonly string[]
  /** Rows in the order of their ids. */
  readonly idOrder: Uint32Array
  /** Row-major, shape [ids.length, levels]. */
  readonly codes: Uint16Array
  readonly levels: number
}

/** Whether a path is a directory, such as that of a bundle. */
export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  )
}

/**
 * All codes of a `codes` file, or of a bundle directory.
 * @throws SIDESTREAM_ARTIFACT_MISSING and SIDESTREAM_ARTIFACT_CORRUPT as `checkedItemsFile`; SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID, SIDESTREAM_ITEMS_TOO_FEW, SIDESTREAM_ID_INVALID for an item that stands twice
 */
export async function readItemCodes(path: string, onRead?: (share: number) => void): Promise<ItemCodes> {
  const file = (await isDirectory(path)) ? await checkedItemsFile(path) : path
  const ids: string[] = []
  const parts: Uint16Array[] = []
  let levels = 0
  for await (const batch of readFlatCodes(file, onRead ? { onRead } : {})) {
    levels = batch.levels
    for (const id of batch.ids) ids.push(id)
    parts.push(batch.codes)
  }
  if (ids.length === 0) throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `${file}: holds no codes`, { file })
  const idOrder = orderOfDistinct(file, ids)
  const codes = new Uint16Array(ids.length * levels)
  let at = 0
  for (const part of parts) {
    codes.set(part, at)
    at += part.length
  }
  return { file, ids, idOrder, codes, levels }
}

/**
 * Rows in the order of their ids. A map of millions of ids costs several times as much.
 * @throws SIDESTREAM_ID_INVALID for an item that stands twice
 */
export function orderOfDistinct(file: string, ids: readonly string[]): Uint32Array {
  const order = sortedOrder(ids)
  for (let place = 1; place < order.length; place++) {
    const row = order[place - 1]!
    const again = order[place]!
    if (ids[row] === ids[again]) throw twiceIn(file, ids[row]!, row, again)
  }
  return order
}

/** @param row, again - from 0 */
export function twiceIn(file: string, id: string, row: number, again: number): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_ID_INVALID',
    `${file}: the item ${JSON.stringify(id)} stands in row ${row + 1} and again in row ${again + 1}: give each item once`,
    { file, id },
  )
}

/** A table with something about items, and its columns. */
export interface ItemTable {
  readonly file: string
  /** Column of the item (of a pair: of one and the other), then of the value. */
  readonly columns: readonly [string, string]
}

/**
 * A label per item; null for items that the table does not hold.
 * @throws SIDESTREAM_FILE_INVALID, also when it holds none of the items
 */
export async function itemLabels(table: ItemTable, rowOf: ReadonlyMap<string, number>): Promise<(string | null)[]> {
  const labels = Array.from<string | null>({ length: rowOf.size }).fill(null)
  await eachRow(table, rowOf, (row, value, place) => (labels[row] = textCell(value, place) ?? null))
  // A column of numbers with gaps comes from pandas as 186.0.
  const whole = /^(-?\d+)(?:\.0)?$/
  if (labels.every((label) => label === null || whole.test(label))) {
    for (const [row, label] of labels.entries()) if (label !== null) labels[row] = label.replace(whole, '$1')
  }
  return labels
}

/** A title per item; null for items that the table does not hold. @throws as `itemLabels` */
export async function itemTitles(table: ItemTable, rowOf: ReadonlyMap<string, number>): Promise<(string | null)[]> {
  const titles = Array.from<string | null>({ length: rowOf.size }).fill(null)
  await eachRow(table, rowOf, (row, value, place) => (titles[row] = textCell(value, place) ?? null))
  return titles
}

/** Traffic per item, 0 for items that the table does not hold; an item that stands often has the sum. @throws as `itemLabels` */
export async function itemTraffic(table: ItemTable, rowOf: ReadonlyMap<string, number>): Promise<Float64Array> {
  const traffic = new Float64Array(rowOf.size)
  await eachRow(table, rowOf, (row, value, place) => {
    const amount = numberCell(value, place)
    if (amount < 0) {
      const { file, row: line, column } = place
      throw new SidestreamError('SIDESTREAM_FILE_INVALID', `${file}: row ${line}, column ${column}: traffic is at least 0 (got ${amount})`)
    }
    traffic[row]! += amount
  })
  return traffic
}

/** Pairs of items that both have codes (or what the caller needs), as row numbers, shape [n, 2]. @throws as `itemLabels` */
export async function itemPairs(table: ItemTable, rowOf: ReadonlyMap<string, number>, need = 'codes'): Promise<Uint32Array> {
  const pairs: number[] = []
  await eachRow(
    table,
    rowOf,
    (row, value, place) => {
      const other = rowOf.get(idCell(value, place))
      if (other !== undefined && other !== row) pairs.push(row, other)
    },
    need,
  )
  return Uint32Array.from(pairs)
}

interface Place {
  readonly file: string
  readonly row: number
  readonly column: string
}

/** Calls `take` for each row whose item has codes. */
async function eachRow(
  { file, columns }: ItemTable,
  rowOf: ReadonlyMap<string, number>,
  take: (row: number, value: unknown, place: Place) => void,
  need = 'codes',
): Promise<void> {
  const [item, value] = columns
  let met = 0
  let example: string | undefined
  for await (const batch of readColumns(file, { columns: [...columns] })) {
    for (let i = 0; i < batch.rows; i++) {
      const line = batch.start + i + 1
      const id = idCell(batch.columns[item]![i], { file, row: line, column: item })
      example ??= id
      const row = rowOf.get(id)
      if (row === undefined) continue
      met++
      take(row, batch.columns[value]![i], { file, row: line, column: value })
    }
  }
  if (met > 0) return
  throw new SidestreamError(
    'SIDESTREAM_FILE_INVALID',
    `${file}: none of its items${example === undefined ? '' : ` (such as ${example})`} has ${need}: check the ids in column ${item}`,
    { file },
  )
}
