/**
 * Seeded random numbers for the generated world: sfc32, one independent stream per (seed, name, index).
 * Invariant: a stream's numbers depend on its three arguments alone, so what is drawn for one item never shifts another.
 */

/** One stream of random numbers. */
export class RandomStream {
  #a: number
  #b: number
  #c: number
  #d: number
  #spare: number | undefined

  /** @param name - what the stream is for; @param index - which item, user, … of that kind */
  constructor(seed: number, name: string, index = 0) {
    let hash = 0x811c9dc5
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    this.#a = seed | 0
    this.#b = hash | 0
    this.#c = index | 0
    this.#d = 1
    for (let i = 0; i < 15; i++) this.next() // sfc32 needs a few rounds to mix its seed
  }

  /** 32 random bits, as an unsigned integer. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.next() / 4_294_967_296
  }

  /** Uniform whole number in [0, n). */
  below(n: number): number {
    return Math.floor(this.uniform() * n)
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.uniform() < probability
  }

  /** Standard normal (polar Box-Muller). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare
      this.#spare = undefined
      return spare
    }
    for (;;) {
      const x = 2 * this.uniform() - 1
      const y = 2 * this.uniform() - 1
      const square = x * x + y * y
      if (square === 0 || square >= 1) continue
      const scale = Math.sqrt((-2 * Math.log(square)) / square)
      this.#spare = y * scale
      return x * scale
    }
  }

  /** Standard Gumbel: the largest of (score + gumbel) is a draw from the softmax of scores. */
  gumbel(): number {
    return -Math.log(-Math.log(this.uniform() + Number.MIN_VALUE))
  }

  /** Number of failures before the first success: mean (1 - p) / p. */
  geometric(p: number): number {
    return Math.floor(Math.log(1 - this.uniform()) / Math.log(1 - p))
  }
}

/**
 * Draws an index in proportion to weights.
 * @param cumulative - running sum of the weights, shape [n]
 */
export function drawIndex(random: RandomStream, cumulative: Float64Array): number {
  const at = random.uniform() * cumulative[cumulative.length - 1]!
  let low = 0
  let high = cumulative.length - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if (cumulative[middle]! > at) high = middle
    else low = middle + 1
  }
  return low
}
