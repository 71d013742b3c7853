/**
 * Whether the loss of a source runs away: the mean of a stretch of 100 steps against that of the first 100 of the plan.
 * Invariant: each plan has a watch of its own, since rows of a batch, negatives and temperatures differ from plan to plan, and
 * with them the loss of a head that is as good.
 */

/** Steps of a stretch. */
const stretch = 100
/** Below it a loss is small, whatever it is a multiple of. */
const smallLoss = 1

export interface RisenLoss {
  /** Mean loss of the first stretch and of the last one. */
  readonly first: number
  readonly last: number
  /** Step at which the last stretch began. */
  readonly since: number
}

interface Watched {
  first: number | undefined
  sum: number
  steps: number
  since: number
}

export class LossWatch {
  readonly #maxRise: number
  readonly #sources = new Map<string, Watched>()

  /** @param maxRise - null: any rise is borne */
  constructor(maxRise: number | null) {
    this.#maxRise = maxRise ?? Infinity
  }

  /** Takes the loss of a step. @returns what has risen, when this step completes a stretch that has */
  add(source: string, step: number, loss: number): RisenLoss | undefined {
    const own = this.#sources.get(source) ?? { first: undefined, sum: 0, steps: 0, since: step }
    this.#sources.set(source, own)
    if (own.steps === 0) own.since = step
    own.sum += loss
    if (++own.steps < stretch) return undefined
    const last = own.sum / stretch
    own.sum = own.steps = 0
    if (own.first === undefined) own.first = last
    return last > this.#maxRise * Math.max(own.first, smallLoss) ? { first: own.first, last, since: own.since } : undefined
  }
}
