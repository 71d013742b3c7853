/**
 * Distillation over files: the stages of one round, on the same samples, head and trainer as the stream, and a judgment on what
 * was held out. Invariants: the result depends on the records and the options alone, not on how they are batched; a run that
 * was kept, stopped and gone on with ends with the same bits.
 */

import { passedOverText } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { Checkpoint } from './checkpoint.ts'
import { createHead, headSpec, type Head, type HeadOptions } from './head.ts'
import { readOfflineData, type OfflineData, type OfflineRecords } from './offline-data.ts'
import { lookAt } from './offline-look.ts'
import type { OfflineMemory } from './offline-memory.ts'
import { requireRows } from './offline-no-rows.ts'
import { offlineDefaults, planOf, type OfflineOptions, type OfflinePlan } from './offline-plan.ts'
import { reportOf, type OfflineReport, type Seen } from './offline-report.ts'
import { offlineRows, type OfflineRows } from './offline-sources.ts'
import { lastLoss, stepsInAll, trainStages, type StageEnd, type TrainingWatch } from './offline-training.ts'
import type { StagePosition } from './stages.ts'
import { fitStatistics } from './statistics.ts'
import { nobodyTaught, withTaught, type TaughtItems } from './taught-items.ts'
import { Trainer, trainerDefaults } from './trainer.ts'
import { emptyTrace, type TrainingTrace } from './training-trace.ts'

export interface OfflineInput extends OfflineRecords, TrainingWatch {
  readonly options: OfflineOptions
  /** Begins from this head, with its statistics. @default PCA of the content */
  readonly start?: Head
  /** Items whose ID embeddings taught that head. @default none */
  readonly startTaught?: TaughtItems
  /** What must do: a run that needs more is refused while it reads. @default there is enough */
  readonly memory?: OfflineMemory
  /** Asked when it was stopped: whether the head of that moment is judged like a finished one. @default it is not */
  readonly judgeStopped?: () => boolean
}

export interface OfflineResult {
  readonly checkpoint: Checkpoint
  readonly report: OfflineReport
  /** Heads at the end of stages, in order. */
  readonly ends: readonly StageEnd[]
  /** The head of `report.mixed`, if that passed. */
  readonly mixed: Head | null
  /** Where it was stopped; null when it is done. */
  readonly stopped: StagePosition | null
}

const unseen: Seen = { judged: null, pareto: null, mixed: null, map: null }

/**
 * Trains a head from interactions and content, and whatever else there is.
 * @throws SIDESTREAM_ITEMS_TOO_FEW when nothing can be trained on; SIDESTREAM_INPUT_TOO_LARGE; SIDESTREAM_TRAINING_DIVERGED; SIDESTREAM_USAGE_INVALID;
 * SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE; whatever the readers throw
 */
export async function distillOffline(input: OfflineInput): Promise<OfflineResult> {
  const { options, from, onProgress = () => {} } = input
  const { seed = offlineDefaults.seed, holdOut = offlineDefaults.holdOut, samples, teacherKinds = [] } = options
  const data = await readOfflineData(
    input,
    { samples, holdOut, teacherKinds, seed, ...(input.memory && { memory: input.memory }) },
    onProgress,
  )
  const plan = planOf(options, new Map(data.teachers.kinds.map(({ name, dim }) => [name, dim])))
  const start = input.start === undefined ? newHead(data, options) : requireSpec(input.start, options.head)
  const rows = await offlineRows(data, plan.sources, start, {
    samples,
    seed,
    ...(options.sets && { sets: options.sets }),
    ...(options.contentCutFrom !== undefined && { contentCutFrom: options.contentCutFrom }),
    ...(options.weighing && { weighing: options.weighing }),
  })
  requireRows(data, rows, samples.positiveBehaviors)

  const taught = withTaught(input.startTaught ?? nobodyTaught, taughtBy(plan, rows))
  const trace: TrainingTrace = from?.trace ?? emptyTrace()
  const ends: StageEnd[] = [...(from?.ends ?? [])]
  const trainerOptions = { ...trainerDefaults, ...options.trainer, sources: plan.sources }
  const trainer = await Trainer.create(from?.checkpoint.head ?? start, trainerOptions, from?.checkpoint.training)
  try {
    const { used, passedOver } = trainer.providers
    if (passedOver.length > 0) onProgress({ phase: 'providers', passedOver: passedOverText(trainer.providers) })
    const checkpointNow = async (): Promise<Checkpoint> => {
      const checkpoint = await trainer.checkpoint({
        trainedUntil: data.trainedUntil,
        round: 0,
        offsets: {},
        seeds: { head: start.spec.seed, rows: seed },
        metrics: lastLoss(trace, plan),
      })
      return taught.length === 0 ? checkpoint : { ...checkpoint, taught }
    }
    const position = await trainStages({ watch: input, options, plan, data, rows, trainer, trace, ends, seed, checkpointNow })
    const checkpoint = await checkpointNow()
    const { head } = checkpoint
    const stopped = position.stage < plan.stages.length ? position : null
    const about = reportOf({
      data,
      plan,
      rows,
      options,
      start: input.start,
      trace,
      trainer: { ...trainerOptions, providers: used },
      passedOver,
      head,
      stopped: stopped && {
        stage: stopped.name,
        done: trace.steps.loss.length,
        of: stepsInAll(trace, plan, rows, trainer.batchSize),
      },
    })
    if (stopped !== null && input.judgeStopped?.() !== true)
      return { checkpoint, report: { ...about, ...unseen }, ends, mixed: null, stopped }
    onProgress({ phase: 'judge', done: 0 })
    const { seen, mixed } = await lookAt({
      data,
      plan,
      options,
      start: input.start,
      begun: start,
      ends,
      head,
      taught,
      seed,
      worker: trainer.worker,
    })
    return { checkpoint, report: { ...about, ...seen }, ends, mixed, stopped }
  } finally {
    await trainer.close()
  }
}

/** Items of the sources of ids that a stage takes, whether or not they were drawn. */
function taughtBy({ sources, stages }: OfflinePlan, { bySource }: OfflineRows): string[] {
  const used = sources.filter(({ name, kind }) => kind === 'ids' && stages.some((stage) => stage.sources.includes(name)))
  return used.flatMap(({ name }) => (bySource[name] ?? []).map(({ targetId }) => targetId))
}

function newHead({ warm, items }: OfflineData, { head }: OfflineOptions): Head {
  return createHead(
    head,
    fitStatistics(
      head.modalities,
      warm.map((id) => items.get(id)!.vectors),
    ),
  )
}

/** @throws SIDESTREAM_USAGE_INVALID */
function requireSpec(start: Head, options: HeadOptions): Head {
  const { seed: _given, ...given } = start.spec
  const { seed: _wanted, ...wanted } = headSpec(options)
  if (JSON.stringify(given) === JSON.stringify(wanted)) return start
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `the head to start from is ${JSON.stringify(given)}, and the one to train ${JSON.stringify(wanted)}: train the same kind, or start without it`,
  )
}
