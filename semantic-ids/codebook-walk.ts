/**
 * The walk with codebooks that change from run to run, for fitting and refreshing.
 * Invariant: near-ties are settled in float64, so the codes (and all that is fitted on them) are the same on every machine and
 * with any number of threads.
 */

import { cloneTensor, Graph, tensorOf, toModel, type Tensor } from '../compute/index.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { appendWalk, levelTables, switchingCost, tableShapes, type LevelValues, type StickyValues } from './encode-graph.ts'
import type { Sticky } from './encode.ts'
import { settle } from './settle.ts'
import { batchRowsFor, codeTensor, rowTensor, WalkPool, type Crew } from './walk-pool.ts'

export class CodebookWalk {
  readonly #pool: WalkPool
  readonly #sticky: boolean

  private constructor(pool: WalkPool, sticky: boolean) {
    this.#pool = pool
    this.#sticky = sticky
  }

  /** @param sticky - whether runs bring a parent's codes */
  static async create(sizes: readonly number[], dim: number, normalize: boolean, sticky: boolean, crew: Crew): Promise<CodebookWalk> {
    const graph = new Graph({ name: 'codebook-walk' })
    const vectors = graph.input('vectors', 'float32', ['rows', dim])
    const levels = sizes.map((size, level): LevelValues => {
      const shapes = tableShapes(size, dim)
      const scores = graph.input(`scores${level}`, 'float32', shapes.scores)
      // Codewords as rows are read only where a residual follows.
      return level + 1 < sizes.length ? { scores, words: graph.input(`words${level}`, 'float32', shapes.words) } : { scores }
    })
    const parent: StickyValues | undefined = sticky
      ? {
          old: graph.input('old', 'int32', ['rows', sizes.length]),
          factor: graph.input('factor', 'float32', []),
          slack: graph.input('slack', 'float32', []),
        }
      : undefined
    const walk = appendWalk(graph, vectors, sizes, levels, { normalize }, parent)
    graph.output('codes', walk.codes)
    graph.output('margins', walk.margins)
    return new CodebookWalk(await WalkPool.create(toModel(graph), batchRowsFor(sizes), crew), sticky)
  }

  /**
   * Settled codes of all rows.
   * @param vectors - row-major float32, shape [rows, codebooks.dim]
   * @returns row-major, shape [rows, levels]
   */
  async run(vectors: Float32Array, codebooks: Codebooks, settings: EncodeSettings, sticky?: Sticky): Promise<Uint16Array> {
    const { dim, sizes } = codebooks
    const rows = vectors.length / dim
    const codes = new Uint16Array(rows * sizes.length)
    const tables = codebooks.levels.map((level, index) => levelTables(level, sizes[index]!, dim))
    const cost = switchingCost(sticky?.delta ?? 0)
    const shared = (): Record<string, Tensor> => {
      const feeds: Record<string, Tensor> = {}
      for (const [level, { scores, words }] of tables.entries()) {
        feeds[`scores${level}`] = cloneTensor(scores)
        if (level + 1 < tables.length) feeds[`words${level}`] = cloneTensor(words)
      }
      if (!this.#sticky) return feeds
      return { ...feeds, factor: tensorOf('float32', [], [cost.factor]), slack: tensorOf('float32', [], [cost.slack]) }
    }
    await this.#pool.run(
      rows,
      (from, to) => ({
        ...shared(),
        vectors: rowTensor(vectors, dim, from, to),
        ...(sticky ? { old: codeTensor(sticky.old, sizes.length, from, to) } : {}),
      }),
      (from, to, outputs) => {
        const proposal = { codes: outputs['codes']!.data as Int32Array, margins: outputs['margins']!.data as Float32Array }
        const parent = sticky && { old: sticky.old.subarray(from * sizes.length, to * sizes.length), delta: sticky.delta }
        codes.set(settle(vectors.subarray(from * dim, to * dim), proposal, codebooks, settings, parent).codes, from * sizes.length)
      },
    )
    return codes
  }
}
