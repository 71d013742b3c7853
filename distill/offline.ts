/**
 * Distillation over files: the stages of one round, on the same samples, head and trainer as the stream, and a judgment on what
 * was held out. Invariants: the result depends on the records and the options alone, not on how they are batched; a run that
 * was kept, stopped and gone on with ends with the same bits.
 */

import type { ComputeWorker } from '../compute/index.ts'
import { SidestreamError, isSidestreamError } from '../schemas/index.ts'
import type { Checkpoint } from './checkpoint.ts'
import { createHead, headSpec, type Head, type HeadOptions, type HeadSpec } from './head.ts'
import { interpolateHeads, type ParetoCurve } from './interpolation.ts'
import { itemMap, type ItemMap } from './item-map.ts'
import type { JudgeOptions } from './judge.ts'
import { readOfflineData, type OfflineData, type OfflineRecords, type OfflineTeacherKind, type ReadProgress } from './offline-data.ts'
import { judgeOffline, offlinePareto, offlineWindow, publishedVectors, type OfflineJudgement } from './offline-judge.ts'
import { offlineRows, type OfflineRows, type OfflineSource, type OfflineWeighing, type SourceCounts } from './offline-sources.ts'
import { rawVectors } from './raw-vectors.ts'
import type { SampleSetOptions, SetRows } from './sample-sets.ts'
import type { SampleOptions } from './samples.ts'
import { fitStatistics, type ContentVectors } from './statistics.ts'
import { runStages, type StageOptions, type StagePosition } from './stages.ts'
import { Trainer, trainerDefaults, type TrainerOptions } from './trainer.ts'
import {
  emptyTrace,
  summarizeStages,
  traceFarthest,
  traceMined,
  traceStep,
  type StageSummary,
  type TrainingTrace,
} from './training-trace.ts'

/** What is trained on, and in which stages. */
export interface OfflinePlan {
  readonly sources: readonly OfflineSource[]
  readonly stages: readonly StageOptions[]
}

export interface OfflineOptions {
  readonly head: HeadOptions
  readonly samples: SampleOptions
  /**
   * Which rows are made of the samples. The filtered sets need `samples.marks`.
   * @default the plain set, with `samples.historyLength` items
   */
  readonly sets?: SampleSetOptions
  readonly trainer?: Omit<TrainerOptions, 'sources'>
  /**
   * Sources and stages, given the dimension of each kind of ID embedding that there is.
   * @default one source of sequences in one stage, with `passes` and `learningRate`
   */
  readonly plan?: (dims: ReadonlyMap<string, number>) => OfflinePlan
  /**
   * How often the samples are gone through, without a plan.
   * @default 6
   */
  readonly passes?: number
  /**
   * Highest learning rate of the cycle, without a plan. Chosen on the evening before the test day of globo-news: 1e-3 gives less
   * of everything there but cold popularity AUC.
   * @default 2e-3
   */
  readonly learningRate?: number
  /** No stage takes more steps than this: a trial. @default as many as its passes have */
  readonly maxSteps?: number
  /**
   * Seed of the order of rows. (The head has its own.)
   * @default 0
   */
  readonly seed?: number
  /** Share of the interactions, the newest ones, and of the pairs, that is judged by and not trained on. @default 0 */
  readonly holdOut?: number
  /** Guard and gate on what is held out. @default nothing is judged */
  readonly judge?: JudgeOptions
  readonly teacherKinds?: readonly OfflineTeacherKind[]
  readonly weighing?: OfflineWeighing
  /** Steps between two calls of `keep`. @default 1000, or those of mining */
  readonly keepEvery?: number
}

export const offlineDefaults = { passes: 6, learningRate: 2e-3, seed: 0, holdOut: 0 } as const

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

/** What was done, as plain JSON. */
export interface OfflineReport {
  readonly items: number
  /** Items with content and an interaction that is trained on; the input statistics come from these. */
  readonly warmItems: number
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
  readonly trainer: Required<TrainerOptions>
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
  readonly judged: OfflineJudgement | null
  /** Heads between the end of the content stages (without such: the start) and the last. */
  readonly pareto: ParetoCurve | null
  /** Of a refused head: the head on the curve that was chosen, judged like the last one; null: none, or there was no need. */
  readonly mixed: MixedJudgement | null
  readonly map: ItemMap | null
}

export interface MixedJudgement extends OfflineJudgement {
  /** Its place on the curve. */
  readonly k: number
}

export interface OfflineInput extends OfflineRecords {
  readonly options: OfflineOptions
  /** Begins from this head, with its statistics. @default PCA of the content */
  readonly start?: Head
  /** Goes on from here; same records, options and start. */
  readonly from?: KeptTraining
  readonly keep?: (kept: KeptTraining) => Promise<void>
  /** Given the last good state when training diverges, before the error is thrown. */
  readonly onDiverged?: (checkpoint: Checkpoint) => Promise<void>
  readonly shouldStop?: () => boolean
  readonly onProgress?: (progress: OfflineProgress) => void
}

export interface OfflineResult {
  readonly checkpoint: Checkpoint
  readonly report: OfflineReport
  /** Heads at the end of stages, in order. */
  readonly ends: readonly StageEnd[]
  /** The head of `report.mixed`, if that passed. */
  readonly mixed: Head | null
  /** Where it was stopped; null when it is done. What was stopped is not judged. */
  readonly stopped: StagePosition | null
}

/**
 * Trains a head from interactions and content, and whatever else there is.
 * @throws SIDESTREAM_ITEMS_TOO_FEW when nothing can be trained on; SIDESTREAM_TRAINING_DIVERGED; SIDESTREAM_USAGE_INVALID;
 * SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE; whatever the readers throw
 */
export async function distillOffline(input: OfflineInput): Promise<OfflineResult> {
  const { options, onProgress = () => {} } = input
  const { seed = offlineDefaults.seed, holdOut = offlineDefaults.holdOut, samples, teacherKinds = [] } = options
  const data = await readOfflineData(input, { samples, holdOut, teacherKinds, seed }, onProgress)
  const plan = planOf(options, new Map(data.teachers.kinds.map(({ name, dim }) => [name, dim])))
  const start = input.start === undefined ? newHead(data, options) : requireSpec(input.start, options.head)
  const rows = await offlineRows(data, plan.sources, start, {
    samples,
    seed,
    ...(options.sets && { sets: options.sets }),
    ...(options.weighing && { weighing: options.weighing }),
  })
  requireRows(data, rows)

  const trace: TrainingTrace = input.from?.trace ?? emptyTrace()
  const ends: StageEnd[] = [...(input.from?.ends ?? [])]
  const trainerOptions = { ...trainerDefaults, ...options.trainer, sources: plan.sources }
  const trainer = await Trainer.create(input.from?.checkpoint.head ?? start, trainerOptions, input.from?.checkpoint.training)
  try {
    const checkpointNow = (): Promise<Checkpoint> =>
      trainer.checkpoint({
        trainedUntil: data.trainedUntil,
        round: 0,
        offsets: {},
        seeds: { head: start.spec.seed, rows: seed },
        metrics: lastLoss(trace, plan),
      })
    const position = await trainStages({ input, plan, data, rows, trainer, trace, ends, seed, checkpointNow })
    const checkpoint = await checkpointNow()
    const stopped = position.stage < plan.stages.length ? position : null
    const about = reportOf({ data, plan, rows, options, start: input.start, trace, trainer: trainerOptions, head: checkpoint.head })
    if (stopped !== null) {
      return { checkpoint, report: { ...about, judged: null, pareto: null, mixed: null, map: null }, ends, mixed: null, stopped }
    }
    onProgress({ phase: 'judge', done: 0 })
    const { seen, mixed } = await lookAt({
      data: { ...data, pairs: new Map([...data.pairs].filter(([name]) => takesPairs(plan, name))) },
      plan,
      options,
      start: input.start,
      begun: start,
      ends,
      head: checkpoint.head,
      seed,
      worker: trainer.worker,
    })
    return { checkpoint, report: { ...about, ...seen }, ends, mixed, stopped }
  } finally {
    await trainer.close()
  }
}

interface Training {
  readonly input: OfflineInput
  readonly plan: OfflinePlan
  readonly data: OfflineData
  readonly rows: OfflineRows
  readonly trainer: Trainer
  readonly trace: TrainingTrace
  readonly ends: StageEnd[]
  readonly seed: number
  readonly checkpointNow: () => Promise<Checkpoint>
}

/** @returns where it stands */
async function trainStages({ input, plan, data, rows, trainer, trace, ends, seed, checkpointNow }: Training): Promise<StagePosition> {
  const { keep, onProgress = () => {}, shouldStop } = input
  const content = (id: string): ContentVectors | undefined => data.items.get(id)?.vectors
  const lambdas = new Map<string, number>()
  const keepNow = async (position: StagePosition): Promise<void> => {
    const last = ends.at(-1)?.stage ?? -1
    if (position.done === 0 && position.stage > last + 1) ends.push({ stage: position.stage - 1, head: await trainer.head() })
    await keep?.({ position, checkpoint: await checkpointNow(), trace, ends })
  }
  try {
    // So that a run that fails before its first keep has something to go on from.
    if (input.from === undefined) await keepNow({ stage: 0, name: plan.stages[0]?.name ?? '', done: 0 })
    const { position } = await runStages({
      trainer,
      stages: plan.stages,
      rows: rows.bySource,
      content,
      seed,
      historyLength: input.options.trainer?.historyLength ?? trainerDefaults.historyLength,
      tasks: rows.tasks,
      teachers: rows.teachers,
      ...(input.from && { from: input.from.position }),
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
      ...(input.options.keepEvery !== undefined && { keepEvery: input.options.keepEvery }),
      keep: keepNow,
    })
    return position
  } catch (error) {
    if (isSidestreamError(error) && error.code === 'SIDESTREAM_TRAINING_DIVERGED') await input.onDiverged?.(await checkpointNow())
    throw error
  }
}

function planOf({ plan, passes, learningRate, maxSteps }: OfflineOptions, dims: ReadonlyMap<string, number>): OfflinePlan {
  const { sources, stages } = plan?.(dims) ?? {
    sources: trainerDefaults.sources,
    stages: [
      {
        name: 'collaboration',
        sources: trainerDefaults.sources.map(({ name }) => name),
        passes: passes ?? offlineDefaults.passes,
        learningRate: learningRate ?? offlineDefaults.learningRate,
      },
    ],
  }
  return { sources, stages: maxSteps === undefined ? stages : stages.map((stage) => ({ ...stage, maxSteps })) }
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

/** Whether given pairs of a name are trained on; others say nothing about the head, and do not judge it either. */
function takesPairs({ sources }: OfflinePlan, name: string): boolean {
  return sources.some((source) => source.name === name && source.kind === 'pairs' && source.from !== 'content')
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

/** @throws SIDESTREAM_ITEMS_TOO_FEW */
function requireRows(data: OfflineData, { bySource, counts }: OfflineRows): void {
  if (Object.values(bySource).some((rows) => rows.length > 0)) return
  const all = Object.entries(counts)
  const found =
    all.length === 1 && all[0]![1].kind === 'sequences'
      ? `none of ${data.interactions} interactions gives a sample (a user with two liked items that both have content)`
      : `no source has a row to train on (${all.map(([name, { unknown }]) => `${name}: ${unknown} of unknown items`).join(', ')})`
  const apart = data.cutTs === Infinity ? '' : ', and that not all of the time is held out'
  throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `${found}; check ids and positive behaviors${apart}`, {
    interactions: data.interactions,
    items: data.items.size,
  })
}

function stepsInAll({ totals }: TrainingTrace, { stages }: OfflinePlan, { bySource }: OfflineRows, batchSize: number): number {
  return stages.reduce((sum, { sources, balance, steps, passes = 1, maxSteps = Infinity }, i) => {
    const drawn = balance?.by === 'shares' ? sources.filter((name) => (balance.shares[name] ?? 0) > 0) : sources
    const perPass = drawn.reduce((all, name) => all + Math.ceil((bySource[name]?.length ?? 0) / batchSize), 0)
    return sum + (totals[i] ?? Math.min(maxSteps, perPass === 0 ? 0 : (steps ?? passes * perPass)))
  }, 0)
}

function lastLoss(trace: TrainingTrace, { stages }: OfflinePlan): Readonly<Record<string, number>> {
  const loss = summarizeStages(trace, stages)
    .flatMap(({ losses }) => losses)
    .at(-1)
  return loss === undefined ? {} : { loss }
}

interface ReportInput {
  readonly data: OfflineData
  readonly plan: OfflinePlan
  readonly rows: OfflineRows
  readonly options: OfflineOptions
  readonly start: Head | undefined
  readonly trace: TrainingTrace
  readonly trainer: Required<TrainerOptions>
  readonly head: Head
}

function reportOf(input: ReportInput): Omit<OfflineReport, keyof Seen> {
  const { data, plan, rows, options, start, trace, trainer, head } = input
  const stages = summarizeStages(trace, plan.stages)
  return {
    items: data.items.size,
    warmItems: data.warm.length,
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
    plan: plan.stages,
    seed: options.seed ?? offlineDefaults.seed,
    warmStart: start !== undefined,
    steps: trace.steps.loss.length,
    stages,
    passLosses: stages.flatMap(({ losses }) => losses),
    trace,
    trainedUntil: data.trainedUntil,
  }
}

function zeros(vectors: ContentVectors): number {
  return Object.values(vectors).filter((vector) => vector?.every((value) => value === 0)).length
}

interface Look {
  readonly data: OfflineData
  readonly plan: OfflinePlan
  readonly options: OfflineOptions
  readonly start: Head | undefined
  /** What training began from, given or made. */
  readonly begun: Head
  readonly ends: readonly StageEnd[]
  readonly head: Head
  readonly seed: number
  readonly worker: ComputeWorker
}

type Seen = Pick<OfflineReport, 'judged' | 'pareto' | 'mixed' | 'map'>

async function lookAt(look: Look): Promise<{ readonly seen: Seen; readonly mixed: Head | null }> {
  const { data, plan, options, start, begun, ends, head, seed, worker } = look
  const window = offlineWindow(data)
  const ids = window?.ids ?? data.warm
  const contents = ids.map((id) => data.items.get(id)!)
  const vectors = contents.map((item) => item.vectors)
  const map = itemMap(contents, rawVectors(head, vectors), await publishedVectors(head, vectors, worker), seed) ?? null
  if (window === undefined || options.judge === undefined) return { seen: { judged: null, pareto: null, mixed: null, map }, mixed: null }
  const itemKind = data.teachers.kinds.find(({ by }) => by === 'item')?.name
  const asked = { data, window, candidate: head, start, options: options.judge, itemKind, worker }
  const judged = await judgeOffline(asked)
  const isContent = (stage: number): boolean =>
    plan.stages[stage]!.sources.every((name) => plan.sources.find((source) => source.name === name)?.kind === 'pairs')
  const content = ends.filter(({ stage }) => stage < plan.stages.length - 1 && isContent(stage)).at(-1)?.head ?? begun
  const pareto = judged.judgement.events === 0 ? null : await offlinePareto(content, asked)
  const k = judged.judgement.verdict === 'refused' ? (pareto?.chosen ?? null) : null
  if (k === null || k === 1) return { seen: { judged, pareto, mixed: null, map }, mixed: null }
  // The curve asks fewer events, and neither the start nor thresholds on spaces.
  const between = interpolateHeads(content, head, k)
  const mixed = { k, ...(await judgeOffline({ ...asked, candidate: between })) }
  return { seen: { judged, pareto, mixed, map }, mixed: mixed.judgement.verdict === 'pass' ? between : null }
}
