/**
 * What the levels so far leave of vectors, by the encode rule that the fitted codebooks will be used with: greedy or by beam, with
 * penalties, with residuals as they are or at unit length.
 */

import { normalizeRows, subtractRow } from '../compute/index.ts'
import { CodebookWalk, type OnRows } from './codebook-walk.ts'
import { codebooksOf, encodeDefaults, type Codebooks, type EncodeSettings } from './codebooks.ts'
import type { Crew } from './walk-pool.ts'

/** A level as far as encoding needs it. */
export interface RuleLevel {
  /** Row-major float32, shape [size, dim]. */
  readonly codebook: Float32Array
  readonly penalties: Float32Array | undefined
}

export class ResidualRule {
  readonly #dim: number
  readonly #settings: EncodeSettings
  readonly #crew: Crew
  /** Of single levels, by number of codes and whether they have penalties. */
  readonly #walks = new Map<string, CodebookWalk>()
  /** Of all levels, once the first is asked for. */
  #wholeWalk: CodebookWalk | undefined

  /** @param settings - `normalize` is taken as done */
  constructor(dim: number, { normalizeResiduals = false, beam = 1 }: Pick<EncodeSettings, 'normalizeResiduals' | 'beam'>, crew: Crew) {
    this.#dim = dim
    this.#settings = { normalize: false, recheckTolerance: encodeDefaults.recheckTolerance, normalizeResiduals, beam }
    this.#crew = crew
  }

  /** Whether every level sees residuals at unit length. */
  get unitResiduals(): boolean {
    return this.#settings.normalizeResiduals === true
  }

  /** Whether what a level leaves differs from its rows less their codewords. */
  get ownResiduals(): boolean {
    return this.unitResiduals || this.#settings.beam! > 1
  }

  /**
   * Brings residuals to the length that a level sees, in place.
   * @param lengths - multiplied by the length that each row had, shape [rows]: what is left in the scale of the vectors
   */
  ready(residual: Float32Array, lengths?: Float64Array): void {
    if (!this.#settings.normalizeResiduals) return
    const dim = this.#dim
    for (let row = 0; row < (lengths?.length ?? 0); row++) {
      let squares = 0
      for (let at = row * dim; at < (row + 1) * dim; at++) squares += residual[at]! * residual[at]!
      lengths![row] = lengths![row]! * Math.sqrt(squares)
    }
    normalizeRows(residual, dim)
  }

  /** Codes of rows of residuals (made ready), row-major float32, shape [n, dim], in one level. @param onRows - see `CodebookWalk.run` */
  async codesOf(rows: Float32Array, level: RuleLevel, onRows?: OnRows): Promise<Uint16Array> {
    const codebooks = this.#books([level])
    const key = `${codebooks.sizes[0]} ${codebooks.penalties !== undefined}`
    const settings = { ...this.#settings, normalizeResiduals: false, beam: 1 }
    let walk = this.#walks.get(key)
    if (walk === undefined) this.#walks.set(key, (walk = await CodebookWalk.like({ codebooks, settings }, false, this.#crew)))
    return walk.run(rows, codebooks, settings, undefined, onRows)
  }

  /**
   * Takes the last level off the residuals, in place.
   * @param x - the vectors before the first level; read by beam, which may choose other codes for the levels before
   * @param codes - of `residual` in the last level
   */
  async leave(x: Float32Array, residual: Float32Array, levels: readonly RuleLevel[], codes: Uint16Array): Promise<void> {
    if (this.#settings.beam === 1 || levels.length === 1) return subtractCodewords(residual, this.#dim, levels.at(-1)!.codebook, codes)
    const codebooks = this.#books(levels)
    const walk = await CodebookWalk.like({ codebooks, settings: this.#settings }, false, this.#crew)
    const all = await walk.run(x, codebooks, this.#settings)
    residual.set(x)
    subtractAll(residual, this.#dim, levels, all)
  }

  /** Codes of vectors in all levels, row-major, shape [n, levels]. @param x - row-major float32, shape [n, dim] */
  async allCodesOf(x: Float32Array, levels: readonly RuleLevel[], onRows?: OnRows): Promise<Uint16Array> {
    const codebooks = this.#books(levels)
    this.#wholeWalk ??= await CodebookWalk.like({ codebooks, settings: this.#settings }, false, this.#crew)
    return this.#wholeWalk.run(x, codebooks, this.#settings, undefined, onRows)
  }

  /** What levels leave of vectors, float32, made ready for the next one. @param x - row-major float32, shape [n, dim]; not changed */
  async residualsOf(x: Float32Array, levels: readonly RuleLevel[]): Promise<Float32Array> {
    const residual = x.slice()
    for (const [index, level] of levels.entries()) {
      this.ready(residual)
      // By beam only the walk over all of them counts.
      if (this.#settings.beam! > 1 && index + 1 < levels.length) continue
      await this.leave(x, residual, levels.slice(0, index + 1), await this.codesOf(residual, level))
    }
    this.ready(residual)
    return residual
  }

  #books(levels: readonly RuleLevel[]): Codebooks {
    const words = levels.map(({ codebook }) => codebook)
    const penalties = levels.map((level) => level.penalties)
    return codebooksOf(this.#dim, words, { penalties })
  }
}

/** Takes each row's codeword off it, in place. */
export function subtractCodewords(residual: Float32Array, dim: number, codebook: Float32Array, codes: Uint16Array): void {
  for (let row = 0; row < codes.length; row++) subtractRow(residual, row * dim, codebook, codes[row]! * dim, dim)
}

/** Takes all codewords of each row off it, in place. @param codes - row-major, shape [rows, levels] */
export function subtractAll(residual: Float32Array, dim: number, levels: readonly RuleLevel[], codes: Uint16Array): void {
  for (const [level, { codebook }] of levels.entries()) {
    const own = Uint16Array.from({ length: codes.length / levels.length }, (_, row) => codes[row * levels.length + level]!)
    subtractCodewords(residual, dim, codebook, own)
  }
}
