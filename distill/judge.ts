/**
 * Judges a checkpoint on the hours that followed it: evaluates candidate, live and raw vectors on the same events and
 * asks the guard and the gate.
 * Invariant: it encodes nothing and reads no store; what it says is a function of its input and the seed, as plain JSON.
 */
import { windowFigures } from '../schemas/index.ts'
import type { ContentFigure, SpaceFigure } from '../schemas/index.ts'
import { evaluationDefaults, planEvaluation } from './evaluation.ts'
import type { EvaluationOptions, EvaluationPlan, EvaluationStream } from './evaluation.ts'
import { scoreVectors, summarize } from './evaluation-scores.ts'
import type { EvaluationScores, EvaluationSummary } from './evaluation-scores.ts'
import { gate, gateReason } from './gate.ts'
import type { GateRow, GateRules, JudgedFigure } from './gate.ts'
import { guard, guardDefaults } from './guard.ts'
import type { GuardClause, GuardOptions } from './guard.ts'
import { pairQuestions, scorePairs } from './held-out-pairs.ts'
import type { HeldOutPairs, PairQuestions } from './held-out-pairs.ts'
import { neighborRecall } from './neighbors.ts'
import type { NeighborOptions } from './neighbors.ts'
import type { OpenSimilarity } from './ports.ts'
import { openSimilarity } from './similarity.ts'
import { askSpaces, filteredReach, measureSpace } from './space-figures.ts'
import type { NotMeasured, SpaceInput, SpaceQuestions } from './space-figures.ts'
import type { VectorSet } from './vector-set.ts'

export interface JudgeOptions extends GuardOptions, Omit<EvaluationOptions, 'from' | 'until' | 'coldBefore'> {
  /** Most scored events; more only narrow the interval. @default 20000 */
  readonly maxEvents?: number
  /** Most queries of held-out pairs. Higher: steadier, linear cost. @default 2000 */
  readonly maxPairQueries?: number
  readonly neighbors?: NeighborOptions
  /** Thresholds on figures, beside the clauses of the guard. @default none */
  readonly gate?: GateRules
}

export const judgeDefaults = { ...evaluationDefaults, maxEvents: 20_000, maxPairQueries: 2000 } as const

export interface JudgeInput {
  /** [trainedUntil, trainedUntil + evalWindow) of the candidate. */
  readonly window: { readonly from: number; readonly until: number }
  /** Positive interactions of the window and of the time before it that histories reach back to. */
  readonly stream: EvaluationStream
  /** When each item came to life, shape [items]. */
  readonly since: Float64Array
  readonly candidate: VectorSet
  /** What the live head makes of the same content; undefined when nothing is live. */
  readonly live?: VectorSet | undefined
  /** Content vectors, centered. */
  readonly raw: VectorSet
  /** Pairs that belong together by their content and that no training saw, by item number; undefined when there are none. */
  readonly pairs?: HeldOutPairs | undefined
  /** What the figures of spaces are asked of; undefined: they are not measured. */
  readonly spaces?: SpaceInput | undefined
}

export interface Judgement {
  readonly verdict: 'pass' | 'refused'
  readonly window: { readonly from: number; readonly until: number }
  /** Scored events, and events there were. */
  readonly events: number
  readonly candidates: number
  readonly clauses: readonly GuardClause[]
  /** One row per threshold of the gate. */
  readonly gate: readonly GateRow[]
  /** What a candidate was refused for, in words; empty when it passed. */
  readonly reasons: readonly string[]
  readonly warnings: readonly string[]
  /** Why figures of spaces are null, in words. */
  readonly notMeasured: NotMeasured
  readonly metrics: {
    readonly candidate: Figures
    readonly live: Figures | null
    readonly raw: Figures
  }
}

/** A summary as JSON holds it: null where there is no event, and no entry for what was not asked. */
export type Figures = Readonly<Record<keyof EvaluationSummary, number | null> & Partial<Record<ContentFigure | SpaceFigure, number | null>>>

/** A judgment and what it was made of, for reports; nothing was scored when the vectors are not finite. */
export interface FullJudgement {
  readonly judgement: Judgement
  readonly scored?: {
    readonly plan: EvaluationPlan
    /** Of consistent histories. */
    readonly filtered?: EvaluationPlan | undefined
    readonly sets: { readonly candidate: SetScores; readonly raw: SetScores; readonly live: SetScores | undefined }
  }
}

export interface SetScores {
  readonly events: EvaluationScores
  /** On consistent histories, when spaces are measured. */
  readonly filtered: EvaluationScores | undefined
  /** Recall@50 per query of held-out pairs, when there are any. */
  readonly pairRecalls: Float64Array | undefined
  readonly figures: Figures
}

/** Newest checkpoint whose evaluation window every source has passed; undefined when there is none. */
export function pickCandidate<T extends { readonly trainedUntil: number }>(
  checkpoints: readonly T[],
  watermark: number,
  evalWindowMs: number,
): T | undefined {
  let newest: T | undefined
  for (const checkpoint of checkpoints) {
    if (checkpoint.trainedUntil + evalWindowMs > watermark) continue
    if (!newest || checkpoint.trainedUntil >= newest.trainedUntil) newest = checkpoint
  }
  return newest
}

/** Scores the vector sets on the window and applies guard and gate. */
export async function judge(input: JudgeInput, options: JudgeOptions, open: OpenSimilarity = openSimilarity): Promise<Judgement> {
  return (await judgeInFull(input, options, open)).judgement
}

/** The same with all scores. */
export async function judgeInFull(input: JudgeInput, options: JudgeOptions, open: OpenSimilarity = openSimilarity): Promise<FullJudgement> {
  const { stream, since, window, candidate, raw, live, pairs, spaces } = input
  const settings = { ...judgeDefaults, ...options, ...window, coldBefore: window.from }
  const plan = planEvaluation(stream, since, settings)
  const about = { window: { from: window.from, until: window.until }, events: plan.events, candidates: plan.candidates }
  const finite = finiteClause(candidate)
  if (finite.verdict === 'fail') return { judgement: refusedUnscored(about, finite) }

  const filtered = spaces && planEvaluation(stream, since, { ...settings, keep: 'same-label', reach: filteredReach, labels: spaces.labels })
  const asked: Questions = {
    plan,
    pairs: pairs && pairQuestions(pairs, settings.maxPairQueries),
    spaces: spaces && askSpaces(plan, filtered!, spaces, (item) => since[item]! >= window.from),
  }
  const ours = await scoreSet(asked, candidate, open)
  const content = await scoreSet(asked, raw, open)
  const theirs = live && (await scoreSet(asked, live, open))
  const sets = { raw: raw.vectors, rawDim: raw.dim, candidate: candidate.vectors, dim: candidate.dim, items: since.length }
  const neighbors = await neighborRecall(sets, options.neighbors, open)
  const metrics = {
    candidate: { ...ours.figures, ...(neighbors && { neighborRecall: neighbors.recall }) },
    live: theirs?.figures ?? null,
    raw: content.figures,
  }

  const recalls = asked.pairs && { candidate: ours.pairRecalls!, raw: content.pairRecalls! }
  const clauses = guard({ plan, candidate: ours.events, raw: content.events, live: theirs?.events, neighbors, pairs: recalls }, options)
  const notMeasured = asked.spaces?.notMeasured ?? {}
  const counts = { pairs: asked.pairs?.self.length ?? 0, items: neighbors?.items ?? 0, spaces: asked.spaces?.behind }
  const events = (name: JudgedFigure): number => countBehind(name, ours.figures, counts)
  const rows = gate(options.gate ?? {}, { ...metrics, events }, options.minEvents ?? guardDefaults.minEvents)
  const reasons = [...clauses.filter(failed).map(clauseReason), ...rows.filter(failed).map(gateReason)]
  const judgement: Judgement = {
    verdict: reasons.length > 0 ? 'refused' : 'pass',
    ...about,
    clauses,
    gate: rows,
    reasons,
    warnings: [
      ...clauses.filter(insufficient).map(warningOf),
      ...rows.filter(insufficient).map((row) => gateWarning(row, notMeasured[row.figure as SpaceFigure])),
    ],
    notMeasured,
    metrics,
  }
  return { judgement, scored: { plan, filtered, sets: { candidate: ours, raw: content, live: theirs } } }
}

/** What every vector set is asked. */
interface Questions {
  readonly plan: EvaluationPlan
  readonly pairs: PairQuestions | undefined
  readonly spaces: SpaceQuestions | undefined
}

async function scoreSet({ plan, pairs, spaces }: Questions, set: VectorSet, open: OpenSimilarity): Promise<SetScores> {
  const { vectors, dim } = set
  const events = await scoreVectors(plan, vectors, dim, open)
  const ofPairs = pairs && (await scorePairs(pairs, vectors, dim, open))
  const ofSpace = spaces && (await measureSpace(spaces, set, open))
  return {
    events,
    filtered: ofSpace?.filtered,
    pairRecalls: ofPairs?.recall50,
    figures: { ...asJson({ ...summarize(plan, events), ...ofPairs?.figures }), ...ofSpace?.figures },
  }
}

/** Events, queries or items that a figure is a mean of. */
function countBehind(
  name: JudgedFigure,
  figures: Figures,
  counts: { readonly pairs: number; readonly items: number; readonly spaces: SpaceQuestions['behind'] | undefined },
): number {
  const ofSpace = counts.spaces?.[name as SpaceFigure]
  if (ofSpace !== undefined) return ofSpace
  if (name === 'neighborRecall') return counts.items
  if (name.startsWith('pair')) return counts.pairs
  return figures[name.startsWith('warm') ? 'warmEvents' : name.startsWith('cold') ? 'coldEvents' : 'events'] ?? 0
}

/** Vectors of a head that diverged rank everywhere and nowhere: nothing else is asked of them. */
function finiteClause({ vectors, dim }: VectorSet): GuardClause {
  const items = vectors.length / dim
  let broken = 0
  for (let item = 0; item < items; item++) {
    if (!vectors.subarray(item * dim, (item + 1) * dim).every(Number.isFinite)) broken++
  }
  const share = (items - broken) / items
  const difference = share - 1
  const figures = { reference: 1, candidate: share, difference, low: null, high: null, tolerance: 0, events: items }
  return { name: 'finite-vectors', against: 'threshold', ...figures, verdict: broken > 0 ? 'fail' : 'pass' }
}

function refusedUnscored(about: Pick<Judgement, 'window' | 'events' | 'candidates'>, clause: GuardClause): Judgement {
  const names = ['events', 'warmEvents', 'coldEvents', ...windowFigures]
  const none = asJson(Object.fromEntries(names.map((name) => [name, NaN])) as EvaluationSummary)
  const metrics = { candidate: none, live: null, raw: none }
  const reasons = [clauseReason(clause)]
  return { verdict: 'refused', ...about, clauses: [clause], gate: [], reasons, warnings: [], notMeasured: {}, metrics }
}

const failed = ({ verdict }: GuardClause | GateRow): boolean => verdict === 'fail'
const insufficient = ({ verdict }: GuardClause | GateRow): boolean => verdict === 'insufficient'

function clauseReason({ name, against, candidate, reference }: GuardClause): string {
  return `${name} ${fixed(candidate)} against ${fixed(reference)} (${against})`
}

function fixed(value: number | null): string {
  return value === null ? 'none' : value.toFixed(4)
}

function warningOf({ name, events }: GuardClause): string {
  if (name === 'content-neighbor-recall') return `${name}: too few items to judge`
  return `${name}: only ${events} ${name === 'content-pair-recall-50' ? 'queries' : 'events'}, not judged`
}

function gateWarning({ figure, rule, events }: GateRow, why: string | undefined): string {
  return `gate ${figure}.${rule}: not judged, ${why ?? `too little to tell (${events})`}`
}

function asJson(summary: EvaluationSummary & Partial<Record<ContentFigure, number>>): Figures {
  return Object.fromEntries(Object.entries(summary).map(([name, value]) => [name, Number.isFinite(value) ? value : null])) as Figures
}
