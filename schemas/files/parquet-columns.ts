/**
 * Parquet, read row group by row group.
 * Invariant: no more than one row group is held; 64-bit integers come out as bigint, times as milliseconds.
 */
import { parquetMetadataAsync, parquetRead, parquetSchema } from 'hyparquet'
import type { AsyncBuffer, FileMetaData, RowGroup, SchemaTree } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import type { RawBatch } from './columns.ts'
import type { EvenLists } from './even-lists.ts'
import { mayBeEven, readEvenLists } from './parquet-lists.ts'
import { fileError, invalidFile, openRandomAccess, type RandomAccessFile } from './source.ts'

/** Times as milliseconds instead of `Date` objects. */
const parsers = {
  timestampFromMilliseconds: (millis: bigint) => Number(millis),
  timestampFromMicroseconds: (micros: bigint) => Number(micros / 1000n),
  timestampFromNanoseconds: (nanos: bigint) => Number(nanos / 1_000_000n),
  dateFromDays: (days: number) => days * 86_400_000,
}

/** Names of the top-level columns of a Parquet file, and a batch per row group of those chosen by `choose`. */
export async function* readParquetColumns(
  file: string,
  choose: (found: readonly string[]) => readonly string[],
  evenLists: readonly string[] = [],
): AsyncGenerator<RawBatch, void, undefined> {
  const source = await openRandomAccess(file)
  try {
    const metadata = await readMetadata(source)
    const schema = parquetSchema(metadata)
    const columns = choose(schema.children.map((child) => child.element.name))
    let start = 0
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows)
      const share = (start + rows) / Number(metadata.num_rows)
      if (rows > 0) {
        const lists = await readLists(source, schema, group, evenLists, rows)
        const others = columns.filter((column) => !lists.has(column))
        yield { start, rows, columns: await readGroup(source, metadata, others, start, rows), lists, share }
      }
      start += rows
    }
  } finally {
    await source.close()
  }
}

async function readMetadata(source: RandomAccessFile): Promise<FileMetaData> {
  if (source.bytes < 12) throw invalidFile(source.path, `has ${source.bytes} bytes, too few for Parquet; fetch or write it again`)
  try {
    return await parquetMetadataAsync(asyncBuffer(source))
  } catch (error) {
    throw fileError(source.path, error)
  }
}

/** Those of the columns that hold lists of one length in this row group. */
async function readLists(
  source: RandomAccessFile,
  schema: SchemaTree,
  group: RowGroup,
  columns: readonly string[],
  rows: number,
): Promise<Map<string, EvenLists>> {
  const found = new Map<string, EvenLists>()
  for (const column of columns) {
    const [chunk, ...more] = group.columns.flatMap(({ meta_data: meta }) => (meta?.path_in_schema[0] === column ? [meta] : []))
    if (chunk === undefined || more.length > 0 || !mayBeEven(schema, chunk)) continue
    try {
      const start = Number(chunk.dictionary_page_offset || chunk.data_page_offset)
      const bytes = await asyncBuffer(source).slice(start, start + Number(chunk.total_compressed_size))
      const lists = readEvenLists(bytes, schema, chunk, rows)
      if (lists !== undefined) found.set(column, lists)
    } catch (error) {
      throw fileError(source.path, error)
    }
  }
  return found
}

async function readGroup(
  source: RandomAccessFile,
  metadata: FileMetaData,
  columns: readonly string[],
  start: number,
  rows: number,
): Promise<Map<string, unknown[]>> {
  const result = new Map<string, unknown[]>(columns.map((column) => [column, Array.from({ length: rows })]))
  if (columns.length === 0) return result
  const filled = new Map<string, number>()
  try {
    await parquetRead({
      file: asyncBuffer(source),
      metadata,
      columns: [...columns],
      rowStart: start,
      rowEnd: start + rows,
      compressors,
      parsers,
      onChunk: ({ columnName, columnData, rowStart }) => {
        const target = result.get(columnName)
        if (target === undefined) return
        const at = rowStart - start
        for (let i = 0; i < columnData.length; i++) target[at + i] = columnData[i]
        filled.set(columnName, (filled.get(columnName) ?? 0) + columnData.length)
      },
    })
  } catch (error) {
    throw fileError(source.path, error)
  }
  for (const column of columns) {
    const got = filled.get(column) ?? 0
    if (got !== rows)
      throw invalidFile(
        source.path,
        `column ${column} holds ${got} of ${rows} rows in the group at row ${start + 1}; fetch or write it again`,
      )
  }
  return result
}

function asyncBuffer(source: RandomAccessFile): AsyncBuffer {
  return {
    byteLength: source.bytes,
    async slice(start, end = source.bytes) {
      const out = new Uint8Array(Math.max(0, Math.min(end, source.bytes) - start))
      await source.read(start, out)
      return out.buffer
    },
  }
}
