/**
 * Trains a head on rows of one or more sources: InfoNCE at every Matryoshka prefix and whatever else a source asks for, AdamW.
 * Forward, backward and update are one ONNX graph per source over one shared state, in a worker thread.
 * Invariants: the same rows, content, options and threads give the same bits; a trainer made from a checkpoint goes on as the
 * one that wrote it would have; when training diverges, the state of the last good stretch is what is left.
 */

import { adamWDefaults, optimizerPrefix, type ComputeWorker, type FoundProviders, type Schedule, type Tensor } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import {
  buildBatch,
  countWithoutNegatives,
  hardTeachers,
  usableRows,
  type Batch,
  type ContentLookup,
  type TeacherRows,
  type TrainingRow,
} from './batches.ts'
import type { Checkpoint, CheckpointPosition, TrainingState } from './checkpoint.ts'
import { headWorse, lossRose, stateNotFinite, stepNotFinite } from './divergence.ts'
import { withParameters } from './head-graph.ts'
import type { Head } from './head.ts'
import { poolerShapeDefaults, savedPoolerShape, type PoolerShape } from './pooler.ts'
import { comparedBatches, LossComparison } from './loss-comparison.ts'
import { LossTally } from './loss-tally.ts'
import { LossWatch } from './loss-watch.ts'
import { dropModalities } from './modality-dropout.ts'
import { partnersOf, type Partners } from './positive-pairs.ts'
import { teachersOf } from './row-sides.ts'
import { batchFeeds } from './source-graph.ts'
import { trainingSources, type SourceOptions, type SourceOverride, type TrainingSource } from './sources.ts'
import { StepSessions } from './step-sessions.ts'
import { stepOrder, stepsPerPass, type PlannedStep, type SourceRows } from './step-order.ts'

export interface TrainerOptions {
  /**
   * What is trained on. The head learns from all of them.
   * @default one of sequences, named seq2item
   */
  readonly sources?: readonly SourceOptions[]
  /**
   * Temperature of a source that names none. Lower: warm items gain, cold ones lose.
   * @default 0.2
   */
  readonly tau?: number
  /**
   * `learned`: temperatures are trained too, from `tau`, within [0.01, 1].
   * @default 'fixed'
   */
  readonly tauMode?: 'fixed' | 'learned'
  /**
   * History items that are pooled, the newest ones.
   * @default 10
   */
  readonly historyLength?: number
  /**
   * Rows of a step, the most; more rows mean more in-batch negatives.
   * @default 512
   */
  readonly batchSize?: number
  /**
   * Share of the learning rate by which matrices shrink per step.
   * @default 1e-4
   */
  readonly weightDecay?: number
  /**
   * Largest length of all gradients together.
   * @default 1
   */
  readonly clipNorm?: number
  /**
   * Training stops as diverged when the mean loss of a source over 100 steps is more than this many times that of its first 100 of
   * the plan (counted as 1 where it is less), or when the plan leaves the head worse at its rows than it found it, and than one without
   * training; null: whatever the loss does. Higher: later, or never.
   * @default 2
   */
  readonly maxLossRise?: number | null
  /**
   * Weight of the contrast of each of the head's prefixes, in their order; null: 1 each. 0 leaves a prefix untrained.
   * @default null
   */
  readonly prefixWeights?: readonly number[] | null
  /**
   * Shape of the transformer of sources that pool histories by one.
   * @default { layers: 3, width: null, heads: 4 }
   */
  readonly pooler?: PoolerShape
  /**
   * Threads of one step. Equal bits are promised for an equal number only.
   * @default 1
   */
  readonly threads?: number
  /**
   * ONNX Runtime's execution providers, such as cuda, tried in order; one that cannot be used is passed over. Equal bits are promised
   * for equal ones only.
   * @default ['cpu']
   */
  readonly providers?: readonly string[]
}

export const trainerDefaults: Readonly<Required<TrainerOptions>> = {
  sources: [{ name: 'seq2item', kind: 'sequences' }],
  tau: 0.2,
  tauMode: 'fixed',
  historyLength: 10,
  batchSize: 512,
  weightDecay: adamWDefaults.weightDecay,
  clipNorm: 1,
  maxLossRise: 2,
  prefixWeights: null,
  pooler: poolerShapeDefaults,
  threads: 1,
  providers: ['cpu'],
}

/** What one step said. */
export interface StepResult {
  readonly source: string
  readonly loss: number
  /** The loss by term, before weights: nce, cosent, … */
  readonly terms: Readonly<Record<string, number>>
  readonly tau: number
  /** Rows with nothing to be told apart from. A step in which no row has anything moves no weight. */
  readonly withoutNegatives: number
  /** Length of all gradients together, before clipping. */
  readonly gradientNorm: number
}

/** Rows by source. */
export type RowsBySource = Readonly<Record<string, Iterable<TrainingRow>>>

/** Chooses the items that rows must not be close to; made anew as the head moves. */
export interface Mining {
  /** Hard negatives of a row, the most. */
  readonly hardNegatives: number
  /** Whether in-batch negatives at or above lambda* are left out as well. */
  readonly maskInBatch: boolean
  /** Steps between two minings. */
  readonly every: number
  /** Mines for the coming batches with what is trained as it is. Awaited before the first of them is trained on. */
  readonly mine: (trained: Trained, batches: readonly SourceRows[]) => Promise<NegativesOfBatches>
}

/** What a plan has trained so far, and what it knows of its rows. */
export interface Trained {
  readonly head: Head
  /** Everything that is trained, by name: the head's, poolers, projections of ID embeddings, temperatures. */
  readonly parameters: ReadonlyMap<string, Tensor>
  /** Of each source of pairs: which items belong together, by all of its rows. */
  readonly partners: ReadonlyMap<string, Partners>
}

/** What was mined for some batches. */
export interface NegativesOfBatches {
  /** lambda* of a source; Infinity masks nothing. */
  lambda(source: string): number
  /** Items of each row of a batch, hardest first, by its place among the batches. */
  hard(batch: number): readonly (readonly string[])[]
}

export interface TrainingPlan {
  /** Learning rate by steps since the head was created (or since `scheduleFrom`). */
  readonly schedule: Schedule
  /** The step that is 0 for `schedule`. @default 0 */
  readonly scheduleFrom?: number
  /** How often the rows are gone through. @default 1 */
  readonly passes?: number
  /** Steps in all. @default as many as the passes have */
  readonly steps?: number
  /** Steps of this plan that an earlier run did. @default 0 */
  readonly skip?: number
  /** Rows are shuffled anew for every pass by (seed, pass); the given order is kept when left out. */
  readonly shuffleSeed?: number
  /** Seed of the mixture of sources, and of modalities that are left out. @default shuffleSeed, or 0 */
  readonly mixSeed?: number
  /** Which source a step takes, an index into the sources that have rows; all batches of all once a pass, mixed, when left out. */
  readonly draw?: (step: number, sources: readonly SourceRows[]) => number
  readonly mining?: Mining
  /** What the plan changes in the loss of sources, by name. @default nothing */
  readonly overrides?: Readonly<Record<string, SourceOverride>>
  /** ID embeddings of the items of a batch; needed by sources of ids. */
  readonly teachers?: (source: Pick<TrainingSource, 'entities'>, itemIds: readonly string[]) => TeacherRows
  /** Told after each step, in order. */
  readonly onStep?: (step: number, result: StepResult) => void
  /** Asked before each step of the plan, with mining before each mining: true ends it, as if it had no more steps. */
  readonly shouldStop?: () => boolean
  /** Steps between two calls of `keep`. @default one pass */
  readonly keepEvery?: number
  /** Awaited after every `keepEvery` steps: the moment to write a checkpoint. `done` = steps of this plan so far. */
  readonly keep?: (done: number) => Promise<void>
}

export interface TrainingResult {
  readonly steps: number
  /** Rows of one pass. */
  readonly rows: number
  /** Rows without content for their target, or for all of their history. */
  readonly dropped: number
  /** Mean loss of each pass; NaN without a row. */
  readonly losses: readonly number[]
  readonly sources: Readonly<Record<string, SourceResult>>
}

/** What became of one source. */
export interface SourceResult {
  readonly rows: number
  readonly dropped: number
  readonly steps: number
  /** Rows with nothing to be told apart from, summed over its steps. */
  readonly withoutNegatives: number
  /** Mean loss over its steps; NaN without one. */
  readonly loss: number
}

interface GoodState {
  readonly step: number
  readonly state: Readonly<Record<string, Tensor>>
}

export class Trainer {
  readonly #head: Head
  readonly #options: Required<TrainerOptions>
  readonly #sources: readonly TrainingSource[]
  readonly #sessions: StepSessions
  readonly #comparison: LossComparison
  #step: number
  /** State at the start of the current stretch, where training goes back to when it diverges. */
  #good: GoodState | undefined
  /** The one before it. */
  #goodBefore: GoodState | undefined
  #diverged: SidestreamError | undefined

  private constructor(
    head: Head,
    options: Required<TrainerOptions>,
    sources: readonly TrainingSource[],
    sessions: StepSessions,
    step: number,
  ) {
    this.#head = head
    // What a checkpoint and the comparison of losses have: the providers that are used.
    this.#options = { ...options, providers: sessions.providers.used }
    this.#sources = sources
    this.#sessions = sessions
    this.#comparison = new LossComparison(head, sessions.worker, this.#options)
    this.#step = step
  }

  /**
   * A trainer that starts from a head, or goes on from a checkpoint's training state. A source that the state does not know
   * starts with parameters of its own.
   * @throws SIDESTREAM_SHAPE_MISMATCH when the state is of other options; SIDESTREAM_USAGE_INVALID; SIDESTREAM_SESSION_FAILED
   */
  static async create(head: Head, given: TrainerOptions = {}, training?: TrainingState): Promise<Trainer> {
    const options = { ...trainerDefaults, ...given }
    if (!(options.tau > 0)) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `tau must be above 0, not ${options.tau}`)
    const sources = trainingSources(options.sources, options)
    requirePrefixWeights(head, options.prefixWeights)
    if (training !== undefined && sources.some(({ pooler }) => pooler === 'transformer')) requireSamePooler(head, options.pooler, training)
    const state = training && { ...Object.fromEntries(head.parameters), ...Object.fromEntries(training.tensors) }
    const sessions = await StepSessions.open(head, sources, options, state)
    return new Trainer(head, options, sources, sessions, training?.step ?? 0)
  }

  /** Steps done since the head was created. */
  get step(): number {
    return this.#step
  }

  /** What it trains on, defaults resolved. */
  get sources(): readonly TrainingSource[] {
    return this.#sources
  }

  /** Rows of a step, the most. */
  get batchSize(): number {
    return this.#options.batchSize
  }

  /** History items that are pooled, the newest ones. */
  get historyLength(): number {
    return this.#options.historyLength
  }

  /** Shape of the transformer of sources that pool by one. */
  get pooler(): PoolerShape {
    return this.#options.pooler
  }

  /** The thread it trains in, for whatever else looks at the head between two steps. */
  get worker(): ComputeWorker {
    return this.#sessions.worker
  }

  /** Execution providers that it trains by, and those that were wanted and cannot be used. */
  get providers(): FoundProviders {
    return this.#sessions.providers
  }

  /** The head it was made from. */
  get initialHead(): Head {
    return this.#head
  }

  /**
   * One step on rows prepared by `buildBatch`. The batch's arrays are given away.
   * @throws SIDESTREAM_TRAINING_DIVERGED when loss or gradient is not finite; every later call throws it again
   */
  async trainBatch(batch: Batch, learningRate: number, options: BatchStep = {}): Promise<StepResult> {
    if (this.#diverged) throw this.#diverged
    const step = this.#step++
    const { source: name = this.#sources[0]!.name, lambda, override } = options
    const source = this.#source(name)
    const variant = { ...override, hardNegatives: batch.hard?.count ?? 0, maskInBatch: lambda !== undefined }
    const session = await this.#sessions.of(source, variant)
    const { rows, withoutNegatives } = batch
    // Moments and decay of weights would go on without anything to learn. Scores are compared without negatives.
    const rate = withoutNegatives === rows && !source.scored ? 0 : learningRate
    const outputs = await session.step(batchFeeds(batch, this.#head, source, rate, lambda), { transfer: true })
    const result = stepResult(name, withoutNegatives, outputs)
    this.#diverged ??= stepNotFinite(result, step)
    if (this.#diverged) throw this.#diverged
    return result
  }

  /**
   * Goes through rows in batches of nearly equal size, each of one source. Rows are taken as given: unique and, without
   * `shuffleSeed`, in order.
   * @param given - rows by source, or those of the only source
   * @throws SIDESTREAM_TRAINING_DIVERGED, SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
   */
  async train(given: Iterable<TrainingRow> | RowsBySource, content: ContentLookup, plan: TrainingPlan): Promise<TrainingResult> {
    const counted = this.#usable(given, content)
    const sources: SourceRows[] = counted.filter(({ rows }) => rows.length > 0)
    const partners = new Map(
      sources.filter(({ source }) => this.#source(source).kind === 'pairs').map(({ source, rows }) => [source, partnersOf(rows)]),
    )
    const { batchSize } = this.#options
    const perPass = stepsPerPass(sources, batchSize)
    const total = perPass === 0 ? 0 : (plan.steps ?? (plan.passes ?? 1) * perPass)
    const { draw } = plan
    const mixSeed = plan.mixSeed ?? plan.shuffleSeed ?? 0
    const order = stepOrder(sources, {
      batchSize,
      shuffleSeed: plan.shuffleSeed,
      draw: draw && ((step) => draw(step, sources)),
      mixSeed,
      mixStream: this.#step - (plan.skip ?? 0),
    })
    const tally = new LossTally(perPass)
    const watch = new LossWatch(this.#options.maxLossRise)
    const started = this.#step
    const keepEvery = plan.keepEvery ?? perPass
    const skipped = Math.min(total, plan.skip ?? 0)
    for (let at = 0; at < skipped; at++) order.next()
    let negatives: NegativesOfBatches | undefined
    let stretch: PlannedStep[] = []
    let running: Promise<StepResult> | undefined
    const finish = async (): Promise<void> => {
      if (running === undefined) return
      const step = this.#step - 1
      const result = await running
      running = undefined
      tally.add(result)
      plan.onStep?.(step, result)
      const risen = watch.add(result.source, step, result.loss)
      if (risen === undefined) return
      // As far back as one is held.
      if (this.#goodBefore !== undefined && this.#good!.step > risen.since) this.#good = this.#goodBefore
      throw (this.#diverged = lossRose(risen, result.source, this.#options.maxLossRise, { step, kept: this.#good!.step }))
    }
    let begun: Readonly<Record<string, Tensor>> | undefined
    const recent: { readonly source: TrainingSource; readonly rows: readonly TrainingRow[] }[] = []
    const compare = async (): Promise<void> => {
      if (begun === undefined || recent.length < comparedBatches || this.#options.maxLossRise === null) return
      const build = (source: TrainingSource, rows: readonly TrainingRow[]): Batch =>
        this.#build(source, rows, content, plan, partners.get(source.name), undefined, 0).batch
      const batches = (function* () {
        for (const { source, rows } of recent) yield { source, override: plan.overrides?.[source.name] ?? {}, batch: build(source, rows) }
      })()
      const worse = await this.#comparison.worse(batches, { now: (await this.#current()).state, begun })
      if (worse !== undefined) throw (this.#diverged = headWorse(worse, { step: this.#step - 1, kept: this.#good!.step }))
    }
    const stops = (at: number): boolean => at % (plan.mining?.every ?? 1) === 0 && plan.shouldStop?.() === true
    for (let at = skipped, place = 0; at < total && !stops(at); at++, place++) {
      const isFirst = at === skipped
      if (isFirst || at % keepEvery === 0) {
        await finish()
        if (!isFirst) await compare()
        if (!isFirst) await plan.keep?.(at)
        const now = await this.#current()
        begun ??= parametersOf(now.state)
        this.#goodBefore = this.#good
        this.#good = now
      }
      if (place === stretch.length) {
        place = 0
        const end = plan.mining === undefined ? at + 1 : Math.min(total, (Math.floor(at / plan.mining.every) + 1) * plan.mining.every)
        stretch = Array.from({ length: end - at }, () => order.next().value!())
        if (plan.mining !== undefined) {
          await finish()
          const batches = stretch.map((step) => ({ source: sources[step.at]!.source, rows: step.rows }))
          negatives = await plan.mining.mine({ ...(await this.#trained()), partners }, batches)
        }
      }
      // The next batch is built here while the worker is still busy with the last one.
      const { at: from, rows } = stretch[place]!
      const source = this.#source(sources[from]!.source)
      if (recent.unshift({ source, rows }) > comparedBatches) recent.pop()
      const { batch, step } = this.#build(source, rows, content, plan, partners.get(source.name), negatives, place)
      dropModalities(batch, source.modalityDropout, { seed: mixSeed, step: this.#step })
      await finish()
      running = this.trainBatch(batch, plan.schedule(this.#step - (plan.scheduleFrom ?? 0)), step)
    }
    await finish()
    await compare()
    return { steps: this.#step - started, ...tally.result(counted) }
  }

  /** Forgets the optimizer's moments and clocks, as at the start of a stage. */
  async resetOptimizer(): Promise<void> {
    await this.#sessions.resetOptimizer()
  }

  /** The head as trained so far (as it was before the stretch that diverged). */
  async head(): Promise<Head> {
    return (await this.#trained()).head
  }

  /** Everything needed to encode and to go on bit for bit. @param about - kept with the options, plain JSON */
  async checkpoint(position: Omit<CheckpointPosition, 'step'>, about: Readonly<Record<string, unknown>> = {}): Promise<Checkpoint> {
    const { step, state } = await this.#current()
    const tensors = new Map(Object.entries(state).filter(([name]) => !this.#head.parameters.has(name)))
    return {
      head: withParameters(this.#head, new Map(Object.entries(state))),
      position: { ...position, step },
      training: { step, options: { ...this.#options, ...about }, tensors },
    }
  }

  close(): Promise<void> {
    return this.#sessions.close()
  }

  /** @throws SIDESTREAM_USAGE_INVALID */
  #source(name: string): TrainingSource {
    const found = this.#sources.find((source) => source.name === name)
    if (found !== undefined) return found
    const known = this.#sources.map((source) => source.name).join(', ')
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `there is no source ${name} to train on; there are: ${known}`)
  }

  #usable(given: Iterable<TrainingRow> | RowsBySource, content: ContentLookup): (SourceRows & { readonly dropped: number })[] {
    const bySource: RowsBySource = Symbol.iterator in given ? { [this.#sources[0]!.name]: given as Iterable<TrainingRow> } : given
    for (const name of Object.keys(bySource)) this.#source(name)
    return this.#sources
      .filter(({ name }) => bySource[name] !== undefined)
      .map(({ name, kind }) => ({ source: name, ...usableRows(bySource[name]!, content, { needsHistory: kind !== 'ids' }) }))
  }

  #build(
    source: TrainingSource,
    rows: readonly TrainingRow[],
    content: ContentLookup,
    { mining, teachers, overrides }: TrainingPlan,
    partners: Partners | undefined,
    negatives: NegativesOfBatches | undefined,
    place: number,
  ): { readonly batch: Batch; readonly step: BatchStep } {
    const { name } = source
    const { historyLength } = this.#options
    const options = {
      modalities: this.#head.spec.modalities,
      historyLength,
      places: source.pooler === 'transformer',
      maskHistory: source.maskHistory,
      ...(source.scored && { graded: source }),
      ...(partners && { partners }),
    }
    const count = negatives === undefined ? 0 : mining!.hardNegatives
    const hard = count > 0 ? { hard: { count, ofRows: negatives!.hard(place) } } : {}
    const lambda = negatives !== undefined && mining!.maskInBatch ? { lambda: negatives.lambda(name) } : {}
    const override = overrides?.[name]
    const step = { source: name, ...lambda, ...(override && { override }) }
    if (source.kind !== 'ids') return { batch: buildBatch(rows, content, { ...options, ...hard }), step }
    // Negatives of ID embeddings are ID embeddings: their items do not go through the head.
    const taught = hardTeachers(rows, hard.hard)
    const batch = buildBatch(rows, content, options)
    const withoutNegatives = countWithoutNegatives(batch.rows, batch.allowed, hard.hard)
    const own = { teachers: teachersOf(source, teachers)(source, taught.ids), ...(taught.hard && { hard: taught.hard }) }
    return { batch: { ...batch, ...own, withoutNegatives }, step }
  }

  async #trained(): Promise<Omit<Trained, 'partners'>> {
    const parameters = new Map(Object.entries((await this.#current()).state))
    return { head: withParameters(this.#head, parameters), parameters }
  }

  /** @throws SIDESTREAM_TRAINING_DIVERGED once, when weights are not finite; from then on the last good state is the current one */
  async #current(): Promise<GoodState> {
    if (this.#diverged) {
      if (this.#good === undefined) throw this.#diverged
      return this.#good
    }
    const state = await this.#sessions.state()
    this.#diverged = stateNotFinite(state, this.#step)
    if (this.#diverged) throw this.#diverged
    return { step: this.#step, state }
  }
}

/** @throws SIDESTREAM_USAGE_INVALID */
function requirePrefixWeights({ spec: { prefixes } }: Head, weights: readonly number[] | null): void {
  if (weights === null) return
  if (
    weights.length === prefixes.length &&
    weights.every((weight) => weight >= 0 && weight < Infinity) &&
    weights.some((weight) => weight > 0)
  )
    return
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `prefixWeights must be one number from 0 on for each of the prefixes ${prefixes.join(', ')}, one above 0 at least, not ${weights.join(', ')}`,
  )
}

/** A pooler of other shape would go on with some of the saved matrices and none of their meaning. @throws SIDESTREAM_SHAPE_MISMATCH */
function requireSamePooler({ spec: { dims } }: Head, shape: PoolerShape, { tensors, options }: TrainingState): void {
  const saved = savedPoolerShape(tensors)
  if (saved === undefined) return
  const text = ({ width, layers, heads }: PoolerShape): string => `width ${width}, layers ${layers}, heads ${heads}`
  const { heads } = (options['pooler'] ?? poolerShapeDefaults) as PoolerShape
  const [was, wanted] = [text({ ...saved, heads }), text({ ...shape, width: shape.width ?? dims })]
  if (was === wanted) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `the checkpoint's pooler has ${was}, and ${wanted} is asked for: set \`training.pooler\` back, pool by \`mean\`, or train anew from the head alone`,
    { was, wanted },
  )
}

/** How a batch is trained on. */
export interface BatchStep {
  /** @default the first */
  readonly source?: string
  /** In-batch negatives at or above it are left out. @default none are */
  readonly lambda?: number
  /** What is changed in the source's loss. @default nothing */
  readonly override?: SourceOverride
}

/** Without the optimizer's moments and clocks. */
function parametersOf(state: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>> {
  return Object.fromEntries(Object.entries(state).filter(([name]) => !name.startsWith(optimizerPrefix)))
}

function stepResult(source: string, withoutNegatives: number, outputs: Readonly<Record<string, Tensor>>): StepResult {
  const number = (name: string): number => Number(outputs[name]!.data[0])
  const terms: Record<string, number> = {}
  for (const name of Object.keys(outputs)) if (name.startsWith('loss/')) terms[name.slice('loss/'.length)] = number(name)
  return { source, loss: number('loss'), terms, tau: number('tau'), withoutNegatives, gradientNorm: number('gradientNorm') }
}
