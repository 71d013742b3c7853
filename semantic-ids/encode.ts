/**
 * The reference of residual quantization: float64 direct differences in index order, the lowest index wins ties (by beam: the
 * lexicographically least ID).
 * Invariant: every faster path gives exactly these codes; without a parent's codes, and with delta 0 where prefixes are kept, `encodeSticky`
 * equals `encode`.
 */

import { BeamReference, usesBeam } from './beam.ts'
import { rowsOf, vectorDimOf, type Codebooks, type WalkSettings } from './codebooks.ts'
import { cheapest, costOfId, squaredDistance, subtract, toUnitLength } from './distances.ts'
import { fsqCode } from './fsq.ts'
import { NetworkReference, type Network } from './network.ts'
import type { Sticky } from './sticky.ts'

export type { Sticky } from './sticky.ts'

/**
 * Codes of every vector: greedy (each level: the code of least cost for what is left) or by beam.
 * @param vectors - row-major float32, shape [rows, dim], dim that of the network's input if there is one
 * @returns codes, row-major, shape [rows, levels]
 */
export function encode(vectors: Float32Array, codebooks: Codebooks, settings: WalkSettings, network?: Network): Uint16Array {
  return encodeSticky(vectors, codebooks, settings, undefined, network)
}

/**
 * Codes that prefer the parent's. Greedy: while the prefix is still the old one the old code stays if
 * cost(old) <= (1 + delta) cost(best); after the first switch the later levels are free. With `sticky: 'whole'`, and by beam, the old
 * ID stays as a whole if its total cost is at most (1 + delta) times that of the best that was found. A cost is the squared distance and the code's penalty. The
 * finite-scalar level has no distances: it is free unless delta is infinite.
 * @param vectors - row-major float32, shape [rows, dim]
 * @returns codes, row-major, shape [rows, levels]
 */
export function encodeSticky(
  vectors: Float32Array,
  codebooks: Codebooks,
  settings: WalkSettings,
  sticky: Sticky | undefined,
  network?: Network,
): Uint16Array {
  const rows = rowsOf(vectors, vectorDimOf(codebooks, network))
  const codes = new Uint16Array(rows * codebooks.sizes.length)
  const walk = new ReferenceWalk(codebooks, settings, sticky, network)
  for (let row = 0; row < rows; row++) walk.decide(vectors, row, codes)
  return codes
}

/** Decides one row at a time: the single place where codes are settled. */
export class ReferenceWalk {
  readonly #codebooks: Codebooks
  readonly #settings: WalkSettings
  readonly #sticky: Sticky | undefined
  readonly #network: NetworkReference | undefined
  readonly #beam: BeamReference | undefined
  /** float64, shape [dim]: what the codes so far leave unexplained. */
  readonly #residual: Float64Array
  /** float64, shape [dim] each: a row, and what an old ID leaves of it; where whole IDs are kept. */
  readonly #row: Float64Array | undefined
  readonly #oldResidual: Float64Array | undefined

  constructor(codebooks: Codebooks, settings: WalkSettings, sticky?: Sticky, network?: Network) {
    this.#codebooks = codebooks
    this.#settings = settings
    this.#sticky = sticky
    this.#network = network && new NetworkReference(network)
    this.#beam = usesBeam(codebooks, settings) ? new BeamReference(codebooks, settings.beam!) : undefined
    this.#residual = new Float64Array(codebooks.dim)
    if (sticky === undefined || settings.sticky !== 'whole' || this.#beam !== undefined) return
    this.#row = new Float64Array(codebooks.dim)
    this.#oldResidual = new Float64Array(codebooks.dim)
  }

  /**
   * @param vectors - row-major float32, shape [rows, dim]
   * @param codes - written in place at `row`, shape [rows, levels]
   * @param doubt - given where `codes` holds a proposal: levels that it does not doubt are taken from there
   */
  decide(vectors: Float32Array, row: number, codes: Uint16Array, doubt?: Doubt): void {
    const residual = this.#residual
    if (this.#network === undefined) prepare(vectors, row, this.#codebooks.dim, this.#settings.normalize, residual)
    else {
      residual.set(this.#network.row(vectors, row))
      if (this.#settings.normalize) toUnitLength(residual)
    }
    const at = row * this.#codebooks.sizes.length
    const kept = this.#levels(at, codes, doubt)
    const { fsq, levels } = this.#codebooks
    if (fsq === undefined) return
    if (this.#settings.normalizeResiduals) toUnitLength(residual)
    const last = at + levels.length
    codes[last] = kept && this.#sticky!.delta === Infinity ? this.#sticky!.old[last]! : fsqCode(fsq, residual)
  }

  /** The levels with codewords; whether all of them have the old code. */
  #levels(at: number, codes: Uint16Array, doubt: Doubt | undefined): boolean {
    const sticky = this.#sticky
    if (this.#beam !== undefined) return this.#beam.decide(this.#residual, sticky, at, codes, isDoubted(doubt, at))
    if (this.#row === undefined || sticky!.old[at]! < 0) return this.#walk(at, codes, doubt, sticky)
    return this.#wholeOrFree(at, codes, isDoubted(doubt, at), sticky!, this.#row, this.#oldResidual!)
  }

  /** The old ID as a whole, or the greedy one. */
  #wholeOrFree(
    at: number,
    codes: Uint16Array,
    doubted: boolean,
    { old, delta }: Sticky,
    row: Float64Array,
    oldResidual: Float64Array,
  ): boolean {
    const { levels, penalties } = this.#codebooks
    row.set(this.#residual)
    if (doubted) {
      const oldCost = costOfId(row, old, at, levels, penalties, oldResidual)
      if (delta !== Infinity) this.#walk(at, codes, undefined, undefined)
      if (delta === Infinity || oldCost <= (1 + delta) * costOfId(row, codes, at, levels, penalties, this.#residual)) {
        for (let level = 0; level < levels.length; level++) codes[at + level] = old[at + level]!
        this.#residual.set(oldResidual)
        return true
      }
      return false
    }
    costOfId(row, codes, at, levels, penalties, this.#residual)
    return levels.every((_, level) => codes[at + level] === old[at + level])
  }

  /** Greedy over the levels with codewords, by prefixes where there is a parent; whether all of them have the old code. */
  #walk(at: number, codes: Uint16Array, doubt: Doubt | undefined, sticky: Sticky | undefined): boolean {
    const { dim, sizes, levels, penalties } = this.#codebooks
    const residual = this.#residual
    let onOldPrefix = sticky !== undefined && sticky.old[at]! >= 0
    // A proposal is worth something for as long as the codes before it stand.
    let follows = doubt !== undefined
    for (let level = 0; level < levels.length; level++) {
      const codebook = levels[level]!
      const costs = penalties?.[level]
      if (this.#settings.normalizeResiduals) toUnitLength(residual)
      const proposed = codes[at + level]!
      const certain = follows && !isDoubted(doubt, at + level)
      let code = certain ? proposed : cheapest(residual, codebook, sizes[level]!, costs, follows ? proposed : 0)
      if (certain) onOldPrefix &&= code === sticky!.old[at + level]
      else if (onOldPrefix) {
        const old = sticky!.old[at + level]!
        const best = squaredDistance(residual, codebook, code * dim) + (costs?.[code] ?? 0)
        const limit = sticky!.delta === Infinity ? Infinity : (1 + sticky!.delta) * best
        if (squaredDistance(residual, codebook, old * dim) + (costs?.[old] ?? 0) <= limit) code = old
        else onOldPrefix = false
      }
      subtract(residual, codebook, code * dim)
      codes[at + level] = code
      follows &&= code === proposed
    }
    return onOldPrefix
  }
}

/** What makes a proposal doubtful: a margin below the tolerance, shape [rows, levels], or none that is a number. */
export interface Doubt {
  readonly margins: Float32Array
  readonly tolerance: number
}

/** Whether a margin is a number that float32 rounding does not reach. */
export function isCertain(margin: number, tolerance: number): boolean {
  return margin >= tolerance && margin < Infinity
}

/** Whether a decision is to be taken again; all are without a proposal. */
function isDoubted(doubt: Doubt | undefined, at: number): boolean {
  return doubt === undefined || !isCertain(doubt.margins[at]!, doubt.tolerance)
}

/** Copies one row to float64, brought to unit length if asked. */
function prepare(vectors: Float32Array, row: number, dim: number, normalize: boolean, out: Float64Array): void {
  prepareAt(vectors, row * dim, dim, normalize, out, 0)
}

/**
 * Copies the row at `from` to float64, brought to unit length if asked.
 * @param out - written in place from `to` on
 */
export function prepareAt(vectors: Float32Array, from: number, dim: number, normalize: boolean, out: Float64Array, to: number): void {
  let squared = 0
  for (let j = 0; j < dim; j++) {
    const value = vectors[from + j]!
    out[to + j] = value
    squared += value * value
  }
  if (!normalize || squared === 0) return
  const norm = Math.sqrt(squared)
  for (let j = to; j < to + dim; j++) out[j] = out[j]! / norm
}

/**
 * What the quantizer sees of the vectors: float64, unit length if `normalize`.
 * @param vectors - row-major float32, shape [rows, dim]
 * @returns row-major float64, shape [rows, dim]
 */
export function prepared(vectors: Float32Array, dim: number, normalize: boolean): Float64Array {
  const rows = rowsOf(vectors, dim)
  const out = new Float64Array(rows * dim)
  for (let at = 0; at < out.length; at += dim) prepareAt(vectors, at, dim, normalize, out, at)
  return out
}

/** `prepared` rounded to float32, half the memory: for fitting, where the last bits do not decide. */
export function preparedFloat32(vectors: Float32Array, dim: number, normalize: boolean): Float32Array {
  if (!normalize) return vectors
  const out = new Float32Array(vectors.length)
  const row = new Float64Array(dim)
  for (let at = 0; at < vectors.length; at += dim) {
    prepare(vectors, at / dim, dim, true, row)
    out.set(row, at)
  }
  return out
}

/**
 * The vectors that codes stand for: sums of their codewords. The finite-scalar level adds nothing. With residuals brought to unit
 * length the sum is what its levels agree on (as in TorchEasyRec), not an approximation of the vector; behind a network it is one
 * of the network's outcome.
 * @param codes - row-major, shape [rows, levels]
 * @returns row-major float32, shape [rows, dim]
 */
export function decode(codes: Uint16Array, codebooks: Codebooks): Float32Array {
  const { dim, sizes, levels } = codebooks
  const rows = rowsOf(codes, sizes.length)
  const out = new Float32Array(rows * dim)
  const sum = new Float64Array(dim)
  for (let row = 0; row < rows; row++) {
    sum.fill(0)
    for (let level = 0; level < levels.length; level++) {
      const at = codes[row * sizes.length + level]! * dim
      const codebook = levels[level]!
      for (let j = 0; j < dim; j++) sum[j] = sum[j]! + codebook[at + j]!
    }
    out.set(sum, row * dim)
  }
  return out
}
