/**
 * A training graph in a worker thread. Parameters and moments live there; a step sends rows in and scalars out.
 * Invariant: a session made from a saved `state()` goes on bit for bit as the one it was saved from.
 */

import { buffersOf, ComputeWorker } from './compute-worker.ts'
import type { Graph } from './graph.ts'
import { toModel } from './model.ts'
import { copies, sessionOptions } from './session.ts'
import type { RunOptions } from './session.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { Tensor } from './tensor.ts'
import type { SessionOptions, TensorMap } from './worker-protocol.ts'

export interface TrainingSessionOptions extends SessionOptions {
  /** Parameters and moments to go on from, as `state()` gave them. @default the graph's initial values */
  readonly state?: Readonly<Record<string, Tensor>>
  /** Appears in errors and as the thread's name. @default 'training' */
  readonly name?: string
  /** Shares this thread instead of starting one. */
  readonly worker?: ComputeWorker
}

export class TrainingSession {
  readonly #worker: ComputeWorker
  readonly #id: number
  readonly #ownsWorker: boolean
  #closed: Promise<void> | undefined

  private constructor(worker: ComputeWorker, id: number, ownsWorker: boolean) {
    this.#worker = worker
    this.#id = id
    this.#ownsWorker = ownsWorker
  }

  /**
   * Loads the graph's training model (its outputs and state updates) into a worker.
   * @throws SIDESTREAM_SHAPE_MISMATCH when `state` does not fit the graph; SIDESTREAM_SESSION_FAILED
   */
  static async create(graph: Graph, options: TrainingSessionOptions = {}): Promise<TrainingSession> {
    const state = checkedState(graph, options.state)
    const worker = options.worker ?? new ComputeWorker({ name: options.name ?? 'training' })
    const id = worker.nextSession()
    try {
      const model = toModel(graph, { states: 'state' })
      await worker.ask({ kind: 'open', session: id, model, options: sessionOptions(options) })
      const sent = copies(state)
      await worker.ask({ kind: 'set-state', session: id, state: sent }, buffersOf(Object.values(sent)))
    } catch (error) {
      if (options.worker === undefined) await worker.close()
      throw error
    }
    return new TrainingSession(worker, id, options.worker === undefined)
  }

  /**
   * One step: feeds in, the graph's outputs out (loss, gradient norm, …); the state moves on inside the worker.
   * A step that fails leaves the state as it was. Several steps may be under way; they run in order.
   * @throws SIDESTREAM_SESSION_FAILED
   */
  async step(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<TensorMap> {
    const sent: TensorMap = options.transfer ? { ...feeds } : copies(feeds)
    const request = { kind: 'run', session: this.#id, feeds: sent, outputs: options.outputs } as const
    return (await this.#worker.ask(request, buffersOf(Object.values(sent)))).tensors
  }

  /** A copy of parameters and moments after the steps asked for so far. */
  async state(): Promise<TensorMap> {
    return (await this.#worker.ask({ kind: 'get-state', session: this.#id })).tensors
  }

  /** Ends the session after the steps under way, and its thread if it is its own. */
  close(): Promise<void> {
    this.#closed ??= this.#ownsWorker ? this.#worker.close() : this.#worker.ask({ kind: 'close', session: this.#id }).then(() => undefined)
    return this.#closed
  }
}

function checkedState(graph: Graph, given: Readonly<Record<string, Tensor>> | undefined): TensorMap {
  const state: TensorMap = {}
  for (const [name, { initial }] of graph.states) {
    const tensor = given === undefined ? initial : given[name]
    if (tensor === undefined || tensor.dtype !== initial.dtype || tensor.dims.join() !== initial.dims.join()) {
      const found = tensor === undefined ? 'nothing' : `${tensor.dtype} [${tensor.dims.join(', ')}]`
      throw new SidestreamError(
        'SIDESTREAM_SHAPE_MISMATCH',
        `training state ${name} must be ${initial.dtype} [${initial.dims.join(', ')}], the saved state has ${found}; it belongs to another graph`,
      )
    }
    state[name] = tensor
  }
  return state
}
