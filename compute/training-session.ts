/**
 * A training graph in a worker thread. Parameters and moments live there; a step sends rows in and scalars out.
 * Invariant: a session made from a saved `state()` goes on bit for bit as the one it was saved from.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Graph } from './graph.ts'
import { toModel } from './model.ts'
import type { Tensor } from './tensor.ts'
import type { TensorMap } from './worker-protocol.ts'
import { WorkerSession } from './worker-session.ts'
import type { RunOptions, WorkerSessionOptions } from './worker-session.ts'

/** The thread is named `training` unless `name` is given. */
export interface TrainingSessionOptions extends WorkerSessionOptions {
  /** Parameters and moments to go on from, as `state()` gave them (copied). @default the graph's initial values */
  readonly state?: Readonly<Record<string, Tensor>>
}

export class TrainingSession {
  readonly #session: WorkerSession

  private constructor(session: WorkerSession) {
    this.#session = session
  }

  /**
   * Loads the graph's training model (its outputs and state updates) into a worker.
   * @throws SIDESTREAM_SHAPE_MISMATCH when `state` does not fit the graph; SIDESTREAM_SESSION_FAILED
   */
  static async create(graph: Graph, options: TrainingSessionOptions = {}): Promise<TrainingSession> {
    const state = checkedState(graph, options.state)
    const model = toModel(graph, { states: 'state' })
    return new TrainingSession(await WorkerSession.open(model, options.name ?? 'training', options, state))
  }

  /**
   * One step: feeds in, the graph's outputs out (loss, gradient norm, …); the state moves on inside the worker.
   * A step that fails leaves the state as it was. Several steps may be under way; they run in order.
   * @throws SIDESTREAM_SESSION_FAILED with ONNX Runtime's error as cause; SIDESTREAM_CLOSED after `close`
   */
  step(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<TensorMap> {
    return this.#session.run(feeds, options)
  }

  /** A copy of parameters and moments after the steps asked for so far. */
  state(): Promise<TensorMap> {
    return this.#session.state()
  }

  /** Ends the session after the steps under way, and its thread if it is its own. */
  close(): Promise<void> {
    return this.#session.close()
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
