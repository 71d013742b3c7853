/**
 * Training graphs in a worker thread. Parameters and moments live there; a step sends rows in and scalars out. Several graphs may
 * share one state: one per training source.
 * Invariant: a session made from a saved `state()` goes on bit for bit as the one it was saved from.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Graph, StateEntry } from './graph.ts'
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
  /** Name, type and dims of every state, of all graphs that share it. */
  readonly #known: Map<string, StateEntry>

  private constructor(session: WorkerSession, known: Map<string, StateEntry>) {
    this.#session = session
    this.#known = known
  }

  /**
   * Loads the graph's training model (its outputs and state updates) into a worker.
   * @throws SIDESTREAM_SHAPE_MISMATCH when `state` does not fit the graph; SIDESTREAM_SESSION_FAILED
   */
  static async create(graph: Graph, options: TrainingSessionOptions = {}): Promise<TrainingSession> {
    const state = checkedState(graph.states, options.state)
    const model = toModel(graph, { states: 'state' })
    const session = await WorkerSession.open(model, options.name ?? 'training', options, state)
    return new TrainingSession(session, new Map(graph.states))
  }

  /**
   * Another graph over the same state: what both name is one tensor that the steps of either move on; what only the new
   * graph names is added, from `options.state` or its initial value. Steps of both run in the order of the calls.
   * @throws SIDESTREAM_SHAPE_MISMATCH when the graphs disagree on a state, or `state` does not fit; SIDESTREAM_SESSION_FAILED
   */
  async withGraph(
    graph: Graph,
    options: Pick<TrainingSessionOptions, 'state' | 'threads' | 'optimization' | 'providers'> = {},
  ): Promise<TrainingSession> {
    const added = new Map<string, StateEntry>()
    for (const [name, entry] of graph.states) {
      const known = this.#known.get(name)
      if (known === undefined) added.set(name, entry)
      else requireSame(name, known.initial, entry.initial)
    }
    const state = checkedState(added, options.state && { ...initialStates(added), ...pick(options.state, added) })
    const model = toModel(graph, { states: 'state' })
    const session = await WorkerSession.open(model, graph.name, options, state, this.#session)
    for (const [name, entry] of added) this.#known.set(name, entry)
    return new TrainingSession(session, this.#known)
  }

  /**
   * One step: feeds in, the graph's outputs out (loss, gradient norm, …); the state moves on inside the worker.
   * A step that fails leaves the state as it was. Several steps may be under way; they run in order.
   * @throws SIDESTREAM_SESSION_FAILED with ONNX Runtime's error as cause; SIDESTREAM_CLOSED after `close`
   */
  step(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<TensorMap> {
    return this.#session.run(feeds, options)
  }

  /** A copy of parameters and moments after the steps asked for so far, of all graphs that share them. */
  state(): Promise<TensorMap> {
    return this.#session.state()
  }

  /**
   * Replaces some states (copied) after the steps asked for so far; the others stay.
   * @throws SIDESTREAM_SHAPE_MISMATCH
   */
  setState(state: Readonly<Record<string, Tensor>>): Promise<void> {
    for (const [name, tensor] of Object.entries(state)) {
      const known = this.#known.get(name)
      if (known === undefined) throw mismatch(`there is no training state ${name}`)
      requireSame(name, known.initial, tensor)
    }
    return this.#session.setState(state)
  }

  /** States at their initial value whose name passes, e.g. an optimizer's moments. */
  initialState(wanted: (name: string) => boolean): TensorMap {
    return initialStates(new Map([...this.#known].filter(([name]) => wanted(name))))
  }

  /** Ends the session after the steps under way, and its thread if it is its own (with all graphs that share it). */
  close(): Promise<void> {
    return this.#session.close()
  }
}

function checkedState(states: ReadonlyMap<string, StateEntry>, given: Readonly<Record<string, Tensor>> | undefined): TensorMap {
  const state: TensorMap = {}
  for (const [name, { initial }] of states) {
    const tensor = given === undefined ? initial : given[name]
    requireSame(name, initial, tensor)
    state[name] = tensor!
  }
  return state
}

function initialStates(states: ReadonlyMap<string, StateEntry>): TensorMap {
  return Object.fromEntries([...states].map(([name, { initial }]) => [name, initial]))
}

function pick(state: Readonly<Record<string, Tensor>>, wanted: ReadonlyMap<string, unknown>): TensorMap {
  return Object.fromEntries(Object.entries(state).filter(([name]) => wanted.has(name)))
}

function requireSame(name: string, initial: Tensor, found: Tensor | undefined): void {
  if (found !== undefined && found.dtype === initial.dtype && found.dims.join() === initial.dims.join()) return
  const saved = found === undefined ? 'nothing' : `${found.dtype} [${found.dims.join(', ')}]`
  throw mismatch(
    `training state ${name} must be ${initial.dtype} [${initial.dims.join(', ')}], the saved state has ${saved}; it belongs to another graph`,
  )
}

function mismatch(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', message)
}
