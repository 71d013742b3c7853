/**
 * The rows that codebooks are fitted on: those with the smallest hash of (seed, item id).
 * Invariant: the sample and its order depend on ids and seed only, not on the order of arrival, and are the same from memory and from
 * a stream.
 */

import { createHash } from 'node:crypto'
import { hashUnit } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { requireFinite, rowsOf } from './codebooks.ts'
import { requireDistinct, sortedOrder } from './id-order.ts'

export interface FitSample {
  /** Row-major float32, shape [n, dim], in hash order. */
  readonly vectors: Float32Array
  /** Rows that it was drawn from. */
  readonly rows: number
  /** Which of them the sample's rows are, where all were in memory; else empty. */
  readonly order: Uint32Array
  /** Plain JSON for the manifest: which items the sample was drawn from. */
  readonly items: Readonly<Record<string, unknown>>
}

/**
 * The sample of rows in memory.
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @param most - rows of the sample at most
 * @throws SIDESTREAM_ITEMS_TOO_FEW, SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE, SIDESTREAM_ID_INVALID for an id that came twice
 */
export function sampleOf(vectors: Float32Array, ids: readonly string[], dim: number, seed: number, most: number): FitSample {
  checkRows(vectors, ids, dim)
  if (ids.length === 0) throw noRows()
  const sorted = sortedOrder(ids)
  requireDistinct(ids, sorted)
  const keys = Float64Array.from(ids, (id) => hashUnit(seed, id))
  const order = Uint32Array.from(ids, (_, row) => row)
  order.sort((a, b) => keys[a]! - keys[b]! || (ids[a]! < ids[b]! ? -1 : 1))
  const chosen = order.slice(0, most)
  return { vectors: take(vectors, chosen, dim), rows: ids.length, order: chosen, items: { itemsSha256: itemsHash(ids, sorted) } }
}

/** Draws the sample of a stream; memory is that of the sample. */
export class SampleReservoir {
  readonly #dim: number
  readonly #seed: number
  readonly #most: number
  /** Grows up to [most, dim]. */
  #vectors: Float32Array
  /** By place in `#vectors`. */
  readonly #keys: Float64Array
  readonly #ids: string[] = []
  /** Places, the largest key on top (binary heap). */
  readonly #heap: Int32Array
  #rows = 0
  /** Sum of the ids' SHA-256 as 256-bit numbers, in words of 16 bits, lowest first; carried now and then. */
  readonly #sum = new Float64Array(16)

  constructor(dim: number, seed: number, most: number) {
    this.#dim = dim
    this.#seed = seed
    this.#most = most
    this.#vectors = new Float32Array(Math.min(most, 1024) * dim)
    this.#keys = new Float64Array(most)
    this.#heap = new Int32Array(most)
  }

  /**
   * Takes rows in.
   * @param vectors - row-major float32, shape [ids.length, dim]; not kept
   * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
   */
  add(ids: readonly string[], vectors: Float32Array): void {
    checkRows(vectors, ids, this.#dim, this.#rows)
    for (const [row, id] of ids.entries()) {
      addHash(this.#sum, id)
      const vector = vectors.subarray(row * this.#dim, (row + 1) * this.#dim)
      const key = hashUnit(this.#seed, id)
      if (this.#ids.length < this.#most) this.#append(key, id, vector)
      else if (this.#before(key, id, this.#heap[0]!)) this.#replaceLargest(key, id, vector)
    }
    this.#rows += ids.length
  }

  /**
   * The sample of all rows so far.
   * @throws SIDESTREAM_ITEMS_TOO_FEW; SIDESTREAM_ID_INVALID for an id that stands twice in the sample
   */
  sample(): FitSample {
    const ids = this.#ids
    if (ids.length === 0) throw noRows()
    requireDistinct(ids, sortedOrder(ids))
    const order = Uint32Array.from(ids.keys())
    order.sort((a, b) => this.#keys[a]! - this.#keys[b]! || (ids[a]! < ids[b]! ? -1 : 1))
    carry(this.#sum)
    const words = Array.from(this.#sum, (word) => word.toString(16).padStart(4, '0'))
    const items = { itemsSha256Sum: words.reverse().join('') }
    return { vectors: take(this.#vectors, order, this.#dim), rows: this.#rows, order: new Uint32Array(0), items }
  }

  #append(key: number, id: string, vector: Float32Array): void {
    const place = this.#ids.length
    if ((place + 1) * this.#dim > this.#vectors.length) {
      const grown = new Float32Array(Math.min(this.#most * this.#dim, 2 * this.#vectors.length))
      grown.set(this.#vectors)
      this.#vectors = grown
    }
    this.#keys[place] = key
    this.#ids.push(id)
    this.#vectors.set(vector, place * this.#dim)
    const heap = this.#heap
    let at = place
    for (
      let parent = (at - 1) >> 1;
      at > 0 && this.#before(this.#keys[heap[parent]!]!, this.#ids[heap[parent]!]!, place);
      parent = (at - 1) >> 1
    ) {
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = place
  }

  #replaceLargest(key: number, id: string, vector: Float32Array): void {
    const heap = this.#heap
    const place = heap[0]!
    this.#keys[place] = key
    this.#ids[place] = id
    this.#vectors.set(vector, place * this.#dim)
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#most) break
      const other = child + 1
      if (other < this.#most && this.#before(this.#keys[heap[child]!]!, this.#ids[heap[child]!]!, heap[other]!)) child = other
      if (!this.#before(key, id, heap[child]!)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = place
  }

  /** Whether (key, id) comes before what stands at `place`. */
  #before(key: number, id: string, place: number): boolean {
    const other = this.#keys[place]!
    return key < other || (key === other && id < this.#ids[place]!)
  }
}

function checkRows(vectors: Float32Array, ids: readonly string[], dim: number, before = 0): void {
  const rows = rowsOf(vectors, dim)
  if (rows !== ids.length) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${rows} vectors came with ${ids.length} ids`)
  requireFinite(vectors, dim, before === 0 ? 'vector' : `after ${before} rows: vector`)
}

function noRows(): SidestreamError {
  return new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', 'codebooks cannot be fitted without items; wait for content or import some')
}

function take(vectors: Float32Array, order: Uint32Array, dim: number): Float32Array {
  const out = new Float32Array(order.length * dim)
  for (let row = 0; row < order.length; row++) out.set(vectors.subarray(order[row]! * dim, (order[row]! + 1) * dim), row * dim)
  return out
}

/** SHA-256 of the ids, sorted, one a line. */
function itemsHash(ids: readonly string[], sorted: Uint32Array): string {
  const hash = createHash('sha256')
  for (const row of sorted) hash.update(`${ids[row]}\n`)
  return hash.digest('hex')
}

/** Adds an id's hash to a sum that does not depend on the order of ids. */
function addHash(sum: Float64Array, id: string): void {
  const digest = createHash('sha256').update(id).digest()
  for (let word = 0; word < 16; word++) sum[word] = sum[word]! + digest.readUInt16BE(30 - 2 * word)
  if (sum[0]! > 2 ** 50) carry(sum)
}

function carry(sum: Float64Array): void {
  let over = 0
  for (let word = 0; word < 16; word++) {
    const value = sum[word]! + over
    over = Math.floor(value / 65_536)
    sum[word] = value - over * 65_536
  }
}
