/**
 * Moves every codeword to the mean of what the other levels leave of its items, first level first.
 * Invariant: float64 sums in a fixed order; codes without rows keep their codeword.
 *
 * The sum of residuals of a code is the sum of its vectors less the codewords that stand beside it, each as often as it does. The
 * first part is kept from round to round and touched only by rows whose code changed; the second needs no vector at all.
 */

import { addScaled } from '../compute/index.ts'
import { codebooksOf, type Codebooks } from './codebooks.ts'

export class CodeSums {
  readonly #x: Float32Array
  readonly #dim: number
  /** Codes per level with codewords. */
  readonly #sizes: readonly number[]
  /** Codes of a row, a finite-scalar level among them. */
  readonly #stride: number
  /** Codes that the sums stand for, row-major [rows, levels]; -1 where a row takes no part. */
  readonly #codes: Int32Array
  /** Per level: sums of vectors, float64 [size, dim], and rows per code. */
  readonly #sums: readonly Float64Array[]
  readonly #counts: readonly Int32Array[]

  /**
   * @param x - vectors as the quantizer sees them (`preparedFloat32`), row-major float32, shape [rows, dim]
   * @param codebooks - give the shape only
   */
  constructor(x: Float32Array, { dim, sizes, levels }: Codebooks) {
    this.#x = x
    this.#dim = dim
    this.#sizes = sizes.slice(0, levels.length)
    this.#stride = sizes.length
    this.#codes = new Int32Array((x.length / dim) * sizes.length).fill(-1)
    this.#sums = this.#sizes.map((size) => new Float64Array(size * dim))
    this.#counts = this.#sizes.map((size) => new Int32Array(size))
  }

  /** Rows per code, by level. */
  get counts(): readonly Int32Array[] {
    return this.#counts
  }

  /**
   * Takes over new codes.
   * @param codes - row-major, shape [n, levels], of the rows from row `first` on; a row of -1 takes no part
   */
  assign(codes: Uint16Array | Int32Array, first = 0): void {
    for (let at = 0, level = 0, row = first; at < codes.length; at++) {
      // A finite-scalar level has nothing to refit.
      if (level < this.#sizes.length) this.#move(row, level, codes[at]!)
      if (++level < this.#stride) continue
      level = 0
      row++
    }
  }

  #move(row: number, level: number, to: number): void {
    const at = row * this.#stride + level
    const from = this.#codes[at]!
    if (to === from) return
    if (from >= 0) this.#add(level, from, row, -1)
    if (to >= 0) this.#add(level, to, row, 1)
    this.#codes[at] = to
  }

  #add(level: number, code: number, row: number, sign: 1 | -1): void {
    const counts = this.#counts[level]!
    counts[code] = counts[code]! + sign
    addScaled(this.#sums[level]!, code * this.#dim, this.#x, row * this.#dim, this.#dim, sign)
  }

  /**
   * Codebooks refitted under the codes of the last `assign`: every level to the mean of what those before it leave, as a fit level by
   * level does. Penalties and finite-scalar level stay as they are.
   */
  refit(codebooks: Codebooks): Codebooks {
    const levels: Float32Array[] = []
    for (let level = 0; level < this.#sizes.length; level++) levels.push(this.#refitLevel(level, codebooks.levels[level]!, levels))
    return codebooksOf(this.#dim, levels, codebooks)
  }

  /**
   * Codebooks refitted under the codes of the last `assign`, every level to the mean of what all others leave, those behind it among
   * them: distortion under these codes never rises. Greedy codes under the new codebooks may be others.
   */
  refitJointly(codebooks: Codebooks): Codebooks {
    const levels = codebooks.levels.slice()
    for (let level = 0; level < this.#sizes.length; level++) levels[level] = this.#refitLevel(level, levels[level]!, levels)
    return codebooksOf(this.#dim, levels, codebooks)
  }

  /** @param others - codewords that are taken off, by level; the level itself is passed over */
  #refitLevel(level: number, codebook: Float32Array, others: readonly Float32Array[]): Float32Array {
    const dim = this.#dim
    const counts = this.#counts[level]!
    const out = codebook.slice()
    const beside = others.flatMap((words, other) => (other === level ? [] : [{ other, words, times: new Int32Array(this.#sizes[other]!) }]))
    const members = beside.length === 0 ? undefined : rowsByCode(this.#codes, level, this.#stride, counts)
    const residual = new Float64Array(dim)
    for (let code = 0; code < counts.length; code++) {
      const count = counts[code]!
      if (count === 0) continue
      const sums = this.#sums[level]!.subarray(code * dim, (code + 1) * dim)
      residual.set(sums)
      if (members !== undefined) {
        const rows = members.order.subarray(members.starts[code]!, members.starts[code + 1]!)
        for (const { other, words, times } of beside) this.#subtractOther(residual, rows, other, words, times)
      }
      for (let j = 0; j < dim; j++) out[code * dim + j] = residual[j]! / count
    }
    return out
  }

  /** Takes another level's codewords off the sum, each as often as the rows hold it. `times` is scratch, zero before and after. */
  #subtractOther(residual: Float64Array, rows: Int32Array, other: number, words: Float32Array, times: Int32Array): void {
    const levels = this.#stride
    for (const row of rows) {
      const code = this.#codes[row * levels + other]!
      times[code] = times[code]! + 1
    }
    for (const row of rows) {
      const code = this.#codes[row * levels + other]!
      if (times[code] === 0) continue
      addScaled(residual, 0, words, code * this.#dim, this.#dim, -times[code]!)
      times[code] = 0
    }
  }
}

/** Rows sorted by their code of `level`: those of code c are `order[starts[c]] … order[starts[c + 1] - 1]`, ascending. */
function rowsByCode(codes: Int32Array, level: number, levels: number, counts: Int32Array): { order: Int32Array; starts: Int32Array } {
  const starts = new Int32Array(counts.length + 1)
  for (let code = 0; code < counts.length; code++) starts[code + 1] = starts[code]! + counts[code]!
  const next = starts.slice()
  const order = new Int32Array(starts.at(-1)!)
  for (let row = 0, at = level; at < codes.length; row++, at += levels) {
    const code = codes[at]!
    if (code < 0) continue
    order[next[code]!] = row
    next[code] = next[code]! + 1
  }
  return { order, starts }
}
