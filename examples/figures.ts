/** Figures of an evaluation over seeds, beside what they should be, and how they are printed. */

/** Mean and spread of one column, and whether it reaches its reference; `ok` is null without one. */
export interface Figure {
  readonly mean: number
  /** Standard deviation over seeds (n - 1); 0 for one run. */
  readonly sd: number
  readonly reference: number | null
  readonly ok: boolean | null
}

export type Figures<Column extends string> = Readonly<Record<Column, Figure>>

/**
 * Figures of some runs.
 * @param reference - one per column, in order; none when left out
 * @param tolerance - how far below its reference a column may be
 */
export function figuresOf<Column extends string>(
  columns: readonly Column[],
  runs: readonly Readonly<Record<Column, number>>[],
  { reference, tolerance }: { readonly reference?: readonly number[] | undefined; readonly tolerance: (column: Column) => number },
): Figures<Column> {
  const entries = columns.map((column, c): [Column, Figure] => {
    const { mean, sd } = spread(runs.map((run) => run[column]))
    const wanted = reference?.[c] ?? null
    return [column, { mean, sd, reference: wanted, ok: wanted === null ? null : mean >= wanted - tolerance(column) }]
  })
  return Object.fromEntries(entries) as Figures<Column>
}

export function spread(numbers: readonly number[]): { readonly mean: number; readonly sd: number } {
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length
  const square = numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0)
  return { mean, sd: numbers.length > 1 ? Math.sqrt(square / (numbers.length - 1)) : 0 }
}

/** Prints an arm: one line each of columns, figures, verdict, reference, spread. */
export function printFigures<Column extends string>(
  name: string,
  seeds: number,
  figures: Figures<Column>,
  digits: (column: Column) => number,
): void {
  console.log(`\n${name} (${seeds} ${seeds === 1 ? 'run' : 'seeds'})`)
  const columns = Object.keys(figures) as Column[]
  const line = (label: string, cell: (column: Column) => string): void =>
    console.log(`  ${label.padEnd(10)}${columns.map((column) => cell(column).padStart(13)).join('')}`)
  line('', (column) => column)
  line('ours', (column) => figures[column].mean.toFixed(digits(column)))
  if (columns.some((column) => figures[column].reference !== null)) {
    line('verdict', (column) => ({ true: 'PASS', false: 'MISS', null: '' })[`${figures[column].ok}`])
    line('reference', (column) => figures[column].reference?.toFixed(digits(column)) ?? '')
  }
  if (seeds > 1) line('sd', (column) => figures[column].sd.toFixed(digits(column) + 1))
}

/** Whether any figure stays below its reference. */
export function missed(all: readonly Figures<string>[]): boolean {
  return all.some((figures) => Object.values(figures).some(({ ok }) => ok === false))
}
