/**
 * Parquet, read row group by row group and written row group by row group.
 * Invariant: no more than one row group is held; 64-bit integers come out as bigint, times as milliseconds.
 */
import { parquetMetadataAsync, parquetRead, parquetSchema } from 'hyparquet'
import type { AsyncBuffer, FileMetaData, RowGroup, SchemaElement, SchemaTree } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { ByteWriter, ParquetWriter as HyparquetWriter } from 'hyparquet-writer'
import type { FileHandle } from 'node:fs/promises'
import type { RawBatch } from './columns.ts'
import { mayBeEven, readEvenLists, type EvenLists } from './parquet-lists.ts'
import { fileError, invalidFile, openRandomAccess, writeWhole, type RandomAccessFile } from './source.ts'

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

/** Type of a written column. `list<…>` takes arrays or typed arrays; `int64` in a list takes bigints. */
export type ParquetType =
  | 'string'
  | 'int32'
  | 'int64'
  | 'double'
  | 'float'
  | 'boolean'
  | 'list<float>'
  | 'list<int32>'
  | 'list<int64>'
  | 'list<string>'

/** A column to write. */
export interface ParquetColumn {
  readonly name: string
  readonly type: ParquetType
  /** Whether undefined may stand in it. @default false */
  readonly optional?: boolean
}

const leaf: Readonly<Record<string, Omit<SchemaElement, 'name'>>> = {
  string: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
  int32: { type: 'INT32' },
  int64: { type: 'INT64' },
  double: { type: 'DOUBLE' },
  float: { type: 'FLOAT' },
  boolean: { type: 'BOOLEAN' },
}

function schemaOf(columns: readonly ParquetColumn[]): SchemaElement[] {
  const root: SchemaElement = { name: 'root', num_children: columns.length }
  return [
    root,
    ...columns.flatMap(({ name, type, optional }): SchemaElement[] => {
      const repetition_type = optional === true ? 'OPTIONAL' : 'REQUIRED'
      const inner = /^list<(.*)>$/.exec(type)?.[1]
      if (inner === undefined) return [{ name, repetition_type, ...leaf[type] }]
      return [
        { name, repetition_type, converted_type: 'LIST', num_children: 1 },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'REQUIRED', ...leaf[inner] },
      ]
    }),
  ]
}

/** Rows on their way into a Parquet file. */
export interface ParquetRows {
  /** Appends columns of equal length as one row group. @throws SIDESTREAM_FILE_INVALID when lengths differ or a column is missing */
  write(columns: Readonly<Record<string, ArrayLike<unknown>>>): Promise<void>
}

/**
 * Writes a Parquet file (Snappy) row group by row group; it appears under its name only when `body` has ended well.
 * @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID, or what `body` throws
 */
export async function writeParquet<T>(
  file: string,
  columns: readonly ParquetColumn[],
  body: (rows: ParquetRows) => Promise<T>,
): Promise<T> {
  return writeWhole(file, async (handle) => {
    const writer = new FileByteWriter(handle)
    const parquet = new HyparquetWriter({ writer, schema: schemaOf(columns), createdBy: 'sidestream' })
    const result = await body({ write: (batch) => writeGroup(file, parquet, columns, batch) })
    await parquet.finish()
    return result
  })
}

async function writeGroup(
  file: string,
  parquet: HyparquetWriter,
  columns: readonly ParquetColumn[],
  batch: Readonly<Record<string, ArrayLike<unknown>>>,
): Promise<void> {
  const rows = batch[columns[0]!.name]?.length ?? 0
  for (const { name } of columns) {
    if (batch[name]?.length !== rows)
      throw invalidFile(file, `column ${name} has ${batch[name]?.length ?? 'no'} rows to write where others have ${rows}`)
  }
  if (rows === 0) return
  const columnData = columns.map(({ name, type }) => ({
    name,
    data: cellsToWrite(batch[name]!, type),
    // hardly any two float lists share values: a dictionary would be built for nothing
    ...(type === 'list<float>' ? { encoding: 'PLAIN' as const, statistics: false } : {}),
  }))
  await parquet.write({ columnData, rowGroupSize: rows })
}

function cellsToWrite(values: ArrayLike<unknown>, type: ParquetType): unknown[] {
  if (type === 'int64') return Array.from(values, (value) => (typeof value === 'number' ? BigInt(value) : value))
  if (type.startsWith('list<'))
    return Array.from(values, (value) => (ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value))
  return Array.from(values)
}

/** Collects bytes and gives them to the file after each row group. */
class FileByteWriter extends ByteWriter {
  readonly #handle: FileHandle

  constructor(handle: FileHandle) {
    super(1 << 16)
    this.#handle = handle
  }

  async flush(): Promise<void> {
    const bytes = new Uint8Array(this.buffer, 0, this.index)
    for (let done = 0; done < bytes.byteLength;) done += (await this.#handle.write(bytes, done)).bytesWritten
    this.index = 0
  }

  override async finish(): Promise<void> {
    await this.flush()
  }
}
