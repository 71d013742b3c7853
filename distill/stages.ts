/**
 * Training in stages, each with its own sources, balance, losses, learning rate and negatives (SAIL-Embedding, section 3: content-aware
 * progressive training, then collaboration-aware enhancement). Each starts from the head of the one before, with fresh moments.
 * Invariant: what a stage does is a function of (head at its start, rows, content, its options, seed); stopped anywhere between
 * two steps that are kept, it goes on and ends with the same bits.
 */

import { constantAfterWarmup, cosineSchedule, oneCycleSchedule, type Schedule } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { usableRows, type ContentLookup, type TrainingRow } from './batches.ts'
import { createHead, type Head } from './head.ts'
import { createMiner, minerDefaults, type MinerOptions, type MiningReport } from './miner.ts'
import { encodeItemsOf, rowVectors } from './row-vectors.ts'
import {
  balanceDefaults,
  balanceSources,
  type BalanceOptions,
  type ClusteringOptions,
  type SourceBalance,
  type VectorSample,
} from './source-balance.ts'
import { drawSource } from './source-draw.ts'
import type { SourceOverride, TrainingSource } from './sources.ts'
import { stepsPerPass, type SourceRows } from './step-order.ts'
import type { RowsBySource, StepResult, Trainer, TrainingPlan, TrainingResult } from './trainer.ts'

/** How the sources of a stage share its steps. */
export type StageBalance =
  /** Each source's batches once a pass, mixed. */
  | { readonly by: 'rows' }
  /** Drawn by the similarity of each source to the validation tasks (Sinkhorn), recomputed at the stage's start. */
  | ({ readonly by: 'tasks'; readonly temperature: number } & BalanceOptions & Omit<ClusteringOptions, 'seed'>)
  /** Drawn with these shares. */
  | { readonly by: 'shares'; readonly shares: Readonly<Record<string, number>> }

export interface StageOptions {
  /** Appears in metrics and reports. */
  readonly name: string
  /** Names of the trainer's sources. Those without rows, or with a share of 0, are passed over; with none left it takes no step. */
  readonly sources: readonly string[]
  /** @default each source's batches once a pass, mixed */
  readonly balance?: StageBalance
  /** How often the rows are gone through. @default 1 */
  readonly passes?: number
  /** Steps instead of passes. */
  readonly steps?: number
  /** No more steps than this, whatever the passes are: a trial of a stage. */
  readonly maxSteps?: number
  /** Peak of the learning rate. */
  readonly learningRate: number
  /** Curve of the learning rate over the stage. @default 'one-cycle' */
  readonly schedule?: 'one-cycle' | 'cosine' | 'constant'
  /** Share of the steps in which the rate rises. @default 0.3 of `one-cycle`, 0.05 of the others */
  readonly warmupShare?: number
  /**
   * Whether the stage goes on where training was: it keeps the optimizer's moments, and its rate is constant after so many steps
   * since the head was created. For the rounds of a stream, which are one training without end.
   */
  readonly continues?: { readonly warmupSteps: number }
  /** What the stage changes in the loss of its sources, by name. @default nothing */
  readonly overrides?: Readonly<Record<string, SourceOverride>>
  /** Mines hard negatives; none when left out. */
  readonly mining?: Pick<MinerOptions, 'perQuery' | 'maskInBatch' | 'every' | 'sampleRows' | 'poolItems'>
  /**
   * Leaves out the share of each source's pairs that lie farthest apart in content, before any training: a clean subset.
   * @default 0
   */
  readonly dropFarthest?: number
}

/** Where a run of stages stands; plain JSON. */
export interface StagePosition {
  /** Index of the stage. */
  readonly stage: number
  readonly name: string
  /** Steps of it that are done. */
  readonly done: number
  /** Shares that were drawn by, when the stage has such. */
  readonly shares?: Readonly<Record<string, number>>
}

export interface StagesInput {
  readonly trainer: Trainer
  readonly stages: readonly StageOptions[]
  readonly rows: RowsBySource
  readonly content: ContentLookup
  readonly seed: number
  /** Rows are taken in the order they are given in, the same in every pass. @default false: shuffled by (seed, pass) */
  readonly keepOrder?: boolean
  readonly historyLength: number
  /**
   * Rows of the validation tasks, by name: what stages that are balanced by tasks look at. They shape the draw and nothing else.
   * Over files they are held out; in a stream they are the round's own samples, which are trained on as well (decision 0019).
   */
  readonly tasks?: RowsBySource
  readonly teachers?: TrainingPlan['teachers']
  /** Goes on from here. The trainer was made from the checkpoint that was kept with it. */
  readonly from?: StagePosition
  readonly onStep?: (position: StagePosition, total: number, result: StepResult) => void
  readonly onMined?: (position: StagePosition, report: MiningReport) => void
  readonly onBalanced?: (position: StagePosition, balance: SourceBalance) => void
  /** Told how many rows a stage leaves out as farthest apart, each time that it is begun or gone on with. */
  readonly onFarthest?: (position: StagePosition, rows: number) => void
  /** Asked before each step; in stages that mine, before each mining. */
  readonly shouldStop?: () => boolean
  /** Steps between two calls of `keep`; in stages that mine, the next whole number of minings. @default those of mining */
  readonly keepEvery?: number
  /** Awaited every `keepEvery` steps and after each stage. */
  readonly keep?: (position: StagePosition) => Promise<void>
}

/** What became of one stage, plain JSON but for NaN. */
export interface StageResult extends TrainingResult {
  readonly name: string
  readonly shares: Readonly<Record<string, number>> | null
  /** Rows left out as farthest apart. */
  readonly farthest: number
  /** Whether it was stopped before its last step. */
  readonly stopped: boolean
}

/**
 * Runs stages in order.
 * @returns one result per stage that was run, and where the run stands: at the end `stage` = number of stages
 * @throws SIDESTREAM_USAGE_INVALID for a stage of unknown sources; whatever training throws
 */
export async function runStages(input: StagesInput): Promise<{ readonly results: StageResult[]; readonly position: StagePosition }> {
  const { stages, shouldStop } = input
  const results: StageResult[] = []
  let position: StagePosition = input.from ?? start(stages, 0)
  checkStages(input, position)
  while (position.stage < stages.length && shouldStop?.() !== true) {
    const ran = await runStage(input, stages[position.stage]!, position)
    results.push(ran.result)
    position = ran.result.stopped ? ran.position : start(stages, position.stage + 1)
    await input.keep?.(position)
  }
  return { results, position }
}

/** Every stage that is still to begin, before the first step: an error after hours of training costs them. */
function checkStages({ trainer, stages, rows, tasks, content }: StagesInput, from: StagePosition): void {
  const hasTasks = taskRows(tasks, content).length > 0
  for (const [at, stage] of stages.entries()) {
    if (at < from.stage) continue
    const sources = stage.sources.map((name) => sourceOf(trainer, stage, name))
    if (hasTasks || stage.balance?.by !== 'tasks' || (at === from.stage && from.shares !== undefined)) continue
    const withRows = sources.filter(
      ({ name, kind }) => usableRows(rows[name] ?? [], content, { needsHistory: kind !== 'ids' }).rows.length > 0,
    )
    if (withRows.length < 2) continue
    throw new SidestreamError(
      'SIDESTREAM_ITEMS_TOO_FEW',
      `stage ${stage.name} is balanced by tasks, and no task has rows: hold out interactions or pairs, or balance it by rows or shares`,
    )
  }
}

/** @throws SIDESTREAM_USAGE_INVALID */
function sourceOf(trainer: Trainer, stage: StageOptions, name: string): TrainingSource {
  const source = trainer.sources.find((one) => one.name === name)
  if (source !== undefined) return source
  const known = trainer.sources.map((one) => one.name).join(', ')
  throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `stage ${stage.name} names source ${name}; there are: ${known}`)
}

/** Rows of the tasks that have any. */
function taskRows(tasks: RowsBySource = {}, content: ContentLookup): SourceRows[] {
  return Object.entries(tasks)
    .map(([source, rows]): SourceRows => ({ source, rows: usableRows(rows, content).rows }))
    .filter(({ rows }) => rows.length > 0)
}

function start(stages: readonly StageOptions[], stage: number): StagePosition {
  return { stage, name: stages[stage]?.name ?? '', done: 0 }
}

async function runStage(
  input: StagesInput,
  stage: StageOptions,
  from: StagePosition,
): Promise<{ readonly result: StageResult; readonly position: StagePosition }> {
  const { trainer, content, seed } = input
  const { rows: all, farthest } = await rowsOf(input, stage)
  if (farthest > 0) input.onFarthest?.(from, farthest)
  const found = Object.entries(all).map(([source, own]): SourceRows => ({ source, rows: own }))
  const shares = from.shares ?? (await sharesOf(input, stage, found, from))
  // A source that is never drawn is none of the stage's; without any there is no step to take, however many were asked for.
  const sources = shares ? found.filter(({ source }) => (shares[source] ?? 0) > 0) : found
  const rows = Object.fromEntries(sources.map(({ source, rows: own }) => [source, own]))
  const perPass = stepsPerPass(sources, trainer.batchSize)
  const total = perPass === 0 ? 0 : Math.min(stage.maxSteps ?? Infinity, stage.steps ?? (stage.passes ?? 1) * perPass)
  if (from.done === 0 && stage.continues === undefined) await trainer.resetOptimizer()
  const at = (done: number): StagePosition => ({ stage: from.stage, name: stage.name, done, ...(shares ? { shares } : {}) })
  const begun = trainer.step - from.done
  const { mining } = stage
  const result = await trainer.train(rows, content, {
    ...(stage.continues
      ? { schedule: constantAfterWarmup({ max: stage.learningRate, warmupSteps: stage.continues.warmupSteps }) }
      : { schedule: scheduleOf(stage, total), scheduleFrom: begun }),
    steps: total,
    skip: from.done,
    ...(input.keepOrder ? { mixSeed: seed } : { shuffleSeed: seed }),
    ...(shares
      ? {
          draw: (step, drawn) =>
            drawSource(
              drawn.map(({ source }) => shares[source] ?? 0),
              seed,
              begun + step,
            ),
        }
      : {}),
    ...(mining
      ? {
          mining: createMiner({ content, trainer, teachers: input.teachers }, { ...mining, seed }, (report) =>
            input.onMined?.(at(trainer.step - begun), report),
          ),
        }
      : {}),
    ...(stage.overrides ? { overrides: stage.overrides } : {}),
    ...(input.teachers ? { teachers: input.teachers } : {}),
    onStep: (step, stepResult) => input.onStep?.(at(step - begun + 1), total, stepResult),
    ...(input.shouldStop ? { shouldStop: input.shouldStop } : {}),
    keepEvery: keepEvery(input, mining?.every),
    ...(input.keep ? { keep: (done: number) => input.keep!(at(done)) } : {}),
  })
  const done = trainer.step - begun
  return { result: { ...result, name: stage.name, shares: shares ?? null, farthest, stopped: done < total }, position: at(done) }
}

/** What is mined depends on the head at that moment, so a stage that mines goes on only from there. */
function keepEvery({ keepEvery: wanted }: StagesInput, mineEvery: number | undefined): number {
  if (mineEvery === undefined || wanted === undefined) return wanted ?? mineEvery ?? minerDefaults.every
  return Math.ceil(wanted / mineEvery) * mineEvery
}

/** Rows of the stage's sources that can be trained on, without its farthest pairs. */
async function rowsOf(
  { trainer, rows, content, historyLength }: StagesInput,
  stage: StageOptions,
): Promise<{ readonly rows: Record<string, readonly TrainingRow[]>; readonly farthest: number }> {
  const kept: Record<string, readonly TrainingRow[]> = {}
  let farthest = 0
  for (const name of stage.sources) {
    const source = sourceOf(trainer, stage, name)
    const usable = usableRows(rows[name] ?? [], content, { needsHistory: source.kind !== 'ids' }).rows
    const near =
      source.kind === 'pairs' && stage.dropFarthest ? await withoutFarthest(trainer.initialHead, usable, stage.dropFarthest) : usable
    farthest += usable.length - near.length
    if (near.length > 0) kept[name] = near
  }
  return { rows: kept, farthest }

  /** By cosine of content, as a head sees it before any training: the same rows whenever the stage is gone on with. */
  async function withoutFarthest(head: Head, usable: readonly TrainingRow[], share: number): Promise<readonly TrainingRow[]> {
    const untrained = createHead(head.spec, head.statistics)
    const { queries, targets, dim } = rowVectors(usable, await encodeItemsOf(untrained, usable, content), historyLength)
    const cosines = Float64Array.from(usable.keys(), (i) => {
      let dot = 0
      for (let d = 0; d < dim; d++) dot += queries[i * dim + d]! * targets[i * dim + d]!
      return dot
    })
    const cut = Float64Array.from(cosines).sort()[Math.floor(share * cosines.length)]!
    return usable.filter((_, i) => cosines[i]! >= cut)
  }
}

async function sharesOf(
  { trainer, tasks, content, historyLength, onBalanced }: StagesInput,
  stage: StageOptions,
  sources: readonly SourceRows[],
  position: StagePosition,
): Promise<Readonly<Record<string, number>> | undefined> {
  const { balance = { by: 'rows' } } = stage
  if (balance.by === 'shares') return balance.shares
  if (balance.by === 'rows' || sources.length < 2) return undefined
  const { by: _by, ...options } = balance
  // Two vectors of a row.
  const sampledRows = Math.ceil((options.vectors ?? balanceDefaults.vectors) / 2)
  const asked = taskRows(tasks, content)
  const head = await trainer.head()
  const vectors = async ({ source, rows }: SourceRows): Promise<VectorSample> => {
    const taken = sample(rows, sampledRows)
    const { queries, targets } = rowVectors(taken, await encodeItemsOf(head, taken, content, trainer.worker), historyLength)
    // Both sides show what the source is about; a row of an item and its ID embeddings has one.
    const both = new Float32Array(queries.length + targets.length)
    both.set(queries)
    both.set(targets, queries.length)
    return { name: source, vectors: both }
  }
  const samples = async (all: readonly SourceRows[]): Promise<VectorSample[]> => {
    const made: VectorSample[] = []
    for (const one of all) made.push(await vectors(one))
    return made
  }
  const found = await balanceSources({ sources: await samples(sources), tasks: await samples(asked), dim: head.spec.dims }, options)
  onBalanced?.(position, found)
  return Object.fromEntries(found.sources.map((name, at) => [name, found.weights[at]!]))
}

/** At most `count` rows, taken evenly. */
function sample<T>(rows: readonly T[], count: number): readonly T[] {
  if (rows.length <= count) return rows
  return Array.from({ length: count }, (_, i) => rows[Math.floor((i * rows.length) / count)]!)
}

function scheduleOf({ schedule = 'one-cycle', learningRate: max, warmupShare }: StageOptions, totalSteps: number): Schedule {
  if (schedule === 'one-cycle') return oneCycleSchedule({ totalSteps, max, ...(warmupShare !== undefined && { warmupShare }) })
  const warmupSteps = Math.round((warmupShare ?? 0.05) * totalSteps)
  if (schedule === 'constant') return constantAfterWarmup({ max, warmupSteps })
  return cosineSchedule({ totalSteps, warmupSteps, max, min: max / 10 })
}
