/**
 * Learning rates as functions of the step number (from 0). Invariant: pure, so a restart continues the same curve.
 */

/** Learning rate of step `step` (0 is the first). */
export type Schedule = (step: number) => number

export interface CosineOptions {
  readonly totalSteps: number
  readonly warmupSteps: number
  readonly max: number
  readonly min: number
}

/** Rises linearly to `max` at the last warm-up step, then falls along half a cosine to `min` at `totalSteps`. */
export function cosineSchedule({ totalSteps, warmupSteps, max, min }: CosineOptions): Schedule {
  return (step) => {
    if (step < warmupSteps) return (max * (step + 1)) / warmupSteps
    const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps))
    return min + 0.5 * (max - min) * (1 + Math.cos(Math.PI * progress))
  }
}

export interface OneCycleOptions {
  readonly totalSteps: number
  readonly max: number
  /** Share of the steps that rise. @default 0.3 */
  readonly warmupShare?: number
  /** First rate = max / this. @default 25 */
  readonly divFactor?: number
  /** Last rate = first rate / this. @default 1e4 */
  readonly finalDivFactor?: number
}

export const oneCycleDefaults = { warmupShare: 0.3, divFactor: 25, finalDivFactor: 1e4 } as const

/** One rise and one fall, both along half a cosine; the same curve as PyTorch's OneCycleLR. */
export function oneCycleSchedule(options: OneCycleOptions): Schedule {
  const { totalSteps, max, warmupShare, divFactor, finalDivFactor } = { ...oneCycleDefaults, ...options }
  const first = max / divFactor
  const last = first / finalDivFactor
  const top = warmupShare * totalSteps - 1
  const end = totalSteps - 1
  const between = (from: number, to: number, share: number): number => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share))
  return (step) => {
    const at = Math.min(step, end)
    return at <= top ? between(first, max, top === 0 ? 1 : at / top) : between(max, last, (at - top) / (end - top))
  }
}

/** Rises linearly to `max` over `warmupSteps`, then stays: for training that never ends. */
export function constantAfterWarmup({ max, warmupSteps }: { readonly max: number; readonly warmupSteps: number }): Schedule {
  return (step) => (step < warmupSteps ? (max * (step + 1)) / warmupSteps : max)
}
