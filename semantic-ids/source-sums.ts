/**
 * What one reading of all rows tells of codebooks: what they leave, and where their codewords should stand.
 * Invariant: float64 sums, row by row in the order of the rows.
 */

import { addScaled, squaredNormAt } from '../compute/index.ts'
import type { FittedLevel } from './fit-state.ts'
import { subtractCodewords, type ResidualRule } from './residual-rule.ts'

/** Squared distance, as a share of the mean squared norm, up to which a row counts as standing on its codeword. */
const standsOn = 1e-14

/** Of one level. */
interface LevelSums {
  /** Of the vectors, or of the residuals at unit length, float64 [size, dim]. */
  readonly sums: Float64Array
  readonly counts: Float64Array
  /** Per code what the levels before leave of its farthest row, float32 [size, dim], and that row's squared distance. */
  readonly farthest: Float32Array
  readonly distances: Float64Array
}

export class SourceSums {
  /** Sum of squared distances so far. */
  left = 0
  rows = 0
  #energy = 0
  readonly #levels: readonly FittedLevel[]
  readonly #dim: number
  readonly #rule: ResidualRule
  readonly #of: readonly LevelSums[]
  /** Rows by a code of level a and one of level b > a, shape [size of a, size of b]; none where residuals have unit length. */
  readonly #pairs = new Map<string, Int32Array>()

  constructor(levels: readonly FittedLevel[], dim: number, rule: ResidualRule) {
    this.#levels = levels
    this.#dim = dim
    this.#rule = rule
    const sizes = levels.map(({ codebook }) => codebook.length / dim)
    this.#of = sizes.map((size) => ({
      sums: new Float64Array(size * dim),
      counts: new Float64Array(size),
      farthest: new Float32Array(size * dim),
      distances: new Float64Array(size).fill(-1),
    }))
    if (rule.unitResiduals) return
    for (const [b, other] of sizes.entries())
      for (const [a, size] of sizes.slice(0, b).entries()) this.#pairs.set(`${a} ${b}`, new Int32Array(size * other))
  }

  /** Takes rows in. @param x - vectors as the quantizer sees them, row-major float32, shape [n, dim]; not changed */
  async add(x: Float32Array): Promise<void> {
    const dim = this.#dim
    const levels = this.#levels.length
    const rows = x.length / dim
    const codes = await this.#rule.allCodesOf(x, this.#levels)
    const residual = x.slice()
    const lengths = new Float64Array(rows).fill(1)
    for (const [level, { codebook }] of this.#levels.entries()) {
      const own = codes.filter((_, at) => at % levels === level)
      this.#rule.ready(residual, lengths)
      const before = residual.slice()
      addUp(this.#of[level]!, this.#rule.unitResiduals ? before : x, dim, own)
      subtractCodewords(residual, dim, codebook, own)
      this.#noteFarthest(this.#of[level]!, before, residual, own)
    }
    for (let row = 0; row < rows; row++) {
      this.#energy += squaredNormAt(x, row * dim, dim)
      this.left += lengths[row]! ** 2 * squaredNormAt(residual, row * dim, dim)
    }
    for (const [key, counts] of this.#pairs) {
      const [a, b] = key.split(' ').map(Number) as [number, number]
      const width = this.#of[b]!.counts.length
      for (let at = 0; at < codes.length; at += levels) counts[codes[at + a]! * width + codes[at + b]!]!++
    }
    this.rows += rows
  }

  #noteFarthest({ farthest, distances }: LevelSums, before: Float32Array, residual: Float32Array, codes: Uint16Array): void {
    const dim = this.#dim
    for (let row = 0; row < codes.length; row++) {
      const distance = squaredNormAt(residual, row * dim, dim)
      const code = codes[row]!
      if (distance <= distances[code]!) continue
      distances[code] = distance
      farthest.set(before.subarray(row * dim, (row + 1) * dim), code * dim)
    }
  }

  /** Codes without rows, by level. */
  dead(): number[] {
    return this.#of.map(({ counts }) => counts.reduce((dead, count) => dead + (count === 0 ? 1 : 0), 0))
  }

  /**
   * The levels with every codeword at the mean of what the others leave of its rows, first level first (of residuals at unit length: of
   * what the levels before left), and every code without rows at the farthest row of one of the fullest.
   */
  moved(): FittedLevel[] {
    const words = this.#levels.map(({ codebook }) => codebook)
    for (const [level, { counts }] of this.#of.entries()) {
      const out = words[level]!.slice()
      for (let code = 0; code < counts.length; code++) if (counts[code]! > 0) out.set(this.#meanOf(level, code, words), code * this.#dim)
      words[level] = out
    }
    for (const [level, of] of this.#of.entries()) this.#revive(words[level]!, of)
    return this.#levels.map((level, at) => ({ ...level, codebook: words[at]! }))
  }

  #meanOf(level: number, code: number, words: readonly Float32Array[]): Float64Array {
    const dim = this.#dim
    const { sums, counts } = this.#of[level]!
    const mean = sums.slice(code * dim, (code + 1) * dim)
    for (const [key, pairs] of this.#pairs) {
      const [a, b] = key.split(' ').map(Number) as [number, number]
      if (level !== a && level !== b) continue
      const width = this.#of[b]!.counts.length
      const other = words[level === a ? b : a]!
      for (let partner = 0; partner < other.length / dim; partner++) {
        const times = level === a ? pairs[code * width + partner]! : pairs[partner * width + code]!
        if (times === 0) continue
        for (let j = 0; j < dim; j++) mean[j]! -= times * other[partner * dim + j]!
      }
    }
    for (let j = 0; j < dim; j++) mean[j]! /= counts[code]!
    return mean
  }

  #revive(words: Float32Array, { counts, farthest, distances }: LevelSums): void {
    const dim = this.#dim
    const least = (standsOn * this.#energy) / this.rows
    const donors = Array.from(counts.keys()).filter((code) => counts[code]! > 1 && distances[code]! > least)
    donors.sort((a, b) => counts[b]! - counts[a]! || a - b)
    for (const code of counts.keys()) {
      if (counts[code]! > 0) continue
      const donor = donors.shift()
      if (donor === undefined) return
      words.set(farthest.subarray(donor * dim, (donor + 1) * dim), code * dim)
    }
  }
}

function addUp({ sums, counts }: LevelSums, rows: Float32Array, dim: number, codes: Uint16Array): void {
  for (let row = 0; row < codes.length; row++) {
    const at = codes[row]! * dim
    counts[codes[row]!]!++
    addScaled(sums, at, rows, row * dim, dim, 1)
  }
}
