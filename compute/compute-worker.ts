/**
 * One worker thread that runs ONNX sessions. Requests are queued in the thread and answered in order, so several may
 * be under way. Invariants: a forgotten worker never keeps the process alive, a run under way does; after `close`
 * every request is refused.
 */

import { Worker } from 'node:worker_threads'
import { SidestreamError } from '../schemas/index.ts'
import type { Tensor } from './tensor.ts'
import type { Answer, Message, Request, WorkerResult } from './worker-protocol.ts'

interface Waiting {
  resolve(result: WorkerResult): void
  reject(error: Error): void
}

export class ComputeWorker {
  readonly name: string
  readonly #thread: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #answers = new Set<Promise<WorkerResult>>()
  #nextId = 1
  #nextSession = 1
  /** Why requests are refused. */
  #ended: Error | undefined
  #closing: Promise<void> | undefined

  constructor({ name = 'compute' }: { readonly name?: string } = {}) {
    this.name = name
    this.#thread = startThread(name)
    this.#thread.on('message', (answer: Answer) => this.#settle(answer))
    this.#thread.on('error', (error) => this.#end(failed(`worker ${name} failed: ${error.message}`, error)))
    this.#thread.on('exit', (code) => this.#end(failed(`worker ${name} ended with code ${code}`)))
    this.#thread.unref()
  }

  /** A number for a new session in this worker. */
  nextSession(): number {
    return this.#nextSession++
  }

  /**
   * Sends a request; resolves with its answer.
   * @param transfer - buffers that the caller gives away
   * @throws SIDESTREAM_SESSION_FAILED with ONNX Runtime's error as cause; SIDESTREAM_CLOSED after `close`
   */
  ask(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<WorkerResult> {
    if (this.#ended) return Promise.reject(this.#ended)
    const id = this.#nextId++
    const answer = new Promise<WorkerResult>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    this.#answers.add(answer)
    const forget = (): void => void this.#answers.delete(answer)
    answer.then(forget, forget)
    this.#thread.ref()
    try {
      this.#thread.postMessage({ ...request, id } satisfies Message, transfer)
    } catch (cause) {
      this.#done(id)?.reject(failed(`worker ${this.name}: the request cannot be sent (was a buffer given away before?)`, cause))
    }
    return answer
  }

  /** Ends the thread after the requests under way; later ones are refused at once. */
  close(): Promise<void> {
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    if (this.#ended) return
    this.#ended = new SidestreamError('SIDESTREAM_CLOSED', `worker ${this.name} is closed`)
    await Promise.allSettled(this.#answers)
    await this.#thread.terminate()
  }

  #settle(answer: Answer): void {
    const waiting = this.#done(answer.id)
    if (answer.ok) return waiting?.resolve(answer.result)
    const cause = new Error(answer.message)
    if (answer.stack !== undefined) cause.stack = answer.stack
    waiting?.reject(failed(`worker ${this.name}: ${answer.message}`, cause))
  }

  #done(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (this.#waiting.size === 0) this.#thread.unref()
    return waiting
  }

  #end(error: Error): void {
    this.#ended ??= error
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(this.#ended)
  }
}

/** Buffers of `tensors` for a transfer list; shared memory is no one's to give away. */
export function buffersOf(tensors: Iterable<Tensor>): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>()
  for (const { data } of tensors) if (data.buffer instanceof ArrayBuffer) buffers.add(data.buffer)
  return [...buffers]
}

function failed(message: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_SESSION_FAILED', message, { cause })
}

/**
 * Starts the thread by a script that imports its module: a file would be refused in a process started with `--input-type`, whose options
 * a thread inherits, and under tsx the module is TypeScript, which a thread loads only after tsx is registered in it.
 */
function startThread(name: string): Worker {
  const source = import.meta.url.endsWith('.ts')
  const url = new URL(source ? './session-worker.ts' : './session-worker.js', import.meta.url)
  const load = `import(${JSON.stringify(url.href)})`
  // An evaluated script resolves from the working directory, which may be anywhere.
  const script = source
    ? `import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then((tsx) => { tsx.register(); return ${load} })`
    : load
  return new Worker(script, { name, eval: true })
}
