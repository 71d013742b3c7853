/**
 * An ONNX model in a worker thread: arrays in, arrays out. Invariant: results come in the order of the calls.
 */

import { buffersOf, ComputeWorker } from './compute-worker.ts'
import { cloneTensor } from './tensor.ts'
import type { Tensor } from './tensor.ts'
import type { SessionOptions, TensorMap } from './worker-protocol.ts'

export interface SessionCreateOptions extends SessionOptions {
  /** Appears in errors and as the thread's name. @default 'session' */
  readonly name?: string
  /** Shares this thread instead of starting one; its runs then queue behind one another. */
  readonly worker?: ComputeWorker
}

export interface RunOptions {
  /** Only these outputs. @default all */
  readonly outputs?: readonly string[]
  /**
   * Gives the input buffers away instead of copying them: the caller's arrays, and every other view on the same
   * buffers, are empty afterwards. @default false
   */
  readonly transfer?: boolean
}

export class Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly #worker: ComputeWorker
  readonly #id: number
  readonly #ownsWorker: boolean
  #closed: Promise<void> | undefined

  private constructor(
    worker: ComputeWorker,
    id: number,
    ownsWorker: boolean,
    names: { input: readonly string[]; output: readonly string[] },
  ) {
    this.#worker = worker
    this.#id = id
    this.#ownsWorker = ownsWorker
    this.inputNames = names.input
    this.outputNames = names.output
  }

  /** Loads `model` (ONNX bytes, copied) into a worker. @throws SIDESTREAM_SESSION_FAILED */
  static async create(model: Uint8Array, options: SessionCreateOptions = {}): Promise<Session> {
    const worker = options.worker ?? new ComputeWorker({ name: options.name ?? 'session' })
    const id = worker.nextSession()
    try {
      const opened = await worker.ask({ kind: 'open', session: id, model, options: sessionOptions(options) })
      return new Session(worker, id, options.worker === undefined, { input: opened.inputNames ?? [], output: opened.outputNames ?? [] })
    } catch (error) {
      if (options.worker === undefined) await worker.close()
      throw error
    }
  }

  /**
   * Runs the model. Inputs are copied unless `transfer` is set; outputs belong to the caller. Several runs may be under
   * way at once; they are answered in order.
   * @throws SIDESTREAM_SESSION_FAILED
   */
  async run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<TensorMap> {
    const sent: TensorMap = options.transfer ? { ...feeds } : copies(feeds)
    const request = { kind: 'run', session: this.#id, feeds: sent, outputs: options.outputs } as const
    return (await this.#worker.ask(request, buffersOf(Object.values(sent)))).tensors
  }

  /** Ends the session after the runs under way, and its thread if it is its own. */
  close(): Promise<void> {
    this.#closed ??= this.#ownsWorker ? this.#worker.close() : this.#worker.ask({ kind: 'close', session: this.#id }).then(() => undefined)
    return this.#closed
  }
}

/** Copies whose buffers can be given away; a view would otherwise take its whole buffer along. */
export function copies(tensors: Readonly<Record<string, Tensor>>): TensorMap {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, cloneTensor(tensor)]))
}

/** The options with their defaults. */
export function sessionOptions({ threads = 1, optimization = 'all' }: SessionOptions): Required<SessionOptions> {
  return { threads, optimization }
}
