/**
 * An ONNX model in a worker thread: arrays in, arrays out. Invariant: results come in the order of the calls.
 */

import type { Tensor } from './tensor.ts'
import type { TensorMap } from './worker-protocol.ts'
import { WorkerSession } from './worker-session.ts'
import type { RunOptions, WorkerSessionOptions } from './worker-session.ts'

/** The thread is named `session` unless `name` is given. */
export type SessionCreateOptions = WorkerSessionOptions

export class Session {
  readonly #session: WorkerSession

  private constructor(session: WorkerSession) {
    this.#session = session
  }

  /** Loads `model` (ONNX bytes, copied) into a worker. @throws SIDESTREAM_SESSION_FAILED */
  static async create(model: Uint8Array, options: SessionCreateOptions = {}): Promise<Session> {
    return new Session(await WorkerSession.open(model, options.name ?? 'session', options))
  }

  get inputNames(): readonly string[] {
    return this.#session.inputNames
  }

  get outputNames(): readonly string[] {
    return this.#session.outputNames
  }

  /**
   * Runs the model. Inputs are copied unless `transfer` is set; outputs belong to the caller. Several runs may be under
   * way at once; they are answered in order.
   * @throws SIDESTREAM_SESSION_FAILED with ONNX Runtime's error as cause; SIDESTREAM_CLOSED after `close`
   */
  run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<TensorMap> {
    return this.#session.run(feeds, options)
  }

  /**
   * Feeds every later run with these (copied), unless it brings its own: what stays the same from run to run crosses threads once.
   * @throws as `run`
   */
  hold(feeds: Readonly<Record<string, Tensor>>): Promise<void> {
    return this.#session.hold(feeds)
  }

  /** Ends the session after the runs under way, and its thread if it is its own. */
  close(): Promise<void> {
    return this.#session.close()
  }
}
