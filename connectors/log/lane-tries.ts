/** The tries of one batch: its handler is called until it takes it, the batch is given up, or an error stays. */
import { isRetryable } from '../../schemas/index.ts'

const backoffMs = 100
const backoffLimitMs = 5000

export interface TriesOptions {
  /** Further tries after errors that are not retryable. */
  readonly handlerRetries: number
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>
  /** The lane takes no further batch. */
  readonly stopped: AbortSignal
  /** The lane is to go on elsewhere. */
  readonly isSought: () => boolean
  readonly isPaused: () => boolean
  /** Resolves when one of these may have changed. */
  readonly woken: () => Promise<void>
}

/**
 * Resolves when the batch was taken, or given up by a seek or a stop.
 * @param handOver - one try
 * @throws what `handOver` throws, when it is not retryable and stays
 */
export async function tried(handOver: () => Promise<void>, options: TriesOptions): Promise<void> {
  const { handlerRetries, wait, stopped, isSought, isPaused, woken } = options
  let failures = 0
  for (let pauseMs = backoffMs; ; pauseMs = Math.min(pauseMs * 2, backoffLimitMs)) {
    try {
      return await handOver()
    } catch (error) {
      if (stopped.aborted) return
      if (!isRetryable(error) && ++failures > handlerRetries) throw error
    }
    await wait(pauseMs, stopped)
    while (isPaused() && !isSought() && !stopped.aborted) await woken()
    if (isSought() || stopped.aborted) return
  }
}

/** What was thrown, as an error that can be told. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error })
}
