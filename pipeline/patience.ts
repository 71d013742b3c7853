/**
 * Waiting for servers that cannot do something now: away, slow, or out of memory.
 * Invariants: only retryable errors are waited out, for as long as the daemon runs; an outage is told when it begins, every half
 * minute, and when it is over, however many calls wait; what waits when the daemon stops fails with what it waited out.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { isRetryable } from '../schemas/index.ts'
import type { ErrorCode, SidestreamError } from '../schemas/index.ts'
import type { Logger } from './project.ts'

const backoffMs = 100
const backoffLimitMs = 2000
const repeatMs = 30_000

/** Calls that wait for the same reason. */
interface Outage {
  calls: number
  readonly sinceMs: number
  toldMs: number
}

export class Patience {
  readonly #logger: Logger
  readonly #ending = new AbortController()
  readonly #outages = new Map<ErrorCode, Outage>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /**
   * Calls `work` until it succeeds, or fails in a way that waiting cannot mend. It must do no harm to do it again: a call that
   * failed may have been done.
   */
  async through<T>(work: () => Promise<T>): Promise<T> {
    let waitsFor: ErrorCode | undefined
    try {
      for (let pauseMs = backoffMs; ; pauseMs = Math.min(2 * pauseMs, backoffLimitMs)) {
        try {
          return await work()
        } catch (error) {
          if (!isRetryable(error)) throw error
          if (waitsFor !== error.code) {
            this.#leave(waitsFor)
            waitsFor = error.code
            this.#enter(waitsFor)
          }
          if (this.isOver) throw error
          this.#tell(error)
          await sleep(pauseMs, undefined, { signal: this.#ending.signal }).catch(() => {})
          if (this.isOver) throw error
        }
      }
    } finally {
      this.#leave(waitsFor)
    }
  }

  /** Nothing is waited for any more. */
  end(): void {
    this.#ending.abort()
  }

  get isOver(): boolean {
    return this.#ending.signal.aborted
  }

  /** True while calls wait. */
  get isWaiting(): boolean {
    return this.#outages.size > 0
  }

  #enter(code: ErrorCode): void {
    const outage = this.#outages.get(code)
    if (outage === undefined) this.#outages.set(code, { calls: 1, sinceMs: performance.now(), toldMs: -Infinity })
    else outage.calls++
  }

  #leave(code: ErrorCode | undefined): void {
    const outage = code === undefined ? undefined : this.#outages.get(code)
    if (outage === undefined || --outage.calls > 0) return
    this.#outages.delete(code!)
    if (this.isOver) return
    const waitedMs = Math.round(performance.now() - outage.sinceMs)
    this.#logger.info({ code, waitedMs }, `what waited goes on, after ${(waitedMs / 1000).toFixed(1)} s`)
  }

  #tell(error: SidestreamError): void {
    const outage = this.#outages.get(error.code)!
    const now = performance.now()
    if (now - outage.toldMs < repeatMs) return
    outage.toldMs = now
    this.#logger.warn({ code: error.code, waitedMs: Math.round(now - outage.sinceMs), calls: outage.calls }, `waiting: ${error.message}`)
  }
}
