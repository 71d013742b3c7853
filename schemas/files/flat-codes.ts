/**
 * Codes of files of millions, without an array for each item.
 * Invariant: what is refused, and how, is that of `readCodes`.
 */
import { cellError, codesCell, idCell } from './cells.ts'
import { readColumns } from './columns.ts'
import type { ReadRecordsOptions } from './contracts.ts'
import { rowOf, type EvenLists } from './even-lists.ts'
import { invalidFile } from './source.ts'

/** Codes of some items as flat numbers. */
export interface FlatCodes {
  readonly ids: readonly string[]
  readonly levels: number
  /** Row-major, shape [ids.length, levels]. */
  readonly codes: Uint16Array
}

/** Codes are below it. */
const mostCodes = 2 ** 16

/**
 * Streams a `codes` file without an array for each item, for files of millions. All rows have as many levels as the first.
 * @throws as `readCodes`; SIDESTREAM_FILE_INVALID for a code of 65,536 and more
 */
export async function* readFlatCodes(
  file: string,
  { batchRows = 8192, onRead, signal }: Omit<ReadRecordsOptions, 'onInvalid'> = {},
): AsyncGenerator<FlatCodes, void, undefined> {
  let levels: number | undefined
  const place = { file, row: 0, column: '' }
  const wanted = { columns: ['item_id', 'sid'], evenLists: ['sid'], batchRows, ...(signal && { signal }) }
  for await (const { columns, lists, rows, start, share } of readColumns(file, wanted)) {
    const even = lists?.['sid']
    const flat = even && flatCodes(even, levels)
    levels ??= flat && even.width
    const ids: string[] = []
    let codes = flat
    for (let i = 0; i < rows; i++) {
      place.row = start + i + 1
      if (flat === undefined) {
        place.column = 'sid'
        const sid = codesCell(even === undefined ? columns['sid']![i] : rowOf(even, i), place)
        if (sid.length !== (levels ??= sid.length)) throw cellError(sid, place, `must have ${levels} levels as the rows before`)
        codes ??= new Uint16Array(rows * levels)
        for (let level = 0, at = i * levels; level < levels; level++, at++) {
          codes[at] = sid[level]!
          if (codes[at] !== sid[level]) throw invalidFile(file, `holds the code ${sid[level]}; codes are below ${mostCodes}`)
        }
      }
      place.column = 'item_id'
      ids.push(idCell(columns['item_id']![i], place))
    }
    onRead?.(share)
    if (codes !== undefined) yield { ids, levels: levels!, codes }
  }
}

/** Lists as codes; undefined where there is something to refuse. */
function flatCodes({ width, values }: EvenLists, levels: number | undefined): Uint16Array | undefined {
  if (levels !== undefined && width !== levels) return undefined
  const codes = new Uint16Array(values)
  for (let at = 0; at < codes.length; at++) if (codes[at] !== values[at]) return undefined
  return codes
}
