/**
 * The k nearest rows by cosine, exact, for many queries: matrix products in ONNX Runtime say which groups of rows may hold one, float64
 * decides.
 * Invariant: the result is that of float64 sums in index order over the given numbers, equal cosines by rank; a query is never
 * its own neighbor. Memory is bounded by the blocks, never [queries, rows].
 */

import { SidestreamError } from '../schemas/index.ts'
import { Graph } from './graph.ts'
import { toModel } from './model.ts'
import { Session } from './session.ts'
import { tensor, type Tensor } from './tensor.ts'

export interface CosineNeighborOptions {
  /** Neighbors of each query. */
  readonly k: number
  /** Threads of the matrix products, each with 16 MiB of scores. @default 1 */
  readonly threads?: number
  /** Rows of one block. @default 2048; little work is done without blocks */
  readonly blockRows?: number
  /** Which of two equal cosines comes first: the lower one, shape [rows]. @default row numbers */
  readonly ranks?: Uint32Array
  readonly onProgress?: (done: number, total: number) => void
}

/** Queries and rows of one product at most: 16 MiB of scores, which the last-level cache holds. */
const queryRows = 2048
const defaultBlockRows = 2048
/**
 * Rows that one maximum stands for. Only maxima leave ONNX Runtime: reading every score in this thread would take several times as
 * long as the products. Fewer rows: more maxima to read; more rows: more cosines to compute where a maximum is high enough.
 */
const groupRows = 32
/** Multiplications below which starting a session costs more than it saves. */
const fewProducts = 2 ** 24

/**
 * Nearest rows of some rows.
 * @param vectors - row-major float32, finite, shape [rows, dim]; a vector of length 0 has cosine 0 with every other
 * @param queries - row numbers
 * @returns row numbers, nearest first, shape [queries, k]; -1 where there are fewer than k other rows
 * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_USAGE_INVALID, SIDESTREAM_SESSION_FAILED
 */
export async function cosineNeighbors(
  vectors: Float32Array,
  dim: number,
  queries: Uint32Array,
  options: CosineNeighborOptions,
): Promise<Int32Array> {
  const { k, threads = 1, ranks, onProgress } = options
  const rows = vectors.length / dim
  if (!Number.isInteger(rows)) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${vectors.length} numbers are no whole number of vectors of dimension ${dim}`)
  }
  if (!Number.isInteger(k) || k < 1) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `neighbors need a k of at least 1, got ${k}`)
  const unit = new UnitRows(vectors, dim)
  const found = new Nearest(unit, queries, k, ranks)
  if (queries.length === 0 || rows < 2) return found.rows
  if (options.blockRows === undefined && queries.length * rows * dim <= fewProducts) {
    for (let q = 0; q < queries.length; q++)
      for (let from = 0; from < rows; from += groupRows) found.take(q, from, Math.min(rows, from + groupRows))
    return found.rows
  }
  const groups = Math.ceil(Math.min(rows, options.blockRows ?? defaultBlockRows) / groupRows)
  // Parts of one size, so that one model serves them all.
  const width = Math.ceil(queries.length / Math.ceil(queries.length / queryRows))
  const model = maximaModel(dim, groups, width)
  // A session a thread: the threads of one would wait for one another at every node, and do so at full speed.
  const sessions = await Promise.all(Array.from({ length: threads }, () => Session.create(model, { name: 'cosine-neighbors', threads: 1 })))
  try {
    for (let from = 0; from < queries.length; from += width) {
      await searchPart(sessions, unit, queries.subarray(from, from + width), from, groups, width, found)
      onProgress?.(Math.min(queries.length, from + width), queries.length)
    }
  } finally {
    await Promise.all(sessions.map((session) => session.close()))
  }
  return found.rows
}

/** Highest score of every group of rows for every query: items [groups * groupRows, dim] . queries [dim, width] -> [groups, width]. */
function maximaModel(dim: number, groups: number, width: number): Uint8Array {
  const graph = new Graph({ name: 'cosine-neighbors' })
  const items = graph.input('items', 'float32', [groups * groupRows, dim])
  const queries = graph.input('queries', 'float32', [dim, width])
  const scores = graph.reshape(graph.matmul(items, queries), [groups, groupRows, width])
  graph.output('maxima', graph.reduceMax(scores, [1]))
  return toModel(graph)
}

/** Goes over all rows for some queries. @param first - number of the first of them @param width - queries that the model takes */
async function searchPart(
  sessions: readonly Session[],
  unit: UnitRows,
  queries: Uint32Array,
  first: number,
  groups: number,
  width: number,
  found: Nearest,
): Promise<void> {
  const size = groups * groupRows
  const columns = unit.columns(queries, width)
  // The score of two unit rows is off by less than (dim + 4) 2^-24: below its bar a group holds none of the k nearest.
  const slack = (unit.dim + 4) * 2 ** -24
  const bars = new Float64Array(queries.length).fill(-Infinity)
  let next = 0
  const drain = async (session: Session): Promise<void> => {
    let feeds: Readonly<Record<string, Tensor>> = {
      items: tensor('float32', [size, unit.dim], new Float32Array(size * unit.dim)),
      queries: tensor('float32', [unit.dim, width], columns.slice()),
    }
    while (next < unit.rows) {
      const from = next
      next += size
      unit.fill(from, feeds['items']!.data as Float32Array)
      const { maxima } = await session.run(feeds, { transfer: true, reclaim: (back) => void (feeds = back) })
      const highest = maxima!.data as Float32Array
      for (let group = 0, row = from; group < groups && row < unit.rows; group++, row += groupRows) {
        for (let q = 0, at = group * width; q < bars.length; q++, at++) {
          if (highest[at]! < bars[q]!) continue
          found.take(first + q, row, Math.min(unit.rows, row + groupRows))
          bars[q] = found.least(first + q) - slack
        }
      }
    }
  }
  // The next product runs while the maxima of this one are read.
  await Promise.all(sessions.flatMap((session) => [drain(session), drain(session)]))
}

/** Vectors with the inverse of their lengths. */
class UnitRows {
  readonly vectors: Float32Array
  readonly dim: number
  readonly rows: number
  /** 1 / length of every row, 0 for a row of length 0. */
  readonly inverse: Float64Array

  constructor(vectors: Float32Array, dim: number) {
    this.vectors = vectors
    this.dim = dim
    this.rows = vectors.length / dim
    this.inverse = new Float64Array(this.rows)
    for (let row = 0, at = 0; row < this.rows; row++) {
      let squares = 0
      for (let j = 0; j < dim; j++, at++) squares += vectors[at]! * vectors[at]!
      this.inverse[row] = squares === 0 ? 0 : 1 / Math.sqrt(squares)
    }
  }

  /** Rows from `from` on at unit length, zeros behind the last. @param out - written in place, shape [any, dim] */
  fill(from: number, out: Float32Array): void {
    const { vectors, dim, rows, inverse } = this
    const to = Math.min(rows, from + out.length / dim)
    let at = 0
    for (let row = from, source = from * dim; row < to; row++) {
      const scale = inverse[row]!
      for (let j = 0; j < dim; j++) out[at++] = vectors[source++]! * scale
    }
    out.fill(0, at)
  }

  /** Some rows at unit length as columns, zeros behind the last; shape [dim, width]. */
  columns(some: Uint32Array, width: number): Float32Array {
    const out = new Float32Array(this.dim * width)
    for (const [column, row] of some.entries()) {
      for (let j = 0; j < this.dim; j++) out[j * width + column] = this.vectors[row * this.dim + j]! * this.inverse[row]!
    }
    return out
  }

  /**
   * Float64 dot products of a row with the rows [from, to), four at a time: sums that do not wait for one another.
   * @param out - written in place, shape [to - from]
   */
  dots(row: number, from: number, to: number, out: Float64Array): void {
    const { vectors, dim } = this
    const start = row * dim
    let [other, at] = [from, from * dim]
    for (; other + 3 < to; other += 4, at += 4 * dim) {
      let [a, b, c, d] = [0, 0, 0, 0]
      for (let j = 0, x = at; j < dim; j++, x++) {
        const value = vectors[start + j]!
        a += value * vectors[x]!
        b += value * vectors[x + dim]!
        c += value * vectors[x + 2 * dim]!
        d += value * vectors[x + 3 * dim]!
      }
      out[other - from] = a
      out[other - from + 1] = b
      out[other - from + 2] = c
      out[other - from + 3] = d
    }
    for (; other < to; other++, at += dim) {
      let sum = 0
      for (let j = 0; j < dim; j++) sum += vectors[start + j]! * vectors[at + j]!
      out[other - from] = sum
    }
  }
}

/** The k nearest so far of every query by float64 cosine, equal ones by rank: the same in whatever order rows come. */
class Nearest {
  /** Nearest first, shape [queries, k]; -1 where there is none yet. */
  readonly rows: Int32Array
  readonly #cosines: Float64Array
  readonly #unit: UnitRows
  readonly #queries: Uint32Array
  readonly #k: number
  readonly #ranks: Uint32Array | undefined
  readonly #dots = new Float64Array(groupRows)

  constructor(unit: UnitRows, queries: Uint32Array, k: number, ranks: Uint32Array | undefined) {
    this.rows = new Int32Array(queries.length * k).fill(-1)
    this.#cosines = new Float64Array(queries.length * k).fill(-Infinity)
    this.#unit = unit
    this.#queries = queries
    this.#k = k
    this.#ranks = ranks
  }

  /** Cosine of the kth nearest so far. */
  least(q: number): number {
    return this.#cosines[(q + 1) * this.#k - 1]!
  }

  /** Looks at a group of rows, [from, to), each once for a query. */
  take(q: number, from: number, to: number): void {
    const query = this.#queries[q]!
    const { inverse } = this.#unit
    this.#unit.dots(query, from, to, this.#dots)
    for (let row = from; row < to; row++) {
      const cosine = this.#dots[row - from]! * inverse[query]! * inverse[row]!
      if (cosine >= this.least(q) && row !== query) this.#insert(q, row, cosine)
    }
  }

  /** Puts a row among the k, if it comes before the last of them. */
  #insert(q: number, row: number, cosine: number): void {
    const first = q * this.#k
    let at = first + this.#k - 1
    if (!this.#comesBefore(row, cosine, at)) return
    for (; at > first && this.#comesBefore(row, cosine, at - 1); at--) {
      this.#cosines[at] = this.#cosines[at - 1]!
      this.rows[at] = this.rows[at - 1]!
    }
    this.#cosines[at] = cosine
    this.rows[at] = row
  }

  #comesBefore(row: number, cosine: number, at: number): boolean {
    if (cosine !== this.#cosines[at]!) return cosine > this.#cosines[at]!
    const other = this.rows[at]!
    return this.#ranks === undefined ? row < other : this.#ranks[row]! < this.#ranks[other]!
  }
}
