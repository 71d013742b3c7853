/** The report of an offline run: what was read, trained on and found, as plain JSON. */

import type { PassedOver } from '../compute/index.ts'
import type { Head, HeadSpec } from './head.ts'
import type { ParetoCurve } from './interpolation.ts'
import type { ItemMap } from './item-map.ts'
import type { OfflineData } from './offline-data.ts'
import type { OfflineJudgement } from './offline-judge.ts'
import { offlineDefaults, takesPairs, type OfflineOptions, type OfflinePlan } from './offline-plan.ts'
import type { OfflineRows, SourceCounts } from './offline-sources.ts'
import type { SetRows } from './sample-sets.ts'
import type { StageOptions } from './stages.ts'
import type { ContentVectors } from './statistics.ts'
import type { TrainerOptions } from './trainer.ts'
import { summarizeStages, type StageSummary, type TrainingTrace } from './training-trace.ts'

/** What was done, as plain JSON. */
export interface OfflineReport {
  readonly items: number
  /** Items with content and an interaction that is trained on; the input statistics come from these. */
  readonly warmItems: number
  /** Items that have a vector of each modality. */
  readonly withVector: Readonly<Record<string, number>>
  /** Content vectors of length 0: they say nothing, and do no harm. */
  readonly zeroVectors: number
  readonly interactions: number
  readonly samples: number
  /** Samples that were there already. */
  readonly duplicates: number
  /** Samples without content for their target, or for all of their history. */
  readonly dropped: number
  /** What became of the histories of each sample set. */
  readonly sets: SetRows['counts']
  /** Rows of all sources together: what one pass goes through. */
  readonly rows: number
  readonly heldOut: { readonly share: number; readonly from: number; readonly until: number; readonly samples: number } | null
  readonly sources: Readonly<Record<string, SourceCounts>>
  /** Pairs whose source nobody trains on, by source. */
  readonly unusedPairs: Readonly<Record<string, number>>
  /** Rows of ID embeddings by what became of them. */
  readonly idEmbeddings: OfflineData['teachers']['counts']
  readonly head: HeadSpec
  /** Options of the trainer, with the execution providers that it used. */
  readonly trainer: Required<TrainerOptions>
  /** Execution providers that were wanted and cannot be used, and why. */
  readonly passedOver: readonly PassedOver[]
  readonly plan: readonly StageOptions[]
  readonly seed: number
  /** Whether it began from a given head. */
  readonly warmStart: boolean
  readonly steps: number
  readonly stages: readonly StageSummary[]
  /** Mean loss of each pass, over all stages. */
  readonly passLosses: readonly number[]
  readonly trace: TrainingTrace
  /** Event time of the newest interaction that was trained on, milliseconds. */
  readonly trainedUntil: number
  /** Where it was stopped before its end; null when it is done. */
  readonly stopped: StoppedAt | null
  readonly judged: OfflineJudgement | null
  /** Heads between the end of the content stages (without such: the start) and the last. */
  readonly pareto: ParetoCurve | null
  /** Of a refused head: the head on the curve that was chosen, judged like the last one; null: none, or there was no need. */
  readonly mixed: MixedJudgement | null
  readonly map: ItemMap | null
}

export interface StoppedAt {
  readonly stage: string
  /** Steps of the run that are done, and of all its stages together. */
  readonly done: number
  readonly of: number
}

/** What was looked at when training had ended. */
export type Seen = Pick<OfflineReport, 'judged' | 'pareto' | 'mixed' | 'map'>

export interface MixedJudgement extends OfflineJudgement {
  /** Its place on the curve. */
  readonly k: number
}

export interface ReportInput {
  readonly data: OfflineData
  readonly plan: OfflinePlan
  readonly rows: OfflineRows
  readonly options: OfflineOptions
  readonly start: Head | undefined
  readonly trace: TrainingTrace
  readonly trainer: Required<TrainerOptions>
  readonly passedOver: readonly PassedOver[]
  readonly head: Head
  readonly stopped: StoppedAt | null
}

/** All but what was looked at afterwards. */
export function reportOf(input: ReportInput): Omit<OfflineReport, keyof Seen> {
  const { data, plan, rows, options, start, trace, trainer, passedOver, head, stopped } = input
  const stages = summarizeStages(trace, plan.stages)
  return {
    items: data.items.size,
    warmItems: data.warm.length,
    withVector: Object.fromEntries(
      head.spec.modalities.map(({ name }) => [name, [...data.items.values()].filter(({ vectors }) => vectors[name] !== undefined).length]),
    ),
    zeroVectors: [...data.items.values()].reduce((sum, { vectors }) => sum + zeros(vectors), 0),
    interactions: data.interactions,
    samples: rows.samples,
    duplicates: data.duplicates,
    dropped: rows.dropped,
    sets: rows.sets,
    rows: Object.values(rows.bySource).reduce((sum, own) => sum + own.length, 0),
    heldOut:
      data.cutTs === Infinity
        ? null
        : { share: options.holdOut ?? 0, from: data.cutTs, until: data.newestTs + 1, samples: data.heldOut.length },
    sources: rows.counts,
    unusedPairs: Object.fromEntries(
      [...data.pairs].flatMap(([name, { trained, heldOut }]) =>
        takesPairs(plan, name) ? [] : [[name, trained.length + heldOut.length] as const],
      ),
    ),
    idEmbeddings: data.teachers.counts,
    head: head.spec,
    trainer,
    passedOver,
    plan: plan.stages,
    seed: options.seed ?? offlineDefaults.seed,
    warmStart: start !== undefined,
    steps: trace.steps.loss.length,
    stages,
    passLosses: stages.flatMap(({ losses }) => losses),
    trace,
    trainedUntil: data.trainedUntil,
    stopped,
  }
}

function zeros(vectors: ContentVectors): number {
  return Object.values(vectors).filter((vector) => vector?.every((value) => value === 0)).length
}
