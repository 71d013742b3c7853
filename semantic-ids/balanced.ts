/**
 * Balanced assignment by Sinkhorn's iterations, a batch at a time: codes that many rows want become dear, others cheap.
 * Invariants: memory is batch x size, however many rows there are; the prices that a fit freezes make every assignment a function
 * of the row alone.
 *
 * With costs D, eps = epsilonShare * mean(D), M = -D / eps: f_i = -ln B - lse_k(M_ik + g_k), g_k = -ln K - lse_i(M_ik + f_i), from the
 * running log price; a row takes the code with the largest M + f + g. The price of a code is eps * g, in units of squared distance.
 */

import { SidestreamError } from '../schemas/index.ts'
import { penaltiesOfPrices } from './codebooks.ts'

export interface BalanceOptions {
  /**
   * Strength of the entropy as a share of the mean cost of a batch. Lower: nearer to equal shares, more iterations.
   * @default 0.05
   */
  readonly epsilonShare?: number
  /** Sinkhorn's iterations per batch. Higher: slower, the shares of a batch are nearer to equal. @default 50 */
  readonly iterations?: number
  /** Share of the running log price that a batch leaves as it was. Higher: prices follow single batches less. @default 0.9 */
  readonly momentum?: number
  /** Rows per batch; at least four per code are taken. Higher: more memory (batch x size numbers of 8 bytes). @default 1024 */
  readonly batch?: number
  /** Balanced rounds at the end of a level's fit, among its `iterations`. Higher: slower. @default 5 */
  readonly rounds?: number
}

export const balanceDefaults: Readonly<Required<BalanceOptions>> = {
  epsilonShare: 0.05,
  iterations: 50,
  momentum: 0.9,
  batch: 1024,
  rounds: 5,
}

/** Scalings beyond this are near what float64 can hold; the batch is done again with logarithms. */
const largestScaling = 1e250

/** Running prices of one level. */
export class BalancedPrices {
  readonly size: number
  /** Running log price, mean 0, float64, shape [size]. */
  readonly logPrices: Float64Array
  /** Unit of the log price in squared distance, of the newest batch; 0 before the first. */
  epsilon = 0
  /** Log price of the newest batch, mean 0. */
  readonly batchLogPrices: Float64Array
  readonly #options: Required<BalanceOptions>

  /** @throws SIDESTREAM_SHAPE_MISMATCH for options out of range */
  constructor(size: number, options: BalanceOptions = {}) {
    this.size = size
    this.logPrices = new Float64Array(size)
    this.batchLogPrices = new Float64Array(size)
    this.#options = checkedBalance(options)
  }

  /**
   * Assigns one batch and moves the running price.
   * @param costs - squared distances, row-major float64, shape [rows, size]; overwritten
   * @param codes - written, shape [rows]
   * @param momentum - instead of the option's; none at the first batch
   */
  assign(costs: Float64Array, codes: Int32Array | Uint16Array, momentum = this.#options.momentum): void {
    const { size, logPrices, batchLogPrices } = this
    const rows = codes.length
    let sum = 0
    for (let at = 0; at < rows * size; at++) sum += costs[at]!
    const mean = sum / (rows * size)
    // All rows stand on all codewords: nothing to price.
    if (!(mean > 0)) return void codes.fill(0)
    const epsilon = this.#options.epsilonShare * mean
    for (let at = 0; at < rows * size; at++) costs[at] = -costs[at]! / epsilon
    batchLogPrices.set(logPrices)
    const { iterations } = this.#options
    if (!scaledPrices(costs, rows, size, batchLogPrices, iterations)) {
      batchLogPrices.set(logPrices)
      logarithmicPrices(costs, rows, size, batchLogPrices, iterations)
    }
    cheapest(costs, rows, size, batchLogPrices, codes)
    center(batchLogPrices)
    const kept = this.epsilon === 0 ? 0 : momentum
    for (let code = 0; code < size; code++) logPrices[code] = kept * logPrices[code]! + (1 - kept) * batchLogPrices[code]!
    this.epsilon = epsilon
  }

  /** Costs to add to squared distances, all at least 0 and the least 0: what a frozen price comes to. Float32, shape [size]. */
  penalties(): Float32Array {
    return penaltiesOfPrices(this.logPrices.map((price) => this.epsilon * price))
  }
}

/** @throws SIDESTREAM_SHAPE_MISMATCH for options out of range */
export function checkedBalance(options: BalanceOptions): Required<BalanceOptions> {
  const balance = { ...balanceDefaults, ...options }
  const whole = [balance.iterations, balance.batch, balance.rounds].every((value) => Number.isInteger(value) && value >= 1)
  if (!(balance.epsilonShare > 0 && balance.epsilonShare < Infinity) || !(balance.momentum >= 0 && balance.momentum < 1) || !whole) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `balancing needs an epsilonShare above 0, a momentum of at least 0 and below 1, and whole iterations, batch and rounds from 1 on; got ${JSON.stringify(balance)}`,
    )
  }
  return balance
}

/**
 * Sinkhorn on exp(M + g - row maximum) itself: one multiplication per cell and half-iteration instead of an exponential.
 * @param prices - in: log prices to start from; out: those of the batch, not centered
 * @returns false when numbers leave the range of float64; `prices` are of no use then
 */
function scaledPrices(logits: Float64Array, rows: number, size: number, prices: Float64Array, iterations: number): boolean {
  const kernel = new Float64Array(rows * size)
  for (let row = 0, at = 0; row < rows; row++, at += size) {
    let most = -Infinity
    for (let code = 0; code < size; code++) most = Math.max(most, logits[at + code]! + prices[code]!)
    for (let code = 0; code < size; code++) kernel[at + code] = Math.exp(logits[at + code]! + prices[code]! - most)
  }
  const scaling = new Float64Array(size).fill(1)
  const columns = new Float64Array(size)
  for (let iteration = 0; iteration < iterations; iteration++) {
    scaleRows(kernel, rows, size, scaling, columns)
    for (let code = 0; code < size; code++) {
      const next = 1 / (size * columns[code]!)
      if (!(next < largestScaling && next > 1 / largestScaling)) return false
      scaling[code] = next
    }
  }
  for (let code = 0; code < size; code++) prices[code] = prices[code]! + Math.log(scaling[code]!)
  return true
}

/** Scales rows to mass 1 / rows and adds up the columns. */
function scaleRows(kernel: Float64Array, rows: number, size: number, scaling: Float64Array, columns: Float64Array): void {
  columns.fill(0)
  for (let row = 0, at = 0; row < rows; row++, at += size) {
    let sum = 0
    for (let code = 0; code < size; code++) sum += kernel[at + code]! * scaling[code]!
    const factor = 1 / (rows * sum)
    for (let code = 0; code < size; code++) columns[code] = columns[code]! + factor * kernel[at + code]!
  }
}

/** The same with logarithms, which hold any cost; slower. */
function logarithmicPrices(logits: Float64Array, rows: number, size: number, prices: Float64Array, iterations: number): void {
  const most = new Float64Array(size)
  const sums = new Float64Array(size)
  const rowPrices = new Float64Array(rows)
  for (let iteration = 0; iteration < iterations; iteration++) {
    most.fill(-Infinity)
    for (let row = 0, at = 0; row < rows; row++, at += size) {
      let largest = -Infinity
      for (let code = 0; code < size; code++) largest = Math.max(largest, logits[at + code]! + prices[code]!)
      let sum = 0
      for (let code = 0; code < size; code++) sum += Math.exp(logits[at + code]! + prices[code]! - largest)
      rowPrices[row] = -Math.log(rows) - largest - Math.log(sum)
      for (let code = 0; code < size; code++) most[code] = Math.max(most[code]!, logits[at + code]! + rowPrices[row]!)
    }
    sums.fill(0)
    for (let row = 0, at = 0; row < rows; row++, at += size) {
      for (let code = 0; code < size; code++) sums[code] = sums[code]! + Math.exp(logits[at + code]! + rowPrices[row]! - most[code]!)
    }
    for (let code = 0; code < size; code++) prices[code] = -Math.log(size) - most[code]! - Math.log(sums[code]!)
  }
}

/** Code with the largest logit plus price of every row, the lowest on ties. */
function cheapest(logits: Float64Array, rows: number, size: number, prices: Float64Array, codes: Int32Array | Uint16Array): void {
  for (let row = 0, at = 0; row < rows; row++, at += size) {
    let best = 0
    let most = -Infinity
    for (let code = 0; code < size; code++) {
      const value = logits[at + code]! + prices[code]!
      if (value > most) {
        most = value
        best = code
      }
    }
    codes[row] = best
  }
}

function center(prices: Float64Array): void {
  let sum = 0
  for (let code = 0; code < prices.length; code++) sum += prices[code]!
  const mean = sum / prices.length
  for (let code = 0; code < prices.length; code++) prices[code] = prices[code]! - mean
}

/**
 * Squared distances of rows [from, to) to all codewords, by direct differences in index order.
 * @param rows - row-major float32, shape [n, dim]
 * @param out - written, float64, shape [to - from, size]
 */
export function squaredDistances(
  rows: Float32Array,
  dim: number,
  from: number,
  to: number,
  codebook: Float32Array,
  out: Float64Array,
): void {
  const size = codebook.length / dim
  const last = size - 1
  const x = new Float64Array(dim)
  for (let row = from, at = 0; row < to; row++, at += size) {
    for (let j = 0; j < dim; j++) x[j] = rows[row * dim + j]!
    // Four sums at a time: one would wait for itself.
    for (let code = 0; code < size; code += 4) {
      let at0 = code * dim
      let at1 = Math.min(code + 1, last) * dim
      let at2 = Math.min(code + 2, last) * dim
      let at3 = Math.min(code + 3, last) * dim
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]
      for (let j = 0; j < dim; j++) {
        const value = x[j]!
        const d0 = value - codebook[at0++]!
        const d1 = value - codebook[at1++]!
        const d2 = value - codebook[at2++]!
        const d3 = value - codebook[at3++]!
        sum0 += d0 * d0
        sum1 += d1 * d1
        sum2 += d2 * d2
        sum3 += d3 * d3
      }
      out[at + code] = sum0
      if (code + 1 < size) out[at + code + 1] = sum1
      if (code + 2 < size) out[at + code + 2] = sum2
      if (code + 3 < size) out[at + code + 3] = sum3
    }
  }
}
