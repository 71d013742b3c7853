/**
 * What a run of stages said on its way, as columns that a report draws: plain JSON, so that it is kept with a checkpoint and
 * a run that goes on later reports as one that never stopped.
 */

import type { MiningReport } from './miner.ts'
import type { SourceBalance } from './source-balance.ts'
import type { StagePosition } from './stages.ts'
import type { StepResult } from './trainer.ts'

/** One entry per step, in order. */
export interface StepColumns {
  /** Index of the stage. */
  readonly stage: number[]
  /** Index into the sources of the trace. */
  readonly source: number[]
  readonly loss: number[]
  readonly tau: number[]
}

/** lambda* of one source as mined at a step of the run. */
export interface MinedStep extends Pick<MiningReport, 'source' | 'dropped' | 'empty'> {
  readonly stage: number
  /** Steps of the run that were done. */
  readonly step: number
  readonly lambda: number
  readonly f1: number
}

export interface StageBalanced extends SourceBalance {
  readonly stage: number
}

export interface TermSums {
  readonly stage: number
  readonly source: string
  readonly sums: Record<string, number>
  /** Rows with nothing to be told apart from, over the steps. */
  withoutNegatives: number
}

export interface TrainingTrace {
  /** Names of the sources that took steps, in order of their first one. */
  readonly sources: string[]
  readonly steps: StepColumns
  readonly mined: MinedStep[]
  readonly balances: StageBalanced[]
  /** Sums of the terms of the loss, before weights, per stage and source. */
  readonly terms: TermSums[]
  /** Steps that each stage was to have, by its index; none where it took no step. */
  readonly totals: (number | null)[]
  /** Rows that each stage left out as farthest apart, by its index; none where it left out none. */
  readonly farthest: (number | null)[]
}

export function emptyTrace(): TrainingTrace {
  return { sources: [], steps: { stage: [], source: [], loss: [], tau: [] }, mined: [], balances: [], terms: [], totals: [], farthest: [] }
}

export function traceStep(
  { sources, steps, totals, terms }: TrainingTrace,
  { stage }: StagePosition,
  total: number,
  result: StepResult,
): void {
  put(totals, stage, total)
  let source = sources.indexOf(result.source)
  if (source < 0) source = sources.push(result.source) - 1
  steps.stage.push(stage)
  steps.source.push(source)
  steps.loss.push(result.loss)
  steps.tau.push(result.tau)
  let own = terms.find((one) => one.stage === stage && one.source === result.source)
  if (own === undefined) terms.push((own = { stage, source: result.source, sums: {}, withoutNegatives: 0 }))
  own.withoutNegatives += result.withoutNegatives
  for (const [term, value] of Object.entries(result.terms)) own.sums[term] = (own.sums[term] ?? 0) + value
}

/** Rows that a stage leaves out; said again when it is gone on with. */
export function traceFarthest({ farthest }: TrainingTrace, { stage }: StagePosition, rows: number): void {
  put(farthest, stage, rows)
}

/** Without holes, which JSON does not have. */
function put(list: (number | null)[], at: number, value: number): void {
  while (list.length < at) list.push(null)
  list[at] = value
}

export function traceMined({ mined, steps }: TrainingTrace, { stage }: StagePosition, report: MiningReport): void {
  const { source, dropped, empty, lambda } = report
  mined.push({ stage, step: steps.loss.length, source, lambda: lambda.lambda, f1: lambda.f1, dropped, empty })
}

export interface SourceLosses {
  readonly steps: number
  readonly loss: number
  readonly terms: Readonly<Record<string, number>>
  /** Rows with nothing to be told apart from, summed over the steps: they taught nothing. */
  readonly withoutNegatives: number
}

/** What became of one stage, read off a trace. */
export interface StageSummary {
  readonly name: string
  readonly steps: number
  /** Steps it was to have; fewer were done when it was stopped. */
  readonly total: number
  /** Mean loss of each pass, or of all steps where steps were asked for. */
  readonly losses: readonly number[]
  /** Rows left out as farthest apart in content. */
  readonly farthest: number
  /** Steps, mean loss and mean of each of its terms, before weights, of each source. */
  readonly sources: Readonly<Record<string, SourceLosses>>
}

/** All stages in order; one that took no step, for want of rows or because it has not begun, has none of 0. */
export function summarizeStages(
  { sources, steps, totals, farthest, terms }: TrainingTrace,
  stages: readonly { readonly name: string; readonly passes?: number }[],
): StageSummary[] {
  return stages.map(({ name, passes = 1 }, stage): StageSummary => {
    const total = totals[stage] ?? 0
    const own = [...steps.loss.keys()].filter((at) => steps.stage[at] === stage)
    const perPass = Math.max(1, Math.ceil(total / passes))
    const parts = Array.from({ length: Math.ceil(own.length / perPass) }, (_, pass) => own.slice(pass * perPass, (pass + 1) * perPass))
    const mean = (places: readonly number[]): number => places.reduce((sum, at) => sum + steps.loss[at]!, 0) / places.length
    const bySource = sources.flatMap((source, s) => {
      const places = own.filter((at) => steps.source[at] === s)
      if (places.length === 0) return []
      const { sums, withoutNegatives } = terms.find((one) => one.stage === stage && one.source === source)!
      const means = Object.fromEntries(Object.entries(sums).map(([term, sum]) => [term, sum / places.length]))
      return [[source, { steps: places.length, loss: mean(places), terms: means, withoutNegatives }] as const]
    })
    return {
      name,
      steps: own.length,
      total,
      losses: parts.map(mean),
      farthest: farthest[stage] ?? 0,
      sources: Object.fromEntries(bySource),
    }
  })
}
