/**
 * The rule of the live pointer, for drivers that run it themselves: compare, then set and append to the history.
 * Invariant: a command id is done at most once; seq and epoch grow by one with every change.
 */

import type { LivePointer, PointerChange, SwapOutcome, SwapRequest } from './store.ts'

/** What a driver keeps per project. */
export interface PointerState {
  readonly live: LivePointer
  /** seq of the last change. */
  readonly seq: number
}

/**
 * Judges one swap.
 * @param state - what is stored now; undefined when nothing was ever live
 * @param earlier - the change this command made before, if any
 * @param at - store clock, milliseconds
 */
export function judgeSwap(
  request: SwapRequest,
  state: PointerState | undefined,
  earlier: PointerChange | undefined,
  at: number,
): SwapOutcome {
  if (earlier !== undefined) return { outcome: 'repeated', change: earlier }
  const { expected, version, action, commandId } = request
  const live = state?.live
  if (expected?.version !== live?.version || expected?.epoch !== live?.epoch) return { outcome: 'moved', live }
  return {
    outcome: 'swapped',
    change: { seq: (state?.seq ?? 0) + 1, version, epoch: (live?.epoch ?? 0) + 1, action, commandId, at },
  }
}
