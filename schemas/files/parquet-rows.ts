/**
 * Parquet, written row group by row group.
 * Invariant: no more than one row group is held.
 */
import type { SchemaElement } from 'hyparquet'
import type { ParquetWriter } from 'hyparquet-writer'
import { invalidFile, writeWhole } from './source.ts'

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
    const { openParquetFile } = await import('./parquet-file.ts') // loaded by those who write one
    const parquet = openParquetFile(handle, schemaOf(columns))
    const result = await body({ write: (batch) => writeGroup(file, parquet, columns, batch) })
    await parquet.finish()
    return result
  })
}

async function writeGroup(
  file: string,
  parquet: ParquetWriter,
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
