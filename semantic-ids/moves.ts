/**
 * Items that a capacity has moved: each has another last code for as long as its vector is the one that was moved.
 * Invariant: a function of (id, vector bytes, table); an item that is not in the table, or has another vector, is left alone.
 *
 * Bytes: those of `parent-codes.ts` with five numbers per item: the last code, then the first eight bytes of the SHA-256 of its vector
 * (float32, little-endian, no zero negative) as four uint16, little-endian.
 */

import { createHash } from 'node:crypto'
import type { SidOrigin } from '../schemas/index.ts'
import { rowsOf } from './codebooks.ts'
import type { MovedItem } from './collisions.ts'
import { ParentCodes } from './parent-codes.ts'

/** Last code and four pieces of the hash. */
const width = 5

export class Moves {
  readonly #table: ParentCodes

  private constructor(table: ParentCodes) {
    this.#table = table
  }

  /**
   * @param moved - as `resolveCollisions` gives them
   * @param ids - one per row
   * @param vectors - the published numbers (in front of a network), row-major float32, shape [ids.length, dim]
   */
  static of(moved: readonly MovedItem[], ids: readonly string[], vectors: Float32Array): Moves {
    const dim = vectors.length / ids.length
    const numbers = new Uint16Array(moved.length * width)
    for (const [at, { row, to }] of moved.entries()) {
      numbers[at * width] = to
      numbers.set(digest(vectors, row, dim), at * width + 1)
    }
    return new Moves(
      ParentCodes.of(
        moved.map(({ row }) => ids[row]!),
        numbers,
        width,
      ),
    )
  }

  /** @throws SIDESTREAM_ARTIFACT_CORRUPT */
  static fromBytes(bytes: Uint8Array): Moves {
    return new Moves(ParentCodes.fromBytes(bytes))
  }

  toBytes(): Uint8Array {
    return this.#table.toBytes()
  }

  /** Number of items. */
  get rows(): number {
    return this.#table.rows
  }

  /** Whether the numbers fit a last level of so many codes. */
  fits(size: number): boolean {
    return this.#table.levels === width && this.#table.largestCodes()[0]! < size
  }

  /**
   * Moves the items of a batch, in place. The codes before the last are those of the walk: equal vectors have equal ones.
   * @param vectors - as for `of`
   * @param codes - of the walk, row-major, shape [ids.length, levels]
   * @param origins - shape [ids.length]
   */
  apply(ids: readonly string[], vectors: Float32Array, codes: Uint16Array, origins: SidOrigin[]): void {
    if (ids.length === 0) return
    const dim = rowsOf(vectors, ids.length)
    const levels = rowsOf(codes, ids.length)
    const found = this.#table.lookup(ids)
    for (let row = 0; row < ids.length; row++) {
      const at = row * width
      if (found[at]! < 0) continue
      if (digest(vectors, row, dim).some((piece, i) => piece !== found[at + 1 + i])) continue
      codes[(row + 1) * levels - 1] = found[at]!
      origins[row] = 'moved'
    }
  }
}

/** The first eight bytes of a row's SHA-256. Stored as int8, a zero has lost its sign: it counts without. */
function digest(vectors: Float32Array, row: number, dim: number): Uint16Array {
  const unsigned = vectors.slice(row * dim, (row + 1) * dim).map((value) => value + 0)
  const hash = createHash('sha256').update(new Uint8Array(unsigned.buffer)).digest()
  return Uint16Array.from({ length: width - 1 }, (_, i) => hash.readUInt16LE(i * 2))
}
