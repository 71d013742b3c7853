/**
 * Dot products of queries with a bound matrix of items: one matrix product in ONNX Runtime, and the plain loop that is its
 * reference.
 * Invariant: every run has the same shape, short ones are filled up, so a query's scores do not depend on its company.
 */
import { Graph, Session, tensor, toModel, type ComputeWorker } from '../compute/index.ts'
import type { OpenSimilarity } from './ports.ts'

/** Most numbers of one bound matrix: an ONNX file holds less than 2 GiB. */
const shardNumbers = 2 ** 27

/** Items as constants of a matrix product in a worker thread of their own, in shards when they are many. */
export const openSimilarity: OpenSimilarity = (items, dim, batch) => open(items, dim, batch)

/** The same in a thread that is there already; runs queue behind whatever else it does. */
export function similarityIn(worker: ComputeWorker): OpenSimilarity {
  return (items, dim, batch) => open(items, dim, batch, worker)
}

async function open(items: Float32Array, dim: number, batch: number, worker?: ComputeWorker): ReturnType<OpenSimilarity> {
  const count = items.length / dim
  const size = Math.max(1, Math.floor(shardNumbers / dim))
  const shards: { readonly first: number; readonly count: number; readonly session: Session }[] = []
  for (let first = 0; first < count; first += size) {
    const part = items.subarray(first * dim, Math.min(count, first + size) * dim)
    const options = worker === undefined ? { name: 'similarity' } : { name: 'similarity', worker }
    shards.push({ first, count: part.length / dim, session: await Session.create(productModel(part, dim, batch), options) })
  }
  const out = new Float32Array(shards.length > 1 ? batch * count : 0)
  return {
    similarity: async (queries, queryCount) => {
      const padded = new Float32Array(batch * dim)
      padded.set(queries.subarray(0, queryCount * dim))
      const feeds = { queries: tensor('float32', [batch, dim], padded) }
      const products = await Promise.all(shards.map(({ session }) => session.run(feeds)))
      const scores = products.map(({ scores }) => scores!.data as Float32Array)
      if (shards.length === 1) return scores[0]!
      shards.forEach((shard, s) => {
        for (let q = 0; q < queryCount; q++) out.set(scores[s]!.subarray(q * shard.count, (q + 1) * shard.count), q * count + shard.first)
      })
      return out
    },
    close: async () => {
      for (const { session } of shards) await session.close()
    },
  }
}

function productModel(items: Float32Array, dim: number, batch: number): Uint8Array {
  const graph = new Graph({ name: 'similarity' })
  const count = items.length / dim
  const queries = graph.input('queries', 'float32', [batch, dim])
  const columns = graph.constant(tensor('float32', [dim, count], transposed(items, count, dim)))
  graph.output('scores', graph.matmul(queries, columns))
  return toModel(graph)
}

/** Items handled together, so that four rows of sums stay in the processor's first cache. */
const span = 1024

/** The reference: sums over dimensions in index order, four queries at a time. */
export const plainSimilarity: OpenSimilarity = async (items, dim, batch) => {
  const count = dim === 0 ? 0 : items.length / dim
  const columns = transposed(items, count, dim)
  const out = new Float32Array(batch * count)
  return {
    similarity: (queries, queryCount) => {
      for (let q = 0; q < queryCount; q += 4) {
        for (let from = 0; from < count; from += span) {
          multiply(queries, columns, out, { q, queryCount, dim, count, from, until: Math.min(count, from + span) })
        }
      }
      return out
    },
    close: async () => {},
  }
}

interface Tile {
  readonly q: number
  readonly queryCount: number
  readonly dim: number
  readonly count: number
  readonly from: number
  readonly until: number
}

/** out[q .. q + 3, from .. until] = queries x columns. Rows past `queryCount` repeat the last one. */
function multiply(queries: Float32Array, columns: Float32Array, out: Float32Array, { q, queryCount, dim, count, from, until }: Tile): void {
  const last = queryCount - 1
  const [q1, q2, q3] = [Math.min(q + 1, last), Math.min(q + 2, last), Math.min(q + 3, last)]
  const [o0, o1, o2, o3] = [q * count, q1 * count, q2 * count, q3 * count]
  const width = until - from
  const [s0, s1, s2, s3] = [new Float32Array(width), new Float32Array(width), new Float32Array(width), new Float32Array(width)]
  for (let d = 0; d < dim; d++) {
    const u0 = queries[q * dim + d]!
    const u1 = queries[q1 * dim + d]!
    const u2 = queries[q2 * dim + d]!
    const u3 = queries[q3 * dim + d]!
    for (let i = 0, at = d * count + from; i < width; i++, at++) {
      const x = columns[at]!
      s0[i]! += u0 * x
      s1[i]! += u1 * x
      s2[i]! += u2 * x
      s3[i]! += u3 * x
    }
  }
  out.set(s0, o0 + from)
  out.set(s1, o1 + from)
  out.set(s2, o2 + from)
  out.set(s3, o3 + from)
}

function transposed(items: Float32Array, count: number, dim: number): Float32Array {
  const columns = new Float32Array(items.length)
  for (let i = 0; i < count; i++) for (let d = 0; d < dim; d++) columns[d * count + i] = items[i * dim + d]!
  return columns
}
