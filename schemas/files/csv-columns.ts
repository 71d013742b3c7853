/**
 * CSV and TSV, plain or gzipped, read as a stream. The first line names the columns.
 * Invariant: at most one batch of rows and csv-parse's buffers are held.
 */
import { parse } from 'csv-parse'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import type { SidestreamError } from '../errors.ts'
import type { RawBatch } from './columns.ts'
import { delimiterOf, fileError, fileFormat, invalidFile } from './source.ts'

/** Longest line that is taken, bytes. */
const maxLineBytes = 1 << 20

/** Batches of `batchRows` rows of the columns chosen by `choose`, as text. */
export async function* readCsvColumns(
  file: string,
  choose: (found: readonly string[]) => readonly string[],
  batchRows: number,
): AsyncGenerator<RawBatch, void, undefined> {
  const parser = parse({ bom: true, delimiter: delimiterOf(file), skip_empty_lines: true, max_record_size: maxLineBytes })
  const { size } = await stat(file).catch((error: unknown) => {
    throw fileError(file, error)
  })
  const source = createReadStream(file, { highWaterMark: 1 << 18 })
  const feeding = (
    fileFormat(file) === 'csv.gz' ? pipeline(source, createGunzip({ chunkSize: 1 << 18 }), parser) : pipeline(source, parser)
  ).catch((error: unknown) => {
    parser.destroy(error as Error)
  })
  try {
    let names: readonly string[] = []
    let at: readonly number[] = []
    let start = 0
    let rows = 0
    let columns = new Map<string, unknown[]>()
    let lists: unknown[][] = []
    let header = false
    const begin = (): void => {
      start += rows
      rows = 0
      lists = names.map(() => [])
      columns = new Map(names.map((name, i) => [name, lists[i]!]))
    }
    for await (const line of parser as AsyncIterable<readonly string[]>) {
      if (!header) {
        header = true
        const found = line.map((name) => name.trim())
        names = choose(found)
        at = names.map((name) => found.indexOf(name))
        begin()
        continue
      }
      for (let i = 0; i < at.length; i++) lists[i]!.push(line[at[i]!])
      if (++rows === batchRows) {
        yield { start, rows, columns, share: source.bytesRead / size }
        begin()
      }
    }
    if (!header) throw invalidFile(file, 'is empty; its first line must name the columns')
    if (rows > 0) yield { start, rows, columns, share: 1 }
  } catch (error) {
    throw brokenLine(file, error) ?? fileError(file, error)
  } finally {
    source.destroy()
    parser.destroy()
    await feeding
  }
}

/** Most characters of a reason: it may quote all that stands in a line. */
const longestReason = 120

/** What is wrong with one line, for errors of csv-parse; undefined for others. */
function brokenLine(file: string, error: unknown): SidestreamError | undefined {
  const { code, message, lines, records } = error as { code?: unknown; message?: unknown; lines?: unknown; records?: unknown }
  if (typeof code !== 'string' || typeof lines !== 'number') return undefined
  // The header is a record too.
  if (code === 'CSV_QUOTE_NOT_CLOSED')
    return invalidFile(
      file,
      `a quote opens in row ${String(records)} and is not closed: mend it there, or fetch the file again if it was cut`,
      {
        cause: error,
      },
    )
  const whole = String(message).replace(/( on| at) line \d+/, '')
  const what = whole.length > longestReason ? `${whole.slice(0, longestReason)}…` : whole
  return invalidFile(file, `line ${lines} is broken (${what}): mend it, or fetch the file again if it was cut there`, {
    line: lines,
    cause: error,
  })
}
