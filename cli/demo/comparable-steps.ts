/** Which steps of training have a loss that can be set beside others'. */

/** A step counts with at least this share of the rows of the fullest. */
const leastShare = 0.5

/**
 * The loss says how badly the item liked next stands out from the other items of the batch, so it is lower in small batches for
 * that alone: a night's rounds, and the first and the last, would look learned.
 * @param rounds - rows trained on, and the loss of every step
 * @returns losses in order, and how many steps were left out
 */
export function comparableSteps(rounds: readonly { readonly rows: number; readonly losses: readonly number[] }[]): {
  readonly losses: number[]
  readonly smallSteps: number
} {
  const perStep = rounds.map(({ rows, losses }) => (losses.length === 0 ? 0 : rows / losses.length))
  const least = leastShare * Math.max(0, ...perStep)
  const losses = rounds.flatMap((round, i) => (perStep[i]! >= least ? round.losses : []))
  return { losses, smallSteps: rounds.reduce((sum, round) => sum + round.losses.length, 0) - losses.length }
}
