/**
 * Training in stages, each with its own sources, balance, losses, learning rate and negatives (SAIL-Embedding, section 3: content-aware
 * progressive training, then collaboration-aware enhancement). Each starts from the head of the one before, with fresh moments.
 * Invariant: what a stage does is a function of (head at its start, rows, content, its options, seed); stopped anywhere between
 * two steps that are kept, it goes on and ends with the same bits.
 */

import { constantAfterWarmup, cosineSchedule, oneCycleSchedule, uniform, type Schedule } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { usableRows, type ContentLookup, type TrainingRow } from './batches.ts'
import { createHead, type Head } from './head.ts'
import { createMiner, minerDefaults, type MinerOptions, type MiningReport } from './miner.ts'
import { encodeItemsOf, rowVectors } from './row-vectors.ts'
import { stepsPerPass, type SourceRows } from './step-order.ts'
import type { RowsBySource, StepResult, Trainer, TrainingPlan, TrainingResult } from './trainer.ts'

/** How the sources of a stage share its steps. */
export type StageBalance =
  /** Each source's batches once a pass, mixed. */
  | { readonly by: 'rows' }
  /** Drawn by the similarity of each source to the validation tasks (Sinkhorn), recomputed at the stage's start. */
  | { readonly by: 'tasks'; readonly temperature: number }
  /** Drawn with these shares. */
  | { readonly by: 'shares'; readonly shares: Readonly<Record<string, number>> }

export interface StageOptions {
  /** Appears in metrics and reports. */
  readonly name: string
  /** Names of the trainer's sources. Those without rows are passed over. */
  readonly sources: readonly string[]
  /** @default each source's batches once a pass, mixed */
  readonly balance?: StageBalance
  /** How often the rows are gone through. @default 1 */
  readonly passes?: number
  /** Steps instead of passes. */
  readonly steps?: number
  /** Peak of the learning rate. */
  readonly learningRate: number
  /** Curve of the learning rate over the stage. @default 'one-cycle' */
  readonly schedule?: 'one-cycle' | 'cosine' | 'constant'
  /** Share of the steps that warm up, of `cosine` and `constant`. @default 0.05 */
  readonly warmupShare?: number
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
  readonly historyLength: number
  /** Needed by stages that are balanced by tasks. */
  readonly shares?: (request: BalanceRequest) => Promise<Readonly<Record<string, number>>>
  readonly teachers?: TrainingPlan['teachers']
  /** Goes on from here. The trainer was made from the checkpoint that was kept with it. */
  readonly from?: StagePosition
  readonly onStep?: (position: StagePosition, total: number, result: StepResult) => void
  readonly onMined?: (position: StagePosition, report: MiningReport) => void
  readonly shouldStop?: () => boolean
  /** Steps between two calls of `keep`. @default those of mining */
  readonly keepEvery?: number
  /** Awaited every `keepEvery` steps and after each stage. */
  readonly keep?: (position: StagePosition) => Promise<void>
}

/** What a stage that is balanced by tasks asks for. */
export interface BalanceRequest {
  readonly stage: StageOptions
  readonly head: Head
  readonly sources: readonly SourceRows[]
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
  while (position.stage < stages.length && shouldStop?.() !== true) {
    const ran = await runStage(input, stages[position.stage]!, position)
    results.push(ran.result)
    position = ran.result.stopped ? ran.position : start(stages, position.stage + 1)
    await input.keep?.(position)
  }
  return { results, position }
}

function start(stages: readonly StageOptions[], stage: number): StagePosition {
  return { stage, name: stages[stage]?.name ?? '', done: 0 }
}

async function runStage(
  input: StagesInput,
  stage: StageOptions,
  from: StagePosition,
): Promise<{ readonly result: StageResult; readonly position: StagePosition }> {
  const { trainer, content, seed, historyLength } = input
  const { rows, farthest } = await rowsOf(input, stage)
  const sources = Object.entries(rows).map(([source, own]): SourceRows => ({ source, rows: own }))
  const shares = from.shares ?? (await sharesOf(input, stage, sources))
  const total = stage.steps ?? (stage.passes ?? 1) * stepsPerPass(sources, trainer.batchSize)
  if (from.done === 0) await trainer.resetOptimizer()
  const at = (done: number): StagePosition => ({ stage: from.stage, name: stage.name, done, ...(shares ? { shares } : {}) })
  const begun = trainer.step - from.done
  const { mining } = stage
  const result = await trainer.train(rows, content, {
    schedule: scheduleOf(stage, total),
    scheduleFrom: begun,
    steps: total,
    skip: from.done,
    shuffleSeed: seed,
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
          mining: createMiner(content, historyLength, trainer.worker, { ...mining, seed }, (report) =>
            input.onMined?.(at(trainer.step - begun), report),
          ),
        }
      : {}),
    ...(input.teachers ? { teachers: input.teachers } : {}),
    onStep: (step, stepResult) => input.onStep?.(at(step - begun + 1), total, stepResult),
    ...(input.shouldStop ? { shouldStop: input.shouldStop } : {}),
    keepEvery: input.keepEvery ?? mining?.every ?? minerDefaults.every,
    ...(input.keep ? { keep: (done: number) => input.keep!(at(done)) } : {}),
  })
  const done = trainer.step - begun
  return { result: { ...result, name: stage.name, shares: shares ?? null, farthest, stopped: done < total }, position: at(done) }
}

/** Rows of the stage's sources that can be trained on, without its farthest pairs. */
async function rowsOf(
  { trainer, rows, content, historyLength }: StagesInput,
  stage: StageOptions,
): Promise<{ readonly rows: Record<string, readonly TrainingRow[]>; readonly farthest: number }> {
  const kept: Record<string, readonly TrainingRow[]> = {}
  let farthest = 0
  for (const name of stage.sources) {
    const source = trainer.sources.find((one) => one.name === name)
    if (source === undefined) {
      const known = trainer.sources.map((one) => one.name).join(', ')
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `stage ${stage.name} names source ${name}; there are: ${known}`)
    }
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
  { trainer, shares }: StagesInput,
  stage: StageOptions,
  sources: readonly SourceRows[],
): Promise<Readonly<Record<string, number>> | undefined> {
  const { balance = { by: 'rows' } } = stage
  if (balance.by === 'rows' || sources.length < 2) return undefined
  if (balance.by === 'shares') return balance.shares
  if (shares === undefined)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `stage ${stage.name} is balanced by tasks, and there are none`)
  return shares({ stage, head: await trainer.head(), sources })
}

function scheduleOf({ schedule = 'one-cycle', learningRate: max, warmupShare = 0.05 }: StageOptions, totalSteps: number): Schedule {
  const warmupSteps = Math.round(warmupShare * totalSteps)
  if (schedule === 'constant') return constantAfterWarmup({ max, warmupSteps })
  if (schedule === 'cosine') return cosineSchedule({ totalSteps, warmupSteps, max, min: max / 10 })
  return oneCycleSchedule({ totalSteps, max })
}

/** Random stream of the draws; minings use the one above it. */
const drawStream = 0xfffe_0000

/** Index of the source of a step: a function of (shares, seed, step), so a restart repeats it. */
function drawSource(shares: readonly number[], seed: number, step: number): number {
  let left = uniform(seed, drawStream, step) * shares.reduce((sum, share) => sum + share, 0)
  for (const [at, share] of shares.entries()) if ((left -= share) < 0) return at
  return shares.findLastIndex((share) => share > 0)
}
