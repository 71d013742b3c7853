/**
 * Columns of any tabular file, in batches of rows: the base of every file contract and of `sidestream auc`.
 * Invariant: asked-for columns are all there, or the error lists those that were found.
 */
import { SidestreamError } from '../errors.ts'
import { nearest } from '../problems.ts'
import type { EvenLists } from './even-lists.ts'
import { fileFormat, invalidFile } from './source.ts'

/** What a format gives: some rows of the chosen columns. */
export interface RawBatch {
  /** Index of the first row, from 0. */
  readonly start: number
  readonly rows: number
  /** Column name to values, each of length `rows`. */
  readonly columns: ReadonlyMap<string, readonly unknown[]>
  /** Columns of lists that were read flat. */
  readonly lists?: ReadonlyMap<string, EvenLists>
  /** Share of the file that is read once these rows are, up to 1. */
  readonly share: number
}

/** Some rows of a file. A column that was optional and is not in the file has no entry. */
export interface ColumnBatch {
  readonly file: string
  /** Index of the first row, from 0. */
  readonly start: number
  readonly rows: number
  /** Column name to values, each of length `rows`: text in CSV; numbers, bigints, text, booleans or lists in Parquet. */
  readonly columns: Readonly<Record<string, readonly unknown[]>>
  /** Columns of `evenLists` whose rows are of one length here, in place of their entry in `columns`. */
  readonly lists?: Readonly<Record<string, EvenLists>>
  /** Share of the file that is read once these rows are, up to 1. */
  readonly share: number
}

export interface ReadColumnsOptions {
  /** Columns that must be there. @default all columns of the file */
  readonly columns?: readonly string[]
  /** Columns that are read when they are there. @default [] */
  readonly optional?: readonly string[]
  /** Rows of one batch. Higher: more memory, less overhead. @default 8192 */
  readonly batchRows?: number
  /** Columns of lists that are read flat where the file allows it (Parquet, numbers, rows of one length): see `lists`. @default [] */
  readonly evenLists?: readonly string[]
  readonly signal?: AbortSignal
}

export const readColumnsDefaults = { optional: [], batchRows: 8192, evenLists: [] } as const

/**
 * Streams columns of a `.parquet`, `.csv` or `.csv.gz` file (`.tsv` too) in batches.
 * @throws SIDESTREAM_FILE_UNREADABLE when it cannot be opened
 * @throws SIDESTREAM_FILE_INVALID when it is cut or damaged, or a column is missing
 */
export async function* readColumns(file: string, options: ReadColumnsOptions = {}): AsyncGenerator<ColumnBatch, void, undefined> {
  const { columns, optional, batchRows, evenLists, signal } = { ...readColumnsDefaults, ...options }
  if (!Number.isInteger(batchRows) || batchRows < 1)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `batchRows must be a whole number of at least 1, not ${batchRows}`)
  const choose = (found: readonly string[]): readonly string[] => chooseColumns(file, found, columns, optional)
  const format = fileFormat(file)
  if (format === 'f32' || format === 'npy')
    throw invalidFile(file, 'holds vectors, not named columns; give a .parquet, .csv or .csv.gz file here')
  // What reads a format is loaded by those who have a file of it.
  const batches =
    format === 'parquet'
      ? (await import('./parquet-columns.ts')).readParquetColumns(file, choose, evenLists)
      : (await import('./csv-columns.ts')).readCsvColumns(file, choose, batchRows)
  let before = 0
  for await (const batch of batches) {
    for (let from = 0; from < batch.rows; from += batchRows) {
      signal?.throwIfAborted()
      yield part(file, batch, from, Math.min(batchRows, batch.rows - from), before)
    }
    before = batch.share
  }
}

function part(file: string, batch: RawBatch, from: number, rows: number, before: number): ColumnBatch {
  const columns: Record<string, readonly unknown[]> = Object.create(null) as Record<string, readonly unknown[]>
  for (const [name, values] of batch.columns) columns[name] = rows === batch.rows ? values : values.slice(from, from + rows)
  const lists: Record<string, EvenLists> = Object.create(null) as Record<string, EvenLists>
  for (const [name, { width, values }] of batch.lists ?? [])
    lists[name] = { width, values: values.subarray(from * width, (from + rows) * width) }
  const share = before + ((batch.share - before) * (from + rows)) / batch.rows
  return { file, start: batch.start + from, rows, columns, lists, share }
}

function chooseColumns(
  file: string,
  found: readonly string[],
  wanted: readonly string[] | undefined,
  optional: readonly string[],
): string[] {
  const repeated = found.find((name, i) => found.indexOf(name) !== i)
  if (repeated !== undefined) throw invalidFile(file, `has the column ${repeated} twice; rename one of them`, { found })
  if (wanted === undefined) return [...found]
  const missing = wanted.filter((name) => !found.includes(name))
  if (missing.length > 0) {
    const near = missing.flatMap((name) => nearest(name, found) ?? []).map((name) => `\`${name}\``)
    const other = found.length === 1 ? [';', '\t', '|'].find((mark) => found[0]!.includes(mark)) : undefined
    const hint =
      other !== undefined
        ? `; its columns stand apart by ${JSON.stringify(other)}: a .csv has commas, a .tsv tabs`
        : near.length > 0
          ? `; did you mean ${[...new Set(near)].join(', ')}?`
          : '; rename a column, or map it in a recipe'
    throw invalidFile(
      file,
      `lacks the column${missing.length > 1 ? 's' : ''} ${missing.join(', ')}; it has ${found.join(', ') || 'none'}${hint}`,
      { missing, found },
    )
  }
  return [...new Set([...wanted, ...optional.filter((name) => found.includes(name))])]
}
