/**
 * Thresholds on the figures of a report, in the shape of `guard.gate`.
 * Invariant: every threshold gives one row, passed or not, as plain JSON; a figure without enough behind it fails nothing, a figure
 * that was not measured is refused.
 */

import { nearest, SidestreamError } from '../schemas/index.ts'
import type { QualityRow } from './quality-rows.ts'

/** Thresholds on one figure; each that is given (not null) must hold. */
export interface QualityGateRule {
  /** Least value. */
  readonly min?: number | null
  /** Largest value, for figures of which less is better. */
  readonly max?: number | null
  /** How much worse than before the figure may be over the shared items: below it where higher is better, above it where lower is. */
  readonly maxLoss?: number | null
}

/** By figure: `uniqueRate`, `level1.dead`, `tail.prefix2.purity`, `churn.full`. */
export type QualityGateRules = Readonly<Record<string, QualityGateRule | undefined>>

export interface QualityGateRow {
  readonly figure: string
  readonly rule: 'min' | 'max' | 'maxLoss'
  /** The threshold, as it was set. */
  readonly bound: number
  /** Over all items; of `maxLoss` over those that before holds as well. */
  readonly candidate: number | null
  /** Both null unless the rule is `maxLoss`. */
  readonly against: 'before' | null
  readonly reference: number | null
  /** Items, queries or pairs behind the figure. */
  readonly events: number
  readonly verdict: 'pass' | 'fail' | 'insufficient'
}

/**
 * One row per threshold, in the order given.
 * @param figures - of a report
 * @param minEvents - a figure with less behind it is `insufficient`
 * @throws SIDESTREAM_USAGE_INVALID when the report has no such figure, when a bound is no number, and for `maxLoss` without an
 *   assignment before or on a figure of which neither way is better
 */
export function qualityGate(rules: QualityGateRules, figures: readonly QualityRow[], minEvents = 1): QualityGateRow[] {
  const byName = new Map(figures.map((row) => [row.figure, row]))
  return Object.entries(rules).flatMap(([name, rule]) => {
    if (rule === undefined) return []
    const row = byName.get(name)
    if (row === undefined) throw unknownFigure(name, figures)
    return rowsOfFigure(row, rule, minEvents)
  })
}

function rowsOfFigure(figure: QualityRow, rule: QualityGateRule, minEvents: number): QualityGateRow[] {
  const { before, better, support } = figure
  return (['min', 'max', 'maxLoss'] as const).flatMap((name): QualityGateRow[] => {
    const bound = rule[name] ?? null
    if (bound === null) return []
    if (!Number.isFinite(bound))
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${name} of ${figure.figure} must be a number, got ${bound}`)
    const against = name === 'maxLoss' ? ('before' as const) : null
    if (against !== null) checkLoss(figure)
    const value = against === null ? figure.value : figure.shared
    const enough = value !== null && support >= minEvents && (against === null || before !== null)
    const holds = enough && (name === 'min' ? value >= bound : name === 'max' ? value <= bound : lossOf(value, before!, better) <= bound)
    return [
      {
        figure: figure.figure,
        rule: name,
        bound,
        candidate: value,
        against,
        reference: against === null ? null : before,
        events: support,
        verdict: enough ? (holds ? 'pass' : 'fail') : 'insufficient',
      },
    ]
  })
}

function lossOf(value: number, before: number, better: QualityRow['better']): number {
  if (value === before) return 0
  return better === 'lower' ? value - before : before - value
}

function checkLoss({ figure, scope, better, value, before }: QualityRow): void {
  if (scope === 'churn' || (before === null && value !== null)) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      scope === 'churn'
        ? `maxLoss of ${figure} has nothing to be held against: churn is a change already; set max`
        : `maxLoss of ${figure} needs the assignment before; report it beside the previous codes`,
    )
  }
  if (better === null)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `neither more nor less of ${figure} is better; set min or max instead of maxLoss`)
}

/** What figures take that a report may have been made without, by metric; beside it the options of `sid report`. */
const takes: Readonly<Record<string, string>> = {
  ...takenBy('the codebooks and vectors (--in, and --bundle where the codes are in a file)', [
    'distortion',
    'meanSquaredError',
    'fvu',
    'meanCosine',
    'residualNorm',
    'residualEnergy',
  ]),
  ...takenBy('vectors (--in)', [
    'distinctVectors',
    'duplicateRows',
    'duplicateGroups',
    'collidingVectors',
    'collidingRate',
    'uniqueRateOverDistinct',
    'cohesionPairs',
    'cohesionMacro',
  ]),
  ...takenBy('vectors, and nearest items to be looked for (--in, no --no-neighbors)', [
    'hitPrecision',
    'hitRecall',
    'queriesWithNeighbors',
  ]),
  ...takenBy('labels (--labels)', ['purity']),
  ...takenBy('pairs (--pairs)', ['coOccurrenceRecall']),
  ...takenBy('earlier codes and traffic (--previous, --traffic)', ['trafficWeighted']),
}

function takenBy(input: string, metrics: readonly string[]): Record<string, string> {
  return Object.fromEntries(metrics.map((metric) => [metric, input]))
}

/** What a figure of this name takes and was not given; undefined where that is not why it is missing. */
function lackingFor(name: string, figures: readonly QualityRow[]): string | undefined {
  const parts = name.split('.')
  const metric = parts.at(-1)!
  const own = takes[metric]
  if (own !== undefined) return figures.some((row) => row.metric === metric) ? undefined : own
  if (parts.includes('churn') && figures.every(({ scope }) => scope !== 'churn')) return 'earlier codes (--previous)'
  return undefined
}

function unknownFigure(name: string, figures: readonly QualityRow[]): SidestreamError {
  const lacking = lackingFor(name, figures)
  if (lacking !== undefined)
    return new SidestreamError('SIDESTREAM_USAGE_INVALID', `this report has no figure ${name}: that takes ${lacking}`)
  const all = figures.filter(({ slice }) => slice === 'all')
  const near = nearest(name.split('.').at(-1)!, [...new Set(all.map(({ metric }) => metric))])
  const meant =
    nearest(
      name,
      figures.map(({ figure }) => figure),
    ) ??
    all
      .filter(({ metric }) => metric === near)
      .map(({ figure }) => figure)
      .join(', ')
  const listed = (['id', 'level', 'prefix', 'churn'] as const).flatMap((scope) => {
    const own = all.filter((row) => row.scope === scope && (row.level ?? row.prefix ?? 1) === 1)
    return own.length === 0 ? [] : [`\n  ${own.map(({ figure }) => figure).join(', ')}`]
  })
  return new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    meant === ''
      ? `this report has no figure ${name}. There are, for other levels and lengths as for the first, with traffic after head., torso. or tail. too:${listed.join('')}\nFigures of vectors, codebooks, labels, pairs and earlier codes are there when those were given`
      : `this report has no figure ${name}; did you mean ${meant}? Figures of vectors, codebooks, labels, pairs and earlier codes are there when those were given`,
  )
}

/** A row that failed, in words. */
export function qualityGateReason({ figure, rule, bound, candidate, reference }: QualityGateRow): string {
  const value = numberText(candidate)
  if (rule === 'maxLoss') return `${figure} ${value} against ${numberText(reference)} before, at most ${bound} worse is allowed`
  return `${figure} ${value}, ${rule === 'min' ? 'at least' : 'at most'} ${bound} is allowed`
}

function numberText(value: number | null): string {
  return value === null ? 'not measured' : Number.isInteger(value) ? String(value) : value.toFixed(4)
}
