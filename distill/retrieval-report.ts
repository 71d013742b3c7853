/**
 * The next-item figures of one vector set on a later window, with their intervals: recall@k and AUC for all, warm and cold
 * targets, as plain JSON for a report.
 * Invariant: a figure is the mean that `summarize` gives; a figure that does not exist is null.
 */
import type { WindowFigure } from '../schemas/index.ts'
import { bootstrapMeans } from './evaluation-bootstrap.ts'
import type { BootstrapOptions } from './evaluation-bootstrap.ts'
import type { EvaluationPlan } from './evaluation.ts'
import { figureValues } from './evaluation-scores.ts'
import type { EvaluationScores } from './evaluation-scores.ts'

export interface ReportFigure {
  readonly value: number | null
  /** 95 % interval over users drawn with replacement. */
  readonly low: number | null
  readonly high: number | null
  /** Events that it is the mean of. */
  readonly events: number
}

export interface RetrievalReport {
  /** Scored events, and events there were in the window. */
  readonly events: number
  readonly candidates: number
  readonly users: number
  readonly figures: Readonly<Record<WindowFigure, ReportFigure>>
}

/**
 * Every figure of a scored plan. For SAIL's Filtered sequences plan with `keep: 'same-label'`, for its Vanilla ones with
 * `keep: 'random'`.
 */
export function retrievalReport(plan: EvaluationPlan, scores: EvaluationScores, options: BootstrapOptions = {}): RetrievalReport {
  const named = figureValues(plan, scores)
  const intervals = bootstrapMeans(
    named.map(([, values]) => values),
    plan.users,
    options,
  )
  const figures = named.map(([name], i): [WindowFigure, ReportFigure] => {
    const { mean, low, high, events } = intervals[i]!
    return [name, { value: finite(mean), low: finite(low), high: finite(high), events }]
  })
  return {
    events: plan.events,
    candidates: plan.candidates,
    users: new Set(plan.users).size,
    figures: Object.fromEntries(figures) as Record<WindowFigure, ReportFigure>,
  }
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
