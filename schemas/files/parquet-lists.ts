/**
 * Parquet lists of one length, such as vectors and codes, as flat numbers: an array for each of millions of short rows costs several times
 * what decoding them does.
 * Invariant: gives what the general reader gives, or nothing: nulls, other lengths and other types are left to that.
 */
import type { ColumnMetaData, SchemaTree } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { parquetHeader } from 'hyparquet/src/column.js'
import { convertWithDictionary, DEFAULT_PARSERS } from 'hyparquet/src/convert.js'
import { decompressPage, readDataPage, readDataPageV2 } from 'hyparquet/src/datapage.js'
import { readPlain } from 'hyparquet/src/plain.js'
import { getTreePath } from 'hyparquet/src/schema.js'
import type { EvenLists } from './even-lists.ts'

type Decoder = Parameters<typeof readDataPage>[2]

const arrays = { INT32: Int32Array, FLOAT: Float32Array, DOUBLE: Float64Array } as const

/** Whether a column chunk may hold such lists: of plain numbers, one list deep. */
export function mayBeEven(schema: SchemaTree, { path_in_schema: path }: ColumnMetaData): boolean {
  const [, list, repeated, { element, children } = { element: undefined, children: [] }, ...deeper] = getTreePath(schema, path)
  if (element === undefined || children.length > 0 || deeper.length > 0) return false
  const isList = list!.element.converted_type === 'LIST' && repeated!.element.repetition_type === 'REPEATED'
  const isNumber = element.type !== undefined && element.type in arrays
  const meaning = element.converted_type ?? element.logical_type?.type ?? 'plain'
  return isList && isNumber && /^(plain|U?INT_(8|16)|INT_32)$/.test(meaning)
}

/**
 * Decodes a column chunk for which `mayBeEven` holds.
 * @param bytes - the chunk, from its first page on
 * @returns undefined where rows differ in length or lack a number
 */
export function readEvenLists(bytes: ArrayBuffer, schema: SchemaTree, chunk: ColumnMetaData, rows: number): EvenLists | undefined {
  const schemaPath = getTreePath(schema, chunk.path_in_schema)
  const { element } = schemaPath.at(-1)!
  const decoder: Decoder = { ...chunk, pathInSchema: chunk.path_in_schema, element, schemaPath, parsers: DEFAULT_PARSERS, compressors }
  const numbers = Number(chunk.num_values)
  const width = numbers / rows
  if (!Number.isInteger(width) || width < 1) return undefined
  const values = new arrays[chunk.type as keyof typeof arrays](numbers)
  const reader = { view: new DataView(bytes), offset: 0 }
  let dictionary: ReturnType<typeof readPlain> | undefined
  let filled = 0
  // Place of the next number in its row.
  let column = 0
  while (filled < numbers && reader.offset < bytes.byteLength) {
    const header = parquetHeader(reader)
    const page = new Uint8Array(bytes, reader.offset, header.compressed_page_size)
    reader.offset += header.compressed_page_size
    const whole = (): Uint8Array => decompressPage(page, Number(header.uncompressed_page_size), chunk.codec, compressors)
    if (header.dictionary_page_header !== undefined) {
      const plain = whole()
      const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength)
      dictionary = readPlain({ view, offset: 0 }, chunk.type, header.dictionary_page_header.num_values, element.type_length)
      continue
    }
    const about = header.data_page_header ?? header.data_page_header_v2
    if (about === undefined) continue
    const { repetitionLevels, dataPage } =
      header.data_page_header === undefined
        ? readDataPageV2(page, header, decoder)
        : readDataPage(whole(), header.data_page_header, decoder)
    if (dataPage.length !== about.num_values || filled + dataPage.length > numbers) return undefined
    for (const level of repetitionLevels) {
      if ((level === 0) !== (column === 0)) return undefined
      column = column + 1 === width ? 0 : column + 1
    }
    values.set(convertWithDictionary(dataPage, dictionary, about.encoding, decoder) as ArrayLike<number>, filled)
    filled += dataPage.length
  }
  return filled === numbers ? { width, values } : undefined
}
