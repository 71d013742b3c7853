/**
 * What an inference and a training session share: a numbered session in a worker, feeds out, tensors back, one close.
 * Invariant: results come in the order of the calls.
 */

import { SidestreamError } from '../schemas/index.ts'
import { buffersOf, ComputeWorker } from './compute-worker.ts'
import { cloneTensor } from './tensor.ts'
import type { Tensor } from './tensor.ts'
import type { Request, SessionOptions, TensorMap, WorkerResult } from './worker-protocol.ts'

export interface WorkerSessionOptions extends SessionOptions {
  /** Appears in errors and as the thread's name. */
  readonly name?: string
  /** Shares this thread instead of starting one; its runs then queue behind one another. */
  readonly worker?: ComputeWorker
}

export interface RunOptions {
  /** Only these outputs. @default all */
  readonly outputs?: readonly string[]
  /**
   * Gives the input buffers away instead of copying them: the caller's arrays, and every other view on the same
   * buffers, are empty afterwards. Those in shared memory (`sharedFloat32`) stay the caller's, who leaves them as they are until
   * the run is done. @default false
   */
  readonly transfer?: boolean
  /**
   * Runs the model over so many rows at a time: inputs of this run are cut along their first axis, outputs put together along theirs.
   * Many small runs in one message; numbers are those of runs one by one. @default all rows at once
   */
  readonly batch?: number
  /**
   * Given the input buffers back when the run is done, as new arrays over the same memory. Big inputs that are made for
   * every run otherwise cost more garbage collection than their run does. Only with `transfer`.
   */
  readonly reclaim?: (feeds: TensorMap) => void
}

export class WorkerSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly #worker: ComputeWorker
  readonly #id: number
  readonly #name: string
  readonly #ownsWorker: boolean
  #closed: Promise<void> | undefined

  private constructor(worker: ComputeWorker, id: number, name: string, ownsWorker: boolean, opened: WorkerResult) {
    this.#worker = worker
    this.#id = id
    this.#name = name
    this.#ownsWorker = ownsWorker
    this.inputNames = opened.inputNames ?? []
    this.outputNames = opened.outputNames ?? []
  }

  /**
   * Loads `model`, and the state of a training model.
   * @param sharesStateOf - a session of the same worker whose state this one goes on with
   * @throws SIDESTREAM_SESSION_FAILED
   */
  static async open(
    model: Uint8Array,
    name: string,
    options: WorkerSessionOptions,
    state?: Readonly<Record<string, Tensor>>,
    sharesStateOf?: WorkerSession,
  ): Promise<WorkerSession> {
    const shared = sharesStateOf === undefined ? undefined : { worker: sharesStateOf.#worker, id: sharesStateOf.#id }
    const worker = shared?.worker ?? options.worker ?? new ComputeWorker({ name })
    const owns = shared === undefined && options.worker === undefined
    const session = worker.nextSession()
    const { threads = 1, optimization = 'all', providers = ['cpu'] } = options
    try {
      const settings = { threads, optimization, providers }
      const opened = await worker.ask({ kind: 'open', session, model, options: settings, sharesStateOf: shared?.id })
      const made = new WorkerSession(worker, session, name, owns, opened)
      if (state !== undefined) await made.setState(state)
      return made
    } catch (error) {
      if (owns) await worker.close()
      throw error
    }
  }

  /** @throws SIDESTREAM_SESSION_FAILED, SIDESTREAM_CLOSED */
  async run(feeds: Readonly<Record<string, Tensor>>, { outputs, transfer = false, batch, reclaim }: RunOptions): Promise<TensorMap> {
    const sent: TensorMap = transfer ? { ...feeds } : copies(feeds)
    const request = { kind: 'run', session: this.#id, feeds: sent, outputs, batch, reclaim: transfer && reclaim !== undefined } as const
    const { tensors, reclaimed } = await this.#ask(request, buffersOf(Object.values(sent)))
    if (reclaimed !== undefined) reclaim?.(reclaimed)
    return tensors
  }

  /** Feeds every later run with these (copied), unless it brings its own. @throws SIDESTREAM_SESSION_FAILED, SIDESTREAM_CLOSED */
  async hold(feeds: Readonly<Record<string, Tensor>>): Promise<void> {
    const sent = copies(feeds)
    await this.#ask({ kind: 'hold', session: this.#id, feeds: sent }, buffersOf(Object.values(sent)))
  }

  /** Replaces the states named (copied); others stay. */
  async setState(state: Readonly<Record<string, Tensor>>): Promise<void> {
    const sent = copies(state)
    await this.#ask({ kind: 'set-state', session: this.#id, state: sent }, buffersOf(Object.values(sent)))
  }

  async state(): Promise<TensorMap> {
    return (await this.#ask({ kind: 'get-state', session: this.#id })).tensors
  }

  close(): Promise<void> {
    this.#closed ??= this.#ownsWorker ? this.#worker.close() : this.#worker.ask({ kind: 'close', session: this.#id }).then(() => undefined)
    return this.#closed
  }

  async #ask(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<WorkerResult> {
    if (this.#closed) throw new SidestreamError('SIDESTREAM_CLOSED', `session ${this.#name} is closed`)
    return this.#worker.ask(request, transfer)
  }
}

/** Copies whose buffers can be given away; a view would otherwise take its whole buffer along. */
function copies(tensors: Readonly<Record<string, Tensor>>): TensorMap {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, cloneTensor(tensor)]))
}
