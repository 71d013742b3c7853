/**
 * Trains a head on sequence-to-item rows: history items and target through the same head, InfoNCE between the pooled
 * history and the target at every Matryoshka prefix, AdamW. Forward, backward and update are one ONNX graph in a worker thread.
 * Invariants: the same rows, content, options and threads give the same bits; a trainer made from a checkpoint goes on as the
 * one that wrote it would have; when training diverges, the state of the last good pass is what is left.
 */

import {
  adamW,
  adamWDefaults,
  Graph,
  shuffle,
  tensor,
  tensorOf,
  TrainingSession,
  type Schedule,
  type Tensor,
  type Value,
} from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { buildBatch, splitRows, usableRows, type Batch, type ContentLookup, type TrainingRow } from './batches.ts'
import type { Checkpoint, CheckpointPosition, TrainingState } from './checkpoint.ts'
import { appendDistilled, appendWhitening, headInputs, withParameters } from './head-graph.ts'
import type { Head } from './head.ts'
import { matryoshkaNce, prefixView, type InfoNceInputs } from './losses.ts'

export interface TrainerOptions {
  /**
   * Temperature of the loss. Lower: warm items gain, cold ones lose.
   * @default 0.2
   */
  readonly tau?: number
  /**
   * `learned`: the temperature is trained too, from `tau`, within [0.01, 1].
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
   * Threads of one step. Equal bits are promised for an equal number only.
   * @default 1
   */
  readonly threads?: number
}

export const trainerDefaults: Readonly<Required<TrainerOptions>> = {
  tau: 0.2,
  tauMode: 'fixed',
  historyLength: 10,
  batchSize: 512,
  weightDecay: adamWDefaults.weightDecay,
  clipNorm: 1,
  threads: 1,
}

/** Bounds of a learned temperature. */
const tauBounds = { min: Math.log(0.01), max: 0 } as const

/** Random streams from here on belong to the shuffles, one per pass. */
const shuffleStream = 1000

/** What one step said. */
export interface StepResult {
  readonly loss: number
  /** Length of all gradients together, before clipping. */
  readonly gradientNorm: number
}

export interface TrainingPlan {
  /** Learning rate by steps since the head was created. */
  readonly schedule: Schedule
  /** How often the rows are gone through. @default 1 */
  readonly passes?: number
  /** Rows are shuffled anew for every pass by (seed, pass); the given order is kept when left out. */
  readonly shuffleSeed?: number
  /** Told after each step, in order. */
  readonly onStep?: (step: number, result: StepResult) => void
}

export interface TrainingResult {
  readonly steps: number
  /** Rows of one pass. */
  readonly rows: number
  /** Rows without content for their target, or for all of their history. */
  readonly dropped: number
  /** Mean loss of each pass; NaN without a row. */
  readonly losses: readonly number[]
}

export class Trainer {
  readonly #head: Head
  readonly #options: Required<TrainerOptions>
  readonly #session: TrainingSession
  #step: number
  /** State at the start of the current pass, where training goes back to when it diverges. */
  #good: { readonly step: number; readonly state: Readonly<Record<string, Tensor>> } | undefined
  #diverged: SidestreamError | undefined

  private constructor(head: Head, options: Required<TrainerOptions>, session: TrainingSession, step: number) {
    this.#head = head
    this.#options = options
    this.#session = session
    this.#step = step
  }

  /**
   * A trainer that starts from a head, or goes on from a checkpoint's training state.
   * @throws SIDESTREAM_SHAPE_MISMATCH when the state is of other options; SIDESTREAM_USAGE_INVALID; SIDESTREAM_SESSION_FAILED
   */
  static async create(head: Head, given: TrainerOptions = {}, training?: TrainingState): Promise<Trainer> {
    const options = { ...trainerDefaults, ...given }
    if (!(options.tau > 0)) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `tau must be above 0, not ${options.tau}`)
    const graph = trainingGraph(head, options)
    const state = training && { ...Object.fromEntries(head.parameters), ...Object.fromEntries(training.tensors) }
    const session = await TrainingSession.create(graph, { threads: options.threads, ...(state ? { state } : {}) })
    return new Trainer(head, options, session, training?.step ?? 0)
  }

  /** Steps done since the head was created. */
  get step(): number {
    return this.#step
  }

  /**
   * One step on rows prepared by `buildBatch`. The batch's arrays are given away.
   * @throws SIDESTREAM_TRAINING_DIVERGED when loss or gradient is not finite; every later call throws it again
   */
  async trainBatch(batch: Batch, learningRate: number): Promise<StepResult> {
    if (this.#diverged) throw this.#diverged
    const step = this.#step++
    const outputs = await this.#session.step(batchFeeds(batch, this.#head, learningRate), { transfer: true })
    const result = { loss: Number(outputs['loss']!.data[0]), gradientNorm: Number(outputs['gradientNorm']!.data[0]) }
    if (!Number.isFinite(result.loss) || !Number.isFinite(result.gradientNorm)) {
      this.#diverged ??= new SidestreamError(
        'SIDESTREAM_TRAINING_DIVERGED',
        `training diverged at step ${step}: loss ${result.loss}, gradient ${result.gradientNorm}; lower the learning rate or raise tau. The state before this pass is kept`,
        { step },
      )
      throw this.#diverged
    }
    return result
  }

  /**
   * Goes through rows in batches of nearly equal size. Rows are taken as given: unique and, without `shuffleSeed`, in order.
   * @throws SIDESTREAM_TRAINING_DIVERGED, SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
   */
  async train(given: Iterable<TrainingRow>, content: ContentLookup, plan: TrainingPlan): Promise<TrainingResult> {
    const { rows, dropped } = usableRows(given, content)
    const options = { modalities: this.#head.spec.modalities, historyLength: this.#options.historyLength }
    const started = this.#step
    const losses: number[] = []
    for (let pass = 0; pass < (plan.passes ?? 1); pass++) {
      this.#good = { step: this.#step, state: await this.#session.state() }
      const order = plan.shuffleSeed === undefined ? rows : shuffled(rows, plan.shuffleSeed, pass)
      let sum = 0
      let running: Promise<StepResult> | undefined
      const finish = async (): Promise<void> => {
        if (running === undefined) return
        const step = this.#step - 1
        const result = await running
        sum += result.loss
        plan.onStep?.(step, result)
      }
      const batches = splitRows(order, this.#options.batchSize)
      for (const batchRows of batches) {
        // The next batch is built here while the worker is still busy with the last one.
        const batch = buildBatch(batchRows, content, options)
        await finish()
        running = this.trainBatch(batch, plan.schedule(this.#step))
      }
      await finish()
      losses.push(sum / batches.length)
    }
    return { steps: this.#step - started, rows: rows.length, dropped, losses }
  }

  /** The head as trained so far (as it was before the pass that diverged). */
  async head(): Promise<Head> {
    return withParameters(this.#head, new Map(Object.entries((await this.#current()).state)))
  }

  /** Everything needed to encode and to go on bit for bit. */
  async checkpoint(position: Omit<CheckpointPosition, 'step'>): Promise<Checkpoint> {
    const { step, state } = await this.#current()
    const tensors = new Map(Object.entries(state).filter(([name]) => !this.#head.parameters.has(name)))
    return {
      head: withParameters(this.#head, new Map(Object.entries(state))),
      position: { ...position, step },
      training: { step, options: { ...this.#options }, tensors },
    }
  }

  close(): Promise<void> {
    return this.#session.close()
  }

  async #current(): Promise<{ readonly step: number; readonly state: Readonly<Record<string, Tensor>> }> {
    if (this.#diverged) {
      if (this.#good === undefined) throw this.#diverged
      return this.#good
    }
    const state = await this.#session.state()
    requireFinite(state, this.#step)
    return { step: this.#step, state }
  }
}

/** The loss of a step is that of the weights before it, so the last step of a pass is seen only here. */
function requireFinite(state: Readonly<Record<string, Tensor>>, step: number): void {
  for (const [name, { dtype, data }] of Object.entries(state)) {
    if (dtype !== 'float32' || (data as Float32Array).every(Number.isFinite)) continue
    throw new SidestreamError(
      'SIDESTREAM_TRAINING_DIVERGED',
      `training diverged at step ${step - 1}: ${name} is not finite after it; lower the learning rate or raise tau`,
      { step: step - 1, name },
    )
  }
}

/** Rows in an order that is a function of (their given order, seed, pass). */
function shuffled<Row>(rows: readonly Row[], seed: number, pass: number): Row[] {
  const places = shuffle(Uint32Array.from(rows.keys()), seed, shuffleStream + pass)
  return Array.from(places, (at) => rows[at]!)
}

/** One step over a batch: loss, gradients and AdamW. Inputs as `seq2itemLoss` declares them, and `learningRate`. */
export function trainingGraph(head: Head, options: Required<TrainerOptions>): Graph {
  const graph = new Graph({ name: 'seq2item' })
  const loss = seq2itemLoss(graph, head, options)
  const learningRate = graph.input('learningRate', 'float32', [])
  graph.output('loss', loss)
  const { weightDecay, clipNorm } = options
  graph.output('gradientNorm', adamW(graph, loss, learningRate, { weightDecay, clipNorm }))
  return graph
}

/**
 * The sequence-to-item loss over the arrays of a `Batch`, which become the graph's inputs under their names: each distinct
 * item goes through the head once; histories are a product with the pool matrix, targets pick their rows.
 */
export function seq2itemLoss(graph: Graph, head: Head, options: Pick<Required<TrainerOptions>, 'tau' | 'tauMode'>): Value {
  const inputs = headInputs(graph, head, 'items')
  const pool = graph.input('pool', 'float32', ['rows', 'items'])
  const targetRows = graph.input('targets', 'int64', ['rows'])
  const allowed = graph.input('allowed', 'bool', ['rows', 'rows'])
  const weights = graph.input('weights', 'float32', ['rows'])
  const items = appendDistilled(graph, head, appendWhitening(graph, head, inputs), inputs.presence)
  const logTau = temperature(graph, options)
  // A user's short view is the mean of the items' short views, exactly as a reader makes it.
  const ofPrefix = (prefix: number): Pick<InfoNceInputs, 'queries' | 'targets'> => {
    const view = prefixView(graph, items, prefix)
    return { queries: graph.matmul(pool, view), targets: graph.gather(view, targetRows) }
  }
  return matryoshkaNce(graph, (prefix) => ({ ...ofPrefix(prefix), logTau, allowed, weights }), { prefixes: head.spec.prefixes })
}

function temperature(graph: Graph, { tau, tauMode }: Pick<Required<TrainerOptions>, 'tau' | 'tauMode'>): Value {
  const start = Math.log(tau)
  return tauMode === 'learned'
    ? graph.parameter('logTau', tensorOf('float32', [], [start]), { decay: false, ...tauBounds })
    : graph.scalar(start)
}

/** A batch as the feeds of `seq2itemLoss`, and the learning rate. Nothing is copied. */
export function batchFeeds(batch: Batch, { spec: { modalities } }: Head, learningRate: number): Record<string, Tensor> {
  const { rows, items } = batch
  const feeds: Record<string, Tensor> = {
    presence: tensor('float32', [items, modalities.length], batch.presence),
    pool: tensor('float32', [rows, items], batch.pool),
    targets: tensor('int64', [rows], batch.targets),
    allowed: tensor('bool', [rows, rows], batch.allowed),
    weights: tensor('float32', [rows], batch.weights),
    learningRate: tensorOf('float32', [], [learningRate]),
  }
  for (const [m, { name, dim }] of modalities.entries()) feeds[`content_${name}`] = tensor('float32', [items, dim], batch.vectors[m]!)
  return feeds
}
