/**
 * Metrics of score columns of a file: what `sidestream auc` prints.
 * Invariant: every row counts for every score column; a cell that cannot be scored is an error that names it, never a drop.
 */
import { numberCell, SidestreamError } from '../schemas/index.ts'
import type { ColumnBatch } from '../schemas/index.ts'
import { exactAuc, logLoss } from './auc.ts'

/** Which columns hold what. */
export interface ScoreColumns {
  /** Column of labels: 0 or 1, true or false. */
  readonly label: string
  /** Columns of scores; higher means more likely positive. */
  readonly scores: readonly string[]
  /** Column of users; their number is reported. */
  readonly group?: string
  /** Column of items; their number is reported. */
  readonly item?: string
}

/** Metrics of one score column. */
export interface ScoreMetrics {
  readonly score: string
  /** null when a class is missing. */
  readonly auc: number | null
  readonly aucReason?: string
  /** (positive, negative) pairs with equal scores; they count half. */
  readonly tiedPairs: number
  /** Nats; null when the scores are no probabilities. */
  readonly logLoss: number | null
  readonly logLossReason?: string
  /** Rows whose probability was moved into [1e-15, 1 - 1e-15]. */
  readonly clippedRows: number
}

/** Metrics of all score columns over the same rows. */
export interface AucReport {
  readonly rows: number
  readonly positives: number
  /** Distinct values of the group column, when one was named. */
  readonly groups?: number
  /** Distinct values of the item column, when one was named. */
  readonly items?: number
  readonly arms: readonly ScoreMetrics[]
}

/**
 * Reads all batches and computes the metrics of every score column.
 * @param batches - as `readColumns` of schemas streams them; numbers, booleans, bigints or text
 * @throws SIDESTREAM_USAGE_INVALID when no score column is named
 * @throws SIDESTREAM_FILE_INVALID when a cell is no label or no score; names file, row and column
 */
export async function aucReport(batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>, columns: ScoreColumns): Promise<AucReport> {
  if (columns.scores.length === 0) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'name at least one score column')
  const labels = new GrowingColumn()
  const scores = columns.scores.map(() => new GrowingColumn())
  const groups = new Set<unknown>()
  const items = new Set<unknown>()
  for await (const batch of batches) {
    appendCells(labels, batch, columns.label, labelCell)
    columns.scores.forEach((score, arm) => appendCells(scores[arm]!, batch, score, scoreCell))
    if (columns.group !== undefined) for (const value of cellsOf(batch, columns.group)) groups.add(value)
    if (columns.item !== undefined) for (const value of cellsOf(batch, columns.item)) items.add(value)
  }
  const truth = Uint8Array.from(labels.values())
  const arms = columns.scores.map((score, arm) => scoreMetrics(score, scores[arm]!.values(), truth))
  return {
    rows: truth.length,
    positives: truth.reduce((sum, label) => sum + label, 0),
    ...(columns.group !== undefined && { groups: groups.size }),
    ...(columns.item !== undefined && { items: items.size }),
    arms,
  }
}

function scoreMetrics(score: string, values: Float64Array, labels: Uint8Array): ScoreMetrics {
  const ranked = exactAuc(values, labels)
  const loss = logLoss(values, labels)
  return {
    score,
    auc: ranked.auc,
    ...(ranked.reason !== undefined && { aucReason: ranked.reason }),
    tiedPairs: ranked.tiedPairs,
    logLoss: loss.logLoss,
    ...(loss.reason !== undefined && { logLossReason: loss.reason }),
    clippedRows: loss.clippedRows,
  }
}

type CellReader = (value: unknown, batch: ColumnBatch, row: number, column: string) => number

function appendCells(to: GrowingColumn, batch: ColumnBatch, column: string, read: CellReader): void {
  const cells = cellsOf(batch, column)
  to.reserve(batch.rows)
  for (let i = 0; i < batch.rows; i++) to.push(read(cells[i], batch, i, column))
}

function cellsOf(batch: ColumnBatch, column: string): readonly unknown[] {
  const cells = batch.columns[column]
  if (cells === undefined) {
    throw new SidestreamError('SIDESTREAM_FILE_INVALID', `${batch.file}: there is no column ${column}`, { file: batch.file, column })
  }
  return cells
}

function scoreCell(value: unknown, { file, start }: ColumnBatch, row: number, column: string): number {
  if (typeof value === 'number' && !Number.isNaN(value)) return value
  return numberCell(value, { file, row: start + row + 1, column })
}

function labelCell(value: unknown, batch: ColumnBatch, row: number, column: string): number {
  if (value === 0 || value === 1) return value
  if (typeof value === 'boolean') return value ? 1 : 0
  const text = String(value).trim().toLowerCase()
  if (text === 'true') return 1
  if (text === 'false') return 0
  const label = scoreCell(value, batch, row, column)
  if (label === 0 || label === 1) return label
  const at = `${batch.file}: row ${batch.start + row + 1}, column ${column}`
  throw new SidestreamError('SIDESTREAM_FILE_INVALID', `${at}: a label must be 0 or 1 (got ${text})`, { file: batch.file, column })
}

/** A float64 column of unknown length. */
class GrowingColumn {
  #values = new Float64Array(1024)
  #length = 0

  reserve(more: number): void {
    if (this.#length + more <= this.#values.length) return
    const grown = new Float64Array(Math.max(this.#values.length * 2, this.#length + more))
    grown.set(this.#values.subarray(0, this.#length))
    this.#values = grown
  }

  /** Room must have been reserved. */
  push(value: number): void {
    this.#values[this.#length++] = value
  }

  values(): Float64Array {
    return this.#values.subarray(0, this.#length)
  }
}
