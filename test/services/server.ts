/**
 * A server that a test owns: its own directory and ports, which stay the same when it is stopped, killed and started again.
 * Invariant: `start` resolves only when the server answers; readiness is asked for, never slept for.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { until } from './ports.ts'
import { runDirectory, signal, startProcess, tailOf } from './process.ts'
import type { ProcessIdentity, ServerProcess } from './process.ts'

/** What differs from server to server. */
export interface ServerKind {
  /** For messages, for example `Kafka broker`. */
  readonly name: string
  readonly command: readonly string[]
  /** Answers true when clients can use it; a throw means not yet. */
  readonly ready: () => Promise<boolean>
  /** Longest start that is still a start. */
  readonly startMs: number
}

export class OwnServer {
  readonly directory: string
  readonly #kind: ServerKind
  readonly #guarded: boolean
  #process: ServerProcess | undefined

  constructor(kind: ServerKind, directory: string, guarded: boolean) {
    this.#kind = kind
    this.directory = directory
    this.#guarded = guarded
  }

  /** Its process; undefined while it does not run. */
  get process(): ProcessIdentity | undefined {
    return this.#process?.identity
  }

  /** What it has printed. */
  get log(): string {
    return join(this.directory, 'server.log')
  }

  /** Starts it, again on the same ports and directory. @throws Error with the end of its log when it does not come up */
  async start(): Promise<void> {
    if (this.#process !== undefined) return
    const { name, command, ready, startMs } = this.#kind
    const running = await startProcess(command, { log: this.log, cwd: this.directory, guarded: this.#guarded })
    this.#process = running
    let ended = false
    void running.ended.then(() => {
      ended = true
      if (this.#process === running) this.#process = undefined
    })
    try {
      await until(
        `${name} answers`,
        async () => !ended && (await ready()),
        startMs,
        () => ended,
      )
    } catch (error) {
      await this.kill()
      throw new Error(`${name} did not start; the end of its log:\n${await tailOf(this.log)}`, { cause: error })
    }
  }

  /** Asks it to end and waits; what does not end within `withinMs` is killed. */
  async stop(withinMs = 10_000): Promise<void> {
    const running = this.#process
    if (running === undefined) return
    signal(running.identity, 'SIGTERM')
    const impatience = setTimeout(() => signal(running.identity, 'SIGKILL'), withinMs)
    await running.untilEnded()
    clearTimeout(impatience)
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    const running = this.#process
    if (running === undefined) return
    signal(running.identity, 'SIGKILL')
    await running.untilEnded()
  }

  /** Freezes it: connections stay open, nothing answers. */
  freeze(): void {
    if (this.#process !== undefined) signal(this.#process.identity, 'SIGSTOP')
  }

  /** Lets it go on after `freeze`. */
  thaw(): void {
    if (this.#process !== undefined) signal(this.#process.identity, 'SIGCONT')
  }

  /** Ends it and removes its directory. */
  async close(): Promise<void> {
    await this.kill()
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
  }
}

/** An empty directory for one server of this process. */
export async function serverDirectory(name: string): Promise<string> {
  return mkdtemp(join(runDirectory(), `${name}-`))
}
