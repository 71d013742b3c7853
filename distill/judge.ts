/**
 * Judges a checkpoint on the hours that followed it: evaluates candidate, live and raw vectors on the same events and
 * asks the guard.
 * Invariant: it encodes nothing and reads no store; what it says is a function of its input and the seed, as plain JSON.
 */
import { evaluationDefaults, planEvaluation } from './evaluation.ts'
import type { EvaluationOptions, EvaluationStream } from './evaluation.ts'
import { scoreVectors, summarize } from './evaluation-scores.ts'
import type { EvaluationSummary } from './evaluation-scores.ts'
import { guard } from './guard.ts'
import type { GuardClause, GuardOptions } from './guard.ts'
import { neighborRecall } from './neighbors.ts'
import type { NeighborOptions } from './neighbors.ts'
import type { OpenSimilarity } from './ports.ts'
import { openSimilarity } from './similarity.ts'

export interface JudgeOptions extends GuardOptions, Omit<EvaluationOptions, 'from' | 'until' | 'coldBefore'> {
  /** Most scored events; more only narrow the interval. @default 20000 */
  readonly maxEvents?: number
  readonly neighbors?: NeighborOptions
}

export const judgeDefaults = { ...evaluationDefaults, maxEvents: 20_000 } as const

/** Vectors of one set, row-major float32, shape [items, dim], rows by item number. */
export interface VectorSet {
  readonly vectors: Float32Array
  readonly dim: number
}

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
}

export interface Judgement {
  readonly verdict: 'pass' | 'refused'
  readonly window: { readonly from: number; readonly until: number }
  /** Scored events, and events there were. */
  readonly events: number
  readonly candidates: number
  readonly clauses: readonly GuardClause[]
  readonly warnings: readonly string[]
  readonly metrics: {
    readonly candidate: Figures
    readonly live: Figures | null
    readonly raw: Figures
  }
}

/** A summary as JSON holds it: null where there is no event. */
export type Figures = { readonly [name in keyof EvaluationSummary]: number | null }

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

/** Scores the vector sets on the window and applies the guard. */
export async function judge(input: JudgeInput, options: JudgeOptions, open: OpenSimilarity = openSimilarity): Promise<Judgement> {
  const { stream, since, window, candidate, raw, live } = input
  const plan = planEvaluation(stream, since, { ...judgeDefaults, ...options, ...window, coldBefore: window.from })
  const score = ({ vectors, dim }: VectorSet): ReturnType<typeof scoreVectors> => scoreVectors(plan, vectors, dim, open)
  const scores = { candidate: await score(candidate), raw: await score(raw), live: live && (await score(live)) }
  const sets = { raw: raw.vectors, rawDim: raw.dim, candidate: candidate.vectors, dim: candidate.dim, items: since.length }
  const neighbors = await neighborRecall(sets, options.neighbors, open)
  const clauses = guard({ plan, ...scores, neighbors }, options)
  return {
    verdict: clauses.some(({ verdict }) => verdict === 'fail') ? 'refused' : 'pass',
    window: { from: window.from, until: window.until },
    events: plan.events,
    candidates: plan.candidates,
    clauses,
    warnings: clauses.filter(({ verdict }) => verdict === 'insufficient').map(warningOf),
    metrics: {
      candidate: figures(summarize(plan, scores.candidate)),
      live: scores.live ? figures(summarize(plan, scores.live)) : null,
      raw: figures(summarize(plan, scores.raw)),
    },
  }
}

function warningOf({ name, events }: GuardClause): string {
  return name === 'content-neighbor-recall' ? `${name}: too few items to judge` : `${name}: only ${events} events, not judged`
}

function figures(summary: EvaluationSummary): Figures {
  return Object.fromEntries(Object.entries(summary).map(([name, value]) => [name, Number.isFinite(value) ? value : null])) as Figures
}
