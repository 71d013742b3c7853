/** Figures of a report on semantic IDs by name, and how they are written. */
import type { QualityReport, QualityRow, Slice } from '../semantic-ids/index.ts'
import { formatNumber } from './number-text.ts'

/** A report with its figures by name. */
export class ReportFigures {
  readonly report: QualityReport
  readonly #rows: ReadonlyMap<string, QualityRow>

  constructor(report: QualityReport) {
    this.report = report
    this.#rows = new Map(report.figures.map((row) => [row.figure, row]))
  }

  row(name: string): QualityRow | undefined {
    return this.#rows.get(name)
  }

  /** null where it was not measured or nothing stands behind it. */
  value(name: string, side: 'value' | 'shared' | 'before' | 'delta' = 'value'): number | null {
    return this.#rows.get(name)?.[side] ?? null
  }

  get hasBefore(): boolean {
    return this.report.before !== null
  }

  /** Headings of `compared`. */
  get comparedColumns(): readonly string[] {
    return this.hasBefore ? [...(this.report.shared === null ? [] : ['shared items']), 'before', 'change'] : []
  }

  /** A figure over the shared items where those are not all, before, and what changed; nothing without an assignment before. */
  compared(name: string): readonly (number | null)[] {
    if (!this.hasBefore) return []
    const shared = this.report.shared === null ? [] : [this.value(name, 'shared')]
    return [...shared, this.value(name, 'before'), this.value(name, 'delta')]
  }

  /** Numbers of the levels and of the prefix lengths, from 1. */
  get lengths(): readonly number[] {
    return this.report.cohort.sizes.map((_, level) => level + 1)
  }

  get slices(): readonly Slice[] {
    return Object.keys(this.report.after) as Slice[]
  }
}

/** A share as `12.3 %`, which stays on one line; null gives a dash. */
export function percent(share: number | null): string {
  return share === null || !Number.isFinite(share) ? '–' : `${formatNumber(100 * share, 1)}\u00a0%`
}

/** Text cut to a length that leaves tables readable. */
export function cut(text: string, most: number): string {
  const letters = Array.from(text)
  return letters.length <= most
    ? text
    : `${letters
        .slice(0, most - 1)
        .join('')
        .trimEnd()}…`
}
