/**
 * The guard: whether a candidate trades content or cold items away.
 * Invariant: each clause compares two vector sets on the same events; content and cold items are always held against the
 * raw centered vectors, never against the live version, else ten refreshes could lose ten times the tolerance.
 */
import { bootstrapMean } from './evaluation-bootstrap.ts'
import type { BootstrapOptions } from './evaluation-bootstrap.ts'
import type { EvaluationPlan } from './evaluation.ts'
import type { NeighborRecall } from './neighbors.ts'
import { hits } from './evaluation-scores.ts'
import type { EvaluationScores } from './evaluation-scores.ts'

export interface GuardOptions extends BootstrapOptions {
  /** Least share of each item's raw top-10 neighbors that must stand among the candidate's top 50. */
  readonly minNeighborRecall: number
  /** Loss of popularity AUC that is borne. @default 0.003 */
  readonly popAucTolerance?: number
  /** Loss of recall@10 that is borne. @default 0.006 */
  readonly recallTolerance?: number
  /** Loss of recall@50 of held-out content pairs that is borne. @default 0.025 */
  readonly pairRecallTolerance?: number
  /** A clause over fewer events (queries, for pairs) says `insufficient` and passes. @default 500 */
  readonly minEvents?: number
}

export const guardDefaults = {
  popAucTolerance: 0.003,
  recallTolerance: 0.006,
  pairRecallTolerance: 0.025,
  minEvents: 500,
} as const satisfies Partial<GuardOptions>

export type ClauseName =
  | 'finite-vectors'
  | 'content-pair-recall-50'
  | 'content-neighbor-recall'
  | 'warm-popularity-auc'
  | 'warm-recall-10'
  | 'cold-popularity-auc'
  | 'cold-recall-10'
  | 'warm-uniform-auc'
  | 'cold-uniform-auc'

/** One comparison. Figures that do not exist (no events, no interval) are null. */
export interface GuardClause {
  readonly name: ClauseName
  /** What the candidate is held against. */
  readonly against: 'raw' | 'live' | 'threshold'
  readonly reference: number | null
  readonly candidate: number | null
  readonly difference: number | null
  /** 95 % interval of the difference, over users; over queries or items where content is judged. */
  readonly low: number | null
  readonly high: number | null
  /** Loss that is borne; null when the clause is reported only. */
  readonly tolerance: number | null
  readonly events: number
  readonly verdict: 'pass' | 'fail' | 'insufficient' | 'reported'
}

export interface GuardInput {
  readonly plan: EvaluationPlan
  readonly candidate: EvaluationScores
  readonly raw: EvaluationScores
  /** Scores of the live version; undefined before the first: warm items are then held against the raw vectors too. */
  readonly live?: EvaluationScores | undefined
  /** Neighbor recall of the candidate, and of each item that was asked; undefined when there are too few items to tell. */
  readonly neighbors: Pick<NeighborRecall, 'recall' | 'recalls'> | undefined
  /** Recall@50 per query of held-out content pairs, shape [queries] on both sides; undefined when there are none. */
  readonly pairs?: { readonly candidate: Float64Array; readonly raw: Float64Array } | undefined
}

/** Judges every clause. Content is judged by held-out pairs when there are enough of them, else by neighbors. */
export function guard(input: GuardInput, options: GuardOptions): GuardClause[] {
  const { plan, candidate, raw, live } = input
  const { popAucTolerance, recallTolerance } = { ...guardDefaults, ...options }
  const warm = { flag: 0, against: live ? 'live' : 'raw', reference: live ?? raw } as const
  const cold = { flag: 1, against: 'raw', reference: raw } as const
  const clause = (name: ClauseName, side: typeof warm | typeof cold, values: Values, tolerance: number | null): GuardClause => {
    const counted = values(side.reference).map((value, e) => (plan.cold[e] === side.flag ? value : NaN))
    return compare({ name, against: side.against, units: plan.users, reference: counted, candidate: values(candidate), tolerance }, options)
  }
  return [
    ...contentClauses(input, options),
    clause('warm-popularity-auc', warm, popularity, popAucTolerance),
    clause('warm-recall-10', warm, recall10, recallTolerance),
    clause('cold-popularity-auc', cold, popularity, popAucTolerance),
    clause('cold-recall-10', cold, recall10, recallTolerance),
    clause('warm-uniform-auc', warm, uniform, null),
    clause('cold-uniform-auc', cold, uniform, null),
  ]
}

type Values = (scores: EvaluationScores) => Float64Array

const popularity: Values = (scores) => scores.popularity
const uniform: Values = (scores) => scores.uniform
const recall10: Values = (scores) => hits(scores.ranks, 10)

/** Two values per event (or query), NaN on either side where it does not count. */
interface Comparison {
  readonly name: ClauseName
  readonly against: GuardClause['against']
  /** What is drawn again together: the user of each event. */
  readonly units: Int32Array
  readonly reference: Float64Array
  readonly candidate: Float64Array
  readonly tolerance: number | null
}

function compare({ name, against, units, reference, candidate, tolerance }: Comparison, options: GuardOptions): GuardClause {
  const differences = candidate.map((value, e) => value - reference[e]!)
  let referenceSum = 0
  let candidateSum = 0
  for (let e = 0; e < differences.length; e++) {
    if (Number.isNaN(differences[e]!)) continue
    referenceSum += reference[e]!
    candidateSum += candidate[e]!
  }
  const { mean, low, high, events } = bootstrapMean(differences, units, options)
  const figures = {
    name,
    against,
    reference: orNull(referenceSum / events),
    candidate: orNull(candidateSum / events),
    difference: orNull(mean),
    low: orNull(low),
    high: orNull(high),
    tolerance,
    events,
  }
  if (tolerance === null) return { ...figures, verdict: 'reported' }
  if (events < (options.minEvents ?? guardDefaults.minEvents)) return { ...figures, verdict: 'insufficient' }
  // Both: a loss larger than what is borne, and one that chance does not explain.
  return { ...figures, verdict: mean < -tolerance && high < 0 ? 'fail' : 'pass' }
}

function contentClauses({ pairs, neighbors }: GuardInput, options: GuardOptions): GuardClause[] {
  const byNeighbors = neighborClause(neighbors, options)
  if (!pairs) return [byNeighbors]
  const { pairRecallTolerance: tolerance } = { ...guardDefaults, ...options }
  // Queries are independent questions: each is drawn for itself.
  const units = Int32Array.from(pairs.raw.keys())
  const byPairs = compare(
    { name: 'content-pair-recall-50', against: 'raw', units, reference: pairs.raw, candidate: pairs.candidate, tolerance },
    options,
  )
  if (byPairs.verdict === 'insufficient') return [byPairs, byNeighbors]
  return [byPairs, { ...byNeighbors, verdict: 'reported' }]
}

function neighborClause(neighbors: GuardInput['neighbors'], options: GuardOptions): GuardClause {
  const { minNeighborRecall: reference } = options
  const clause = { name: 'content-neighbor-recall', against: 'threshold', reference, tolerance: 0 } as const
  const none = { candidate: null, difference: null, low: null, high: null, events: 0 }
  if (!neighbors) return { ...clause, ...none, verdict: 'insufficient' }
  const units = Int32Array.from(neighbors.recalls.keys())
  const { recall } = neighbors
  const { low, high, events } = bootstrapMean(neighbors.recalls, units, options)
  const figures = { candidate: recall, difference: recall - reference, low: low - reference, high: high - reference, events }
  // A threshold is absolute: the interval says how sure the figure is, and excuses nothing.
  return { ...clause, ...figures, verdict: recall < reference ? 'fail' : 'pass' }
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
