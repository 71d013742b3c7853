/**
 * The training of an offline run: its stages in order, what is told of each step, and what is kept so that it can go on.
 * Invariant: what is kept is enough to end with the same bits.
 */

import { isSidestreamError } from '../schemas/index.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { Head } from './head.ts'
import type { OfflineData, ReadProgress } from './offline-data.ts'
import type { OfflineOptions, OfflinePlan } from './offline-plan.ts'
import type { OfflineRows } from './offline-sources.ts'
import { runStages, type StagePosition } from './stages.ts'
import type { ContentVectors } from './statistics.ts'
import { trainerDefaults, type Trainer } from './trainer.ts'
import { summarizeStages, traceFarthest, traceMined, traceStep, type TrainingTrace } from './training-trace.ts'

/** Where `distillOffline` is. */
export type OfflineProgress =
  | ReadProgress
  | {
      readonly phase: 'train'
      readonly done: number
      /** Steps of all stages, as far as is known before they begin. */
      readonly total: number
      readonly stage: string
      readonly source: string
      readonly loss: number
      /** lambda* of the source, when it was mined. */
      readonly lambda: number | null
    }
  /** Execution providers that were wanted are passed over: which, why, and what is used. */
  | { readonly phase: 'providers'; readonly passedOver: string }
  | { readonly phase: 'judge'; readonly done: number }

/** Everything needed to go on. */
export interface KeptTraining {
  readonly position: StagePosition
  readonly checkpoint: Checkpoint
  readonly trace: TrainingTrace
  /** Heads at the end of stages, in order. */
  readonly ends: readonly StageEnd[]
}

export interface StageEnd {
  readonly stage: number
  readonly head: Head
}

/** The head at the end of a stage that another one follows. */
export interface EndedStage {
  readonly name: string
  readonly checkpoint: Checkpoint
}

/** Who is told and asked while it trains. */
export interface TrainingWatch {
  /** Goes on from here; same records, options and start. */
  readonly from?: KeptTraining
  readonly keep?: (kept: KeptTraining) => Promise<void>
  /** Awaited at the end of each stage but the last, before `keep`. */
  readonly onStageEnd?: (ended: EndedStage) => Promise<void>
  /** Given the last good state when training diverges, before the error is thrown. */
  readonly onDiverged?: (checkpoint: Checkpoint) => Promise<void>
  /** Asked before each step; in stages that mine, before each mining. */
  readonly shouldStop?: () => boolean
  readonly onProgress?: (progress: OfflineProgress) => void
}

/** What `trainStages` works with; `trace` and `ends` grow. */
export interface Training {
  readonly watch: TrainingWatch
  readonly options: OfflineOptions
  readonly plan: OfflinePlan
  readonly data: OfflineData
  readonly rows: OfflineRows
  readonly trainer: Trainer
  readonly trace: TrainingTrace
  readonly ends: StageEnd[]
  readonly seed: number
  readonly checkpointNow: () => Promise<Checkpoint>
}

/** @returns where it stands @throws whatever training throws, SIDESTREAM_TRAINING_DIVERGED after `onDiverged` */
export async function trainStages(training: Training): Promise<StagePosition> {
  const { watch, options, plan, data, rows, trainer, trace, ends, seed, checkpointNow } = training
  const { from, keep, onStageEnd, onProgress = () => {}, shouldStop } = watch
  const content = (id: string): ContentVectors | undefined => data.items.get(id)?.vectors
  const lambdas = new Map<string, number>()
  const keepNow = async (position: StagePosition): Promise<void> => {
    const last = ends.at(-1)?.stage ?? -1
    const checkpoint = await checkpointNow()
    if (position.done === 0 && position.stage > last + 1) {
      const stage = position.stage - 1
      ends.push({ stage, head: checkpoint.head })
      if (position.stage < plan.stages.length) await onStageEnd?.({ name: plan.stages[stage]!.name, checkpoint })
    }
    await keep?.({ position, checkpoint, trace, ends })
  }
  try {
    // So that a run that fails before its first keep has something to go on from.
    if (from === undefined) await keepNow({ stage: 0, name: plan.stages[0]?.name ?? '', done: 0 })
    const { position } = await runStages({
      trainer,
      stages: plan.stages,
      rows: rows.bySource,
      content,
      seed,
      historyLength: options.trainer?.historyLength ?? trainerDefaults.historyLength,
      tasks: rows.tasks,
      teachers: rows.teachers,
      ...(from && { from: from.position }),
      onStep: (at, total, result) => {
        traceStep(trace, at, total, result)
        onProgress({
          phase: 'train',
          done: trace.steps.loss.length,
          total: stepsInAll(trace, plan, rows, trainer.batchSize),
          stage: at.name,
          source: result.source,
          loss: result.loss,
          lambda: lambdas.get(result.source) ?? null,
        })
      },
      onMined: (at, report) => {
        traceMined(trace, at, report)
        lambdas.set(report.source, report.lambda.lambda)
      },
      onFarthest: (at, left) => traceFarthest(trace, at, left),
      onBalanced: (at, balance) => void trace.balances.push({ stage: at.stage, ...balance }),
      ...(shouldStop && { shouldStop }),
      ...(options.keepEvery !== undefined && { keepEvery: options.keepEvery }),
      keep: keepNow,
    })
    return position
  } catch (error) {
    if (isSidestreamError(error) && error.code === 'SIDESTREAM_TRAINING_DIVERGED') await watch.onDiverged?.(await checkpointNow())
    throw error
  }
}

/** Steps of all stages, as far as is known before they begin. */
export function stepsInAll({ totals }: TrainingTrace, { stages }: OfflinePlan, { bySource }: OfflineRows, batchSize: number): number {
  return stages.reduce((sum, { sources, balance, steps, passes = 1, maxSteps = Infinity }, i) => {
    const drawn = balance?.by === 'shares' ? sources.filter((name) => (balance.shares[name] ?? 0) > 0) : sources
    const perPass = drawn.reduce((all, name) => all + Math.ceil((bySource[name]?.length ?? 0) / batchSize), 0)
    return sum + (totals[i] ?? Math.min(maxSteps, perPass === 0 ? 0 : (steps ?? passes * perPass)))
  }, 0)
}

/** Mean loss of the last pass, as the metrics of a checkpoint. */
export function lastLoss(trace: TrainingTrace, { stages }: OfflinePlan): Readonly<Record<string, number>> {
  const loss = summarizeStages(trace, stages)
    .flatMap(({ losses }) => losses)
    .at(-1)
  return loss === undefined ? {} : { loss }
}
