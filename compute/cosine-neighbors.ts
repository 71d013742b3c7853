/**
 * The k nearest rows by cosine, exact, for many queries: blocks of matrix products in ONNX Runtime propose, float64 decides.
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
  /** Threads of the matrix products. @default 1 */
  readonly threads?: number
  /** Rows of one block. @default at most 16384 and 2^22 numbers; little work is done without blocks */
  readonly blockRows?: number
  /** Which of two equal cosines comes first: the lower one, shape [rows]. @default row numbers */
  readonly ranks?: Uint32Array
  readonly onProgress?: (done: number, total: number) => void
}

/** Numbers of one block of rows at most, whatever their dimension. */
const blockNumbers = 2 ** 22
/** Queries of one product. */
const queryRows = 512
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
  const found = new Int32Array(queries.length * k).fill(-1)
  if (queries.length === 0 || rows < 2) return found
  const inverse = inverseLengths(vectors, dim, rows)
  if (options.blockRows === undefined && queries.length * rows * dim <= fewProducts) {
    const all = Int32Array.from({ length: rows }, (_, row) => row)
    for (const [q, query] of queries.entries()) {
      const others = all.filter((row) => row !== query)
      found.set(decide(vectors, dim, inverse, query, others, k, ranks), q * k)
    }
    return found
  }
  const size = Math.min(rows, options.blockRows ?? Math.max(1, Math.min(16_384, Math.floor(blockNumbers / dim))))
  const session = await Session.create(productModel(dim), { name: 'cosine-neighbors', threads })
  try {
    for (let from = 0; from < queries.length; from += queryRows) {
      const part = queries.subarray(from, from + queryRows)
      const candidates = Array.from(part, () => new Candidates(k, dim))
      const sides = tensor('float32', [part.length, dim], unitRows(vectors, dim, inverse, part))
      let running: Promise<Float32Array> | undefined
      for (let block = 0; block < rows; block += size) {
        const scores = await (running ?? product(session, sides, vectors, dim, inverse, block, Math.min(rows, block + size)))
        const next = block + size
        // The next product runs while this one's scores are read.
        running = next < rows ? product(session, sides, vectors, dim, inverse, next, Math.min(rows, next + size)) : undefined
        const width = Math.min(rows, next) - block
        for (let q = 0; q < part.length; q++) candidates[q]!.take(scores, q * width, width, block, part[q]!)
      }
      for (let q = 0; q < part.length; q++) {
        found.set(decide(vectors, dim, inverse, part[q]!, candidates[q]!.rows(), k, ranks), (from + q) * k)
      }
      onProgress?.(Math.min(queries.length, from + queryRows), queries.length)
    }
  } finally {
    await session.close()
  }
  return found
}

function productModel(dim: number): Uint8Array {
  const graph = new Graph({ name: 'cosine-neighbors' })
  const queries = graph.input('queries', 'float32', ['q', dim])
  const items = graph.input('items', 'float32', ['n', dim])
  graph.output('scores', graph.matmul(queries, items, { transposeB: true }))
  return toModel(graph)
}

async function product(
  session: Session,
  queries: Tensor<'float32'>,
  vectors: Float32Array,
  dim: number,
  inverse: Float64Array,
  from: number,
  to: number,
): Promise<Float32Array> {
  const rows = Uint32Array.from({ length: to - from }, (_, i) => from + i)
  const items = tensor('float32', [to - from, dim], unitRows(vectors, dim, inverse, rows))
  const { scores } = await session.run({ queries, items })
  return scores!.data as Float32Array
}

/** 1 / length of every row, 0 for a row of length 0. */
function inverseLengths(vectors: Float32Array, dim: number, rows: number): Float64Array {
  const out = new Float64Array(rows)
  for (let row = 0, at = 0; row < rows; row++) {
    let squares = 0
    for (let j = 0; j < dim; j++, at++) squares += vectors[at]! * vectors[at]!
    out[row] = squares === 0 ? 0 : 1 / Math.sqrt(squares)
  }
  return out
}

function unitRows(vectors: Float32Array, dim: number, inverse: Float64Array, rows: Uint32Array): Float32Array {
  const out = new Float32Array(rows.length * dim)
  let to = 0
  for (const row of rows) for (let at = row * dim; at < (row + 1) * dim; at++) out[to++] = vectors[at]! * inverse[row]!
  return out
}

/**
 * Rows that may be among a query's k nearest, by float32 score: all within rounding of the kth best so far. The score of two unit rows
 * is off by less than (dim + 4) 2^-24, so a row that trails the kth by twice that cannot be among them.
 */
class Candidates {
  readonly #k: number
  readonly #slack: number
  #rows: Int32Array
  #scores: Float32Array
  #filled = 0
  #least = -Infinity

  constructor(k: number, dim: number) {
    this.#k = k
    this.#slack = 2 * (dim + 4) * 2 ** -24
    this.#rows = new Int32Array(4 * k + 64)
    this.#scores = new Float32Array(4 * k + 64)
  }

  take(scores: Float32Array, at: number, width: number, firstRow: number, query: number): void {
    for (let i = 0; i < width; i++) {
      const score = scores[at + i]!
      if (score < this.#least || firstRow + i === query) continue
      if (this.#filled === this.#rows.length) this.#prune()
      if (score < this.#least) continue
      this.#rows[this.#filled] = firstRow + i
      this.#scores[this.#filled++] = score
    }
  }

  /** Drops what cannot be among the k any more; room is doubled where near-ties leave nothing to drop. */
  #prune(): void {
    const sorted = this.#scores.slice(0, this.#filled).sort()
    this.#least = sorted[this.#filled - this.#k]! - this.#slack
    let kept = 0
    for (let i = 0; i < this.#filled; i++) {
      if (this.#scores[i]! < this.#least) continue
      this.#rows[kept] = this.#rows[i]!
      this.#scores[kept++] = this.#scores[i]!
    }
    this.#filled = kept
    if (kept <= this.#rows.length / 2) return
    const [rows, scores] = [new Int32Array(this.#rows.length * 2), new Float32Array(this.#rows.length * 2)]
    rows.set(this.#rows)
    scores.set(this.#scores)
    this.#rows = rows
    this.#scores = scores
  }

  rows(): Int32Array {
    if (this.#filled > this.#k) this.#prune()
    return this.#rows.subarray(0, this.#filled)
  }
}

/** The k nearest of the candidates by float64 cosine. */
function decide(
  vectors: Float32Array,
  dim: number,
  inverse: Float64Array,
  query: number,
  candidates: Int32Array,
  k: number,
  ranks: Uint32Array | undefined,
): Int32Array {
  const cosines = Float64Array.from(candidates, (row) => {
    let sum = 0
    for (let j = 0; j < dim; j++) sum += vectors[query * dim + j]! * vectors[row * dim + j]!
    return sum * inverse[query]! * inverse[row]!
  })
  const rankOf = (at: number): number => ranks?.[candidates[at]!] ?? candidates[at]!
  const order = Int32Array.from(candidates.keys()).sort((a, b) => cosines[b]! - cosines[a]! || rankOf(a) - rankOf(b))
  return Int32Array.from(order.subarray(0, k), (at) => candidates[at]!)
}
