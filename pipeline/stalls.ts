/**
 * Tells of consumers without progress: brokers that are away, or a batch that takes very long.
 * Invariant: a stall is told when it is found, every half minute, and when it is over; it changes nothing.
 */

import type { LogConsumer } from '../connectors/index.ts'
import type { Project } from './project.ts'

const checkMs = 1000
/** Longer than any fetch or handler takes when all is well. */
const stallMs = 10_000
const repeatMs = 30_000

export class Stalls {
  readonly #project: Pick<Project, 'logger' | 'clock'>
  /** Whether it is told already why nothing goes on. */
  readonly #isExplained: () => boolean
  readonly #watched = new Map<LogConsumer, string>()
  readonly #timer: NodeJS.Timeout
  #toldMs: number | undefined

  constructor(project: Pick<Project, 'logger' | 'clock'>, isExplained: () => boolean) {
    this.#project = project
    this.#isExplained = isExplained
    this.#timer = setInterval(() => this.#check(), checkMs)
    this.#timer.unref()
  }

  /** Watches a consumer while it runs. @returns to be used in its place */
  watched(consumer: LogConsumer, group: string): LogConsumer {
    return {
      run: (handlers) => {
        this.#watched.set(consumer, group)
        return consumer.run(handlers)
      },
      lag: () => consumer.lag(),
      lastProgress: () => consumer.lastProgress(),
      stop: (options) => {
        this.#watched.delete(consumer)
        return consumer.stop(options)
      },
    }
  }

  end(): void {
    clearInterval(this.#timer)
  }

  #check(): void {
    const { logger, clock } = this.#project
    const now = clock()
    const silent = [...this.#watched].map(([consumer, group]) => ({ group, silentMs: now - consumer.lastProgress() }))
    const stalled = silent.filter(({ silentMs }) => silentMs > stallMs)
    if (stalled.length === 0) {
      if (this.#toldMs !== undefined) logger.info({}, 'all groups read from the log again')
      this.#toldMs = undefined
      return
    }
    if (this.#isExplained() || performance.now() - (this.#toldMs ?? -Infinity) < repeatMs) return
    this.#toldMs = performance.now()
    const silentMs = Math.max(...stalled.map((one) => one.silentMs))
    logger.warn(
      { groups: [...new Set(stalled.map(({ group }) => group))], silentMs },
      `no progress for ${Math.round(silentMs / 1000)} s: the log does not answer, or a batch takes that long; it goes on by itself`,
    )
  }
}
