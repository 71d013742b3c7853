/**
 * The walk with codebooks that change from run to run, for fitting and refreshing.
 * Invariant: near-ties are settled in float64, so the codes (and all that is fitted on them) are the same on every machine and
 * with any number of threads.
 */

import { Graph, tensorOf, toModel, type Tensor } from '../compute/index.ts'
import { usesBeam } from './beam.ts'
import { vectorDimOf, type Codebooks, type EncodeSettings, type Quantizer } from './codebooks.ts'
import { appendWalk, levelTables, tableShapes, type LevelValues } from './encode-graph.ts'
import type { Sticky } from './encode.ts'
import { encodeModel } from './encode-model.ts'
import { appendNetwork } from './network.ts'
import { settle } from './settle.ts'
import { batchRowsFor, codeTensor, WalkPool, type Crew } from './walk-pool.ts'
import { switchingCost, type StickyValues } from './walk-values.ts'

/** What a walk is made for: codebooks may change in their numbers from run to run, never in their shape. */
type Shape = Pick<Quantizer, 'codebooks' | 'settings'> & { readonly network?: Quantizer['network'] | undefined }

/** Takes codes of the rows from row `from` on, row-major, shape [n, levels]. */
export type OnRows = (codes: Uint16Array, from: number) => void

export class CodebookWalk {
  readonly #shape: Shape
  readonly #crew: Crew
  /** Absent by beam, where the tables of inner products would have to be fed: then every run opens a model of its own. */
  readonly #pool: WalkPool | undefined
  readonly #sticky: boolean

  private constructor(shape: Shape, crew: Crew, pool: WalkPool | undefined, sticky: boolean) {
    this.#shape = shape
    this.#crew = crew
    this.#pool = pool
    this.#sticky = sticky
  }

  /** A greedy walk over plain codebooks. @param sticky - whether runs bring a parent's codes */
  static create(sizes: readonly number[], dim: number, normalize: boolean, sticky: boolean, crew: Crew): Promise<CodebookWalk> {
    const levels = sizes.map((size) => new Float32Array(size * dim))
    return CodebookWalk.like({ codebooks: { dim, sizes, levels }, settings: { normalize, recheckTolerance: 0 } }, sticky, crew)
  }

  /**
   * A walk by all that a quantizer has: penalties, finite-scalar level, unit residuals, beam, network.
   * @param sticky - whether runs bring a parent's codes
   */
  static async like(shape: Shape, sticky: boolean, crew: Crew): Promise<CodebookWalk> {
    const pool = usesBeam(shape.codebooks, shape.settings)
      ? undefined
      : await WalkPool.create(walkModel(shape, sticky), batchRowsFor(shape), crew)
    return new CodebookWalk(shape, crew, pool, sticky)
  }

  /**
   * Settled codes of all rows. One run at a time: its codebooks are those of the walk until it is done.
   * @param vectors - row-major float32, shape [rows, dim], dim that of the network's input if there is one; best in shared memory
   * @param codebooks - of the shape that the walk was made for
   * @param onRows - called in row order, while rows behind are computed
   * @returns row-major, shape [rows, levels]
   */
  async run(vectors: Float32Array, codebooks: Codebooks, settings: EncodeSettings, sticky?: Sticky, onRows?: OnRows): Promise<Uint16Array> {
    const { network } = this.#shape
    const dim = vectorDimOf(codebooks, network)
    const quantizer: Quantizer = {
      codebooks,
      settings: { ...this.#shape.settings, recheckTolerance: settings.recheckTolerance },
      ...(network && { network }),
    }
    const levels = codebooks.sizes.length
    const rows = vectors.length / dim
    const codes = new Uint16Array(rows * levels)
    const ends = new Map<number, number>()
    let told = 0
    const pool = this.#pool ?? (await this.#open(quantizer, sticky))
    try {
      await this.#pool?.hold(this.#tables(codebooks, sticky))
      await pool.run(
        vectors,
        dim,
        (from, to): Record<string, Tensor> => (sticky ? { old: codeTensor(sticky.old, levels, from, to) } : {}),
        (from, to, outputs) => {
          const proposal = { codes: outputs['codes']!.data as Int32Array, margins: outputs['margins']!.data as Float32Array }
          const parent = sticky && { old: sticky.old.subarray(from * levels, to * levels), delta: sticky.delta }
          codes.set(settle(vectors.subarray(from * dim, to * dim), proposal, quantizer, parent).codes, from * levels)
          ends.set(from, to)
          for (let end = ends.get(told); end !== undefined; end = ends.get(told)) {
            onRows?.(codes.subarray(told * levels, end * levels), told)
            told = end
          }
        },
      )
    } finally {
      if (pool !== this.#pool) await pool.close()
    }
    return codes
  }

  #open(quantizer: Quantizer, sticky: Sticky | undefined): Promise<WalkPool> {
    return WalkPool.create(encodeModel(quantizer, sticky?.delta), batchRowsFor(quantizer), this.#crew)
  }

  /** The inputs that every batch of a run shares. */
  #tables({ dim, sizes, levels, penalties }: Codebooks, sticky: Sticky | undefined): Record<string, Tensor> {
    const feeds: Record<string, Tensor> = {}
    for (const [level, codebook] of levels.entries()) {
      const { scores, words, penalties: costs } = levelTables(codebook, sizes[level]!, dim, penalties?.[level])
      feeds[`scores${level}`] = scores
      if (level + 1 < sizes.length || keepsWhole(this.#shape, this.#sticky)) feeds[`words${level}`] = words
      if (costs !== undefined) feeds[`penalties${level}`] = costs
    }
    if (!this.#sticky) return feeds
    const cost = switchingCost(sticky?.delta ?? 0)
    return { ...feeds, factor: tensorOf('float32', [], [cost.factor]), slack: tensorOf('float32', [], [cost.slack]) }
  }
}

function keepsWhole({ settings }: Pick<Shape, 'settings'>, sticky: boolean): boolean {
  return sticky && settings.sticky === 'whole'
}

/** The greedy walk with the codebooks as inputs. */
function walkModel({ codebooks, settings, network }: Shape, sticky: boolean): Uint8Array {
  const { dim, sizes, levels, penalties, fsq } = codebooks
  const graph = new Graph({ name: 'codebook-walk' })
  const vectors = graph.input('vectors', 'float32', ['rows', vectorDimOf(codebooks, network)])
  const values = levels.map((_, level): LevelValues => {
    const size = sizes[level]!
    const shapes = tableShapes(size, dim)
    return {
      scores: graph.input(`scores${level}`, 'float32', shapes.scores),
      // Codewords as rows are read only where a residual follows, or an old ID is summed up.
      ...((level + 1 < sizes.length || keepsWhole({ settings }, sticky)) && {
        words: graph.input(`words${level}`, 'float32', shapes.words),
      }),
      ...(penalties?.[level] && { penalties: graph.input(`penalties${level}`, 'float32', [size, 1]) }),
    }
  })
  const parent: StickyValues | undefined = sticky
    ? {
        old: graph.input('old', 'int32', ['rows', sizes.length]),
        factor: graph.input('factor', 'float32', []),
        slack: graph.input('slack', 'float32', []),
      }
    : undefined
  const seen = network === undefined ? vectors : appendNetwork(graph, vectors, network)
  const walk = appendWalk(graph, seen, sizes, values, settings, parent, fsq)
  graph.output('codes', walk.codes)
  graph.output('margins', walk.margins)
  return toModel(graph)
}
