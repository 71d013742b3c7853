/**
 * The gate: thresholds that somebody sets on any figure of a judgment, beside the clauses of the guard.
 * Invariant: every threshold gives one row, passed or not, as plain JSON; a figure without enough behind it fails nothing.
 */
import { contentFigures, SidestreamError, spaceFigures, windowFigures } from '../schemas/index.ts'
import type { ContentFigure, SpaceFigure, WindowFigure } from '../schemas/index.ts'

export type JudgedFigure = WindowFigure | ContentFigure | SpaceFigure

/** Thresholds on one figure; each that is given (not null) must hold. */
export interface GateRule {
  /** Least value. */
  readonly min?: number | null
  /** Largest value, for figures of which less is better. */
  readonly max?: number | null
  /** How far the figure may lie below its reference. */
  readonly maxLoss?: number | null
  /**
   * What `maxLoss` is held against. Before a version is live `live` means the raw vectors.
   * @default 'live' for warm items, else 'raw', as in the guard
   */
  readonly against?: 'raw' | 'live' | null
}

export type GateRules = Readonly<Partial<Record<JudgedFigure, GateRule | undefined>>>

export interface GateRow {
  readonly figure: JudgedFigure
  readonly rule: 'min' | 'max' | 'maxLoss'
  /** The threshold, as it was set. */
  readonly bound: number
  readonly candidate: number | null
  /** Both null unless the rule is `maxLoss`. */
  readonly against: 'raw' | 'live' | null
  readonly reference: number | null
  /** Events, queries or items behind the figure. */
  readonly events: number
  readonly verdict: 'pass' | 'fail' | 'insufficient'
}

/** Figures of one vector set by name; null or absent where there is none. */
export type FigureSet = Readonly<Partial<Record<JudgedFigure, number | null>>>

export interface GateInput {
  readonly candidate: FigureSet
  readonly raw: FigureSet
  readonly live: FigureSet | null
  /** What stands behind each figure. */
  readonly events: (figure: JudgedFigure) => number
}

const known: ReadonlySet<string> = new Set<string>([...windowFigures, ...contentFigures, ...spaceFigures])

/**
 * One row per threshold, in the order given.
 * @param minEvents - a figure with less behind it is `insufficient`
 * @throws SIDESTREAM_USAGE_INVALID when there is no figure of a name
 */
export function gate(rules: GateRules, input: GateInput, minEvents: number): GateRow[] {
  return Object.entries(rules).flatMap(([name, rule]) => {
    if (!known.has(name)) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `no figure is called ${name}; there are ${[...known].join(', ')}`)
    }
    return rule === undefined ? [] : rowsOfFigure(name as JudgedFigure, rule, input, minEvents)
  })
}

function rowsOfFigure(
  figure: JudgedFigure,
  { min = null, max = null, maxLoss = null, against = null }: GateRule,
  input: GateInput,
  minEvents: number,
): GateRow[] {
  const candidate = input.candidate[figure] ?? null
  const events = input.events(figure)
  // Neighbors are asked of the whole catalogue, however small; the rest is drawn from what there might have been.
  const enough = candidate !== null && (figure === 'neighborRecall' || events >= minEvents)
  const row = (rule: GateRow['rule'], bound: number, holds: boolean): GateRow => {
    return {
      figure,
      rule,
      bound,
      candidate,
      against: null,
      reference: null,
      events,
      verdict: enough ? (holds ? 'pass' : 'fail') : 'insufficient',
    }
  }
  const rows: GateRow[] = []
  if (min !== null) rows.push(row('min', min, candidate! >= min))
  if (max !== null) rows.push(row('max', max, candidate! <= max))
  if (maxLoss !== null) {
    const wanted = against ?? (figure.startsWith('warm') ? 'live' : 'raw')
    const side = wanted === 'live' && input.live !== null ? 'live' : 'raw'
    const reference = input[side]?.[figure] ?? null
    const held = row('maxLoss', maxLoss, candidate! - reference! >= -maxLoss)
    rows.push({ ...held, against: side, reference, verdict: reference === null ? 'insufficient' : held.verdict })
  }
  return rows
}

/** A row that failed, in words. */
export function gateReason({ figure, rule, bound, candidate, against, reference }: GateRow): string {
  const value = candidate?.toFixed(4)
  if (rule === 'maxLoss') return `${figure} ${value} against ${reference?.toFixed(4)} (${against}), at most ${bound} below it is allowed`
  return `${figure} ${value}, ${rule === 'min' ? 'at least' : 'at most'} ${bound} is allowed`
}
