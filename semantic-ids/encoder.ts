/**
 * Assigns semantic IDs of one bundle to batches of vectors, in worker threads.
 * Invariant: the codes are those of `encodeSticky` on every row, whatever the batch, the order or the number of threads.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { SidOrigin } from '../schemas/index.ts'
import type { Bundle } from './bundle.ts'
import { requireFinite, rowsOf, vectorDimOf } from './codebooks.ts'
import { encodeModel } from './encode-model.ts'
import { originsOf, settle, type Proposal } from './settle.ts'
import { batchRowsFor, codeTensor, Crew, WalkPool } from './walk-pool.ts'

export interface EncoderOptions {
  /**
   * Worker threads. Higher: faster on large batches, more memory.
   * @default 1
   */
  readonly threads?: number
}

/** Some items with their vectors. */
export interface VectorRows {
  readonly ids: readonly string[]
  /** Row-major float32, shape [ids.length, dim]. */
  readonly vectors: Float32Array
}

/** Semantic IDs of a batch. */
export interface Assigned {
  /** Row-major, shape [rows, levels]. */
  readonly codes: Uint16Array
  /** `encoded`, `kept` or `moved`, one per row; see `originsOf` and `Moves`. */
  readonly origins: readonly SidOrigin[]
  /** Rows that were decided again in float64. */
  readonly rechecked: number
}

/**
 * Final semantic IDs of a batch whose codes some graph has proposed (`appendEncode`): a pure function of vectors and bundle.
 * @param vectors - the published numbers that the graph encoded, row-major float32, shape [rows, dim]
 * @param old - `bundle.parents.lookup(ids)`, as fed to the graph
 * @param ids - of the rows; without them no item is one that was moved
 */
export function assign(bundle: Bundle, vectors: Float32Array, old: Int32Array, proposal: Proposal, ids?: readonly string[]): Assigned {
  const { codes, rechecked } = settle(vectors, proposal, bundle, { old, delta: bundle.delta })
  const origins = originsOf(codes, old, bundle.codebooks.sizes.length)
  if (ids !== undefined) bundle.moves?.apply(ids, vectors, codes, origins)
  return { codes, origins, rechecked }
}

export class SemanticIdEncoder {
  readonly bundle: Bundle
  readonly #crew: Crew
  readonly #pool: WalkPool

  private constructor(bundle: Bundle, crew: Crew, pool: WalkPool) {
    this.bundle = bundle
    this.#crew = crew
    this.#pool = pool
  }

  /** @throws SIDESTREAM_SESSION_FAILED */
  static async create(bundle: Bundle, { threads = 1 }: EncoderOptions = {}): Promise<SemanticIdEncoder> {
    const model = encodeModel(bundle, bundle.parents.rows > 0 ? bundle.delta : undefined)
    const crew = new Crew(threads)
    try {
      return new SemanticIdEncoder(bundle, crew, await WalkPool.create(model, batchRowsFor(bundle), crew))
    } catch (error) {
      await crew.close()
      throw error
    }
  }

  /**
   * Semantic IDs of a batch: sticky for items of the bundle's table, moved for those that a capacity has moved, free for all others and
   * when no ids are given.
   * @param vectors - the published numbers (dequantized), row-major float32, shape [rows, dim]
   * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
   */
  async encode(vectors: Float32Array, ids?: readonly string[]): Promise<Assigned> {
    const { codebooks, parents, network } = this.bundle
    const dim = vectorDimOf(codebooks, network)
    const rows = rowsOf(vectors, dim)
    const levels = codebooks.sizes.length
    if (ids !== undefined && ids.length !== rows) {
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${rows} vectors came with ${ids.length} ids`)
    }
    requireFinite(vectors, dim)
    const sticky = parents.rows > 0
    const old = sticky && ids !== undefined ? parents.lookup(ids) : new Int32Array(rows * levels).fill(-1)
    const codes = new Uint16Array(rows * levels)
    const origins = new Array<SidOrigin>(rows)
    let rechecked = 0
    await this.#pool.run(
      vectors,
      dim,
      (from, to) => (sticky ? { old: codeTensor(old, levels, from, to) } : {}),
      (from, to, outputs) => {
        const proposal = { codes: outputs['codes']!.data as Int32Array, margins: outputs['margins']!.data as Float32Array }
        const batch = vectors.subarray(from * dim, to * dim)
        const assigned = assign(this.bundle, batch, old.subarray(from * levels, to * levels), proposal, ids?.slice(from, to))
        codes.set(assigned.codes, from * levels)
        for (const [row, origin] of assigned.origins.entries()) origins[from + row] = origin
        rechecked += assigned.rechecked
      },
    )
    return { codes, origins, rechecked }
  }

  /**
   * Semantic IDs of a stream of batches, in its order. While the caller works on one batch the next ones are computed; no more of them
   * are held than keep the threads busy, so memory is bounded by the size of a batch. A batch of some thousand rows is a good size.
   * @throws as `encode`, and what the stream throws; an aborted signal ends it
   */
  async *stream<T extends VectorRows>(batches: Iterable<T> | AsyncIterable<T>, signal?: AbortSignal): AsyncGenerator<T & Assigned> {
    const ahead: Promise<T & Assigned>[] = []
    const start = (batch: T): void => {
      const assigned = this.encode(batch.vectors, batch.ids).then((found) => ({ ...batch, ...found }))
      // Whoever comes to this batch meets its error; until then it is nobody's.
      assigned.catch(() => undefined)
      ahead.push(assigned)
    }
    for await (const batch of batches) {
      signal?.throwIfAborted()
      start(batch)
      if (ahead.length > this.#crew.workers.length) yield await ahead.shift()!
    }
    for (const rest of ahead) {
      signal?.throwIfAborted()
      yield await rest
    }
  }

  close(): Promise<void> {
    return this.#crew.close()
  }
}
