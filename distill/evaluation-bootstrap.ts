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
  return bootstrapMeans([values], users, options)[0]!
}

/**
 * The same of several figures at once. Figures over the same events share their draws, so that twenty cost little more than
 * one; each interval is the one that `bootstrapMean` gives.
 * @param columns - one value per event of each figure, each shape [events]; NaN = the event does not count
 */
export function bootstrapMeans(columns: readonly Float64Array[], users: Int32Array, options: BootstrapOptions = {}): Interval[] {
  const intervals = new Map<number, Interval>()
  for (const group of groupsOfEvents(columns)) {
    const found = bootstrapGroup(
      group.map((c) => columns[c]!),
      users,
      { ...bootstrapDefaults, ...options },
    )
    group.forEach((c, i) => intervals.set(c, found[i]!))
  }
  return columns.map((_, c) => intervals.get(c)!)
}

/** Columns, by number, that count the same events. */
function groupsOfEvents(columns: readonly Float64Array[]): number[][] {
  const groups: number[][] = []
  columns.forEach((values, c) => {
    const group = groups.find(([first]) => columns[first!]!.every((value, i) => Number.isNaN(value) === Number.isNaN(values[i]!)))
    if (group) group.push(c)
    else groups.push([c])
  })
  return groups
}

function bootstrapGroup(columns: readonly Float64Array[], users: Int32Array, { seed, replicates }: Required<BootstrapOptions>): Interval[] {
  const { sums, counts } = perUser(columns, users)
  const events = counts.reduce((a, b) => a + b, 0)
  if (events === 0) return columns.map(() => ({ mean: NaN, low: NaN, high: NaN, events: 0 }))
  const words = new Uint32Array(4)
  const drawn = new Float64Array(columns.length)
  const means = columns.map(() => new Float64Array(replicates))
  for (let r = 0; r < replicates; r++) {
    drawn.fill(0)
    let count = 0
    for (let i = 0; i < counts.length; i++) {
      // One counter gives four words.
      if (i % 4 === 0) philox(seed, r, i / 4, words)
      const user = Math.floor((words[i % 4]! / 2 ** 32) * counts.length)
      for (let c = 0; c < columns.length; c++) drawn[c]! += sums[c]![user]!
      count += counts[user]!
    }
    for (let c = 0; c < columns.length; c++) means[c]![r] = drawn[c]! / count
  }
  return means.map((ascending, c) => {
    ascending.sort()
    const total = sums[c]!.reduce((a, b) => a + b, 0)
    return { mean: total / events, low: quantile(ascending, 0.025), high: quantile(ascending, 0.975), events }
  })
}

/** Sums of each column, and count of events, per user that has any, in order of first appearance. */
function perUser(columns: readonly Float64Array[], users: Int32Array): { sums: Float64Array[]; counts: Float64Array } {
  const index = new Map<number, number>()
  const sums: number[][] = columns.map(() => [])
  const counts: number[] = []
  for (let i = 0; i < users.length; i++) {
    if (Number.isNaN(columns[0]![i]!)) continue
    let at = index.get(users[i]!)
    if (at === undefined) {
      index.set(users[i]!, (at = counts.length))
      for (const list of sums) list.push(0)
      counts.push(0)
    }
    for (let c = 0; c < columns.length; c++) sums[c]![at]! += columns[c]![i]!
    counts[at]!++
  }
  return { sums: sums.map((list) => Float64Array.from(list)), counts: Float64Array.from(counts) }
}

/** Quantile of ascending values, linear between neighbors. */
function quantile(ascending: Float64Array, share: number): number {
  const at = share * (ascending.length - 1)
  const below = ascending[Math.floor(at)]!
  return below + (ascending[Math.ceil(at)]! - below) * (at - Math.floor(at))
}
