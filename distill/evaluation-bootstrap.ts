/**
 * Intervals that respect users: events of one user are drawn together.
 * Invariant: the same seed gives the same interval; nothing is assumed about the distribution of an event's value.
 */
import { philox } from '../compute/index.ts'

export interface BootstrapOptions {
  /** @default 1 */
  readonly seed?: number
  /** How often users are drawn again. Higher: steadier bounds, linear cost. @default 1000 */
  readonly replicates?: number
}

export const bootstrapDefaults: Readonly<Required<BootstrapOptions>> = { seed: 1, replicates: 1000 }

/** Mean over events with the bounds that hold 95 % of the redrawn means. All NaN without events. */
export interface Interval {
  readonly mean: number
  readonly low: number
  readonly high: number
  readonly events: number
}

/**
 * Mean of one value per event, and its 95 % interval over users drawn with replacement. For a difference of two vector
 * sets, give the differences event by event: the draw is then paired.
 * @param values - shape [events]; NaN = the event does not count
 * @param users - user number of each event, shape [events]
 */
export function bootstrapMean(values: Float64Array, users: Int32Array, options: BootstrapOptions = {}): Interval {
  const { seed, replicates } = { ...bootstrapDefaults, ...options }
  const { sums, counts } = perUser(values, users)
  const total = sums.reduce((a, b) => a + b, 0)
  const events = counts.reduce((a, b) => a + b, 0)
  if (events === 0) return { mean: NaN, low: NaN, high: NaN, events: 0 }
  const words = new Uint32Array(4)
  const means = new Float64Array(replicates)
  for (let r = 0; r < replicates; r++) {
    let sum = 0
    let count = 0
    for (let i = 0; i < sums.length; i++) {
      // One counter gives four words.
      if (i % 4 === 0) philox(seed, r, i / 4, words)
      const user = Math.floor((words[i % 4]! / 2 ** 32) * sums.length)
      sum += sums[user]!
      count += counts[user]!
    }
    means[r] = sum / count
  }
  means.sort()
  return { mean: total / events, low: quantile(means, 0.025), high: quantile(means, 0.975), events }
}

/** Sum and count of values per user that has any, in order of first appearance. */
function perUser(values: Float64Array, users: Int32Array): { sums: Float64Array; counts: Float64Array } {
  const index = new Map<number, number>()
  const sums: number[] = []
  const counts: number[] = []
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i]!)) continue
    let at = index.get(users[i]!)
    if (at === undefined) {
      index.set(users[i]!, (at = sums.length))
      sums.push(0)
      counts.push(0)
    }
    sums[at]! += values[i]!
    counts[at]!++
  }
  return { sums: Float64Array.from(sums), counts: Float64Array.from(counts) }
}

/** Quantile of ascending values, linear between neighbors. */
function quantile(ascending: Float64Array, share: number): number {
  const at = share * (ascending.length - 1)
  const below = ascending[Math.floor(at)]!
  return below + (ascending[Math.ceil(at)]! - below) * (at - Math.floor(at))
}
