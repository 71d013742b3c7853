/**
 * Freshness per record: readable time minus log append time, in a histogram of fixed size.
 * Invariant: a quantile is at most 1/32 (3.2 %) above the exact one; counts are exact, and so is the largest value.
 */

/** Linear steps of 1/8 ms up to 8 ms, then 32 steps per doubling. */
const unitMs = 0.125
const linear = 64
const steps = 32
/** Values above unitMs * 2^40 (four years) share the last bucket. */
const buckets = linear + steps * 34

/** One bar of the histogram: `fromMs <= value < toMs`. */
export interface FreshnessBucket {
  readonly fromMs: number
  readonly toMs: number
  readonly count: number
}

export interface FreshnessSummary {
  readonly count: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Counts durations in milliseconds. A negative one (clocks that disagree) counts as zero. */
export class FreshnessHistogram {
  readonly #counts = new Float64Array(buckets)
  #count = 0
  #maxMs = 0

  /** Records one duration. */
  record(ms: number): void {
    const value = ms > 0 ? ms : 0
    this.#counts[bucketOf(value)]!++
    this.#count++
    if (value > this.#maxMs) this.#maxMs = value
  }

  /** Adds all that another histogram has counted. */
  merge(other: FreshnessHistogram): void {
    for (let i = 0; i < buckets; i++) this.#counts[i]! += other.#counts[i]!
    this.#count += other.#count
    this.#maxMs = Math.max(this.#maxMs, other.#maxMs)
  }

  get count(): number {
    return this.#count
  }

  /** Upper end of the bucket that holds the q-quantile (0 to 1), never above the largest value; 0 when nothing was recorded. */
  quantile(q: number): number {
    if (this.#count === 0) return 0
    const rank = Math.max(1, Math.ceil(q * this.#count))
    let seen = 0
    for (let i = 0; i < buckets; i++) {
      seen += this.#counts[i]!
      if (seen >= rank) return Math.min(lowerEnd(i + 1), this.#maxMs)
    }
    return this.#maxMs
  }

  summary(): FreshnessSummary {
    return { count: this.#count, p50Ms: this.quantile(0.5), p90Ms: this.quantile(0.9), p99Ms: this.quantile(0.99), maxMs: this.#maxMs }
  }

  /** Bars that hold anything, ascending. */
  bars(): FreshnessBucket[] {
    const bars: FreshnessBucket[] = []
    for (let i = 0; i < buckets; i++) {
      if (this.#counts[i]! > 0) bars.push({ fromMs: lowerEnd(i), toMs: lowerEnd(i + 1), count: this.#counts[i]! })
    }
    return bars
  }
}

function bucketOf(ms: number): number {
  const units = Math.floor(ms / unitMs)
  if (units < linear) return units
  const exponent = Math.floor(Math.log2(units))
  const step = Math.floor((units / 2 ** exponent - 1) * steps)
  return Math.min(buckets - 1, linear + (exponent - 6) * steps + step)
}

function lowerEnd(bucket: number): number {
  if (bucket < linear) return bucket * unitMs
  const exponent = 6 + Math.floor((bucket - linear) / steps)
  const step = (bucket - linear) % steps
  return 2 ** exponent * (1 + step / steps) * unitMs
}
