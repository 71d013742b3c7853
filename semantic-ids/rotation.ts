/**
 * Rotates one vector space onto another, block by block: two heads trained apart put equal items at unlike places, and nothing can be
 * compared across them before. One block per Matryoshka prefix keeps every prefix a vector of its own; one rotation over all
 * dims fits better and breaks the prefixes.
 * Invariant: the map is orthogonal, so distances and cosines within either space stay as they are.
 */

import { procrustes } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { codebooksOf, rowsOf, type Codebooks } from './codebooks.ts'

/** An orthogonal map in blocks along the diagonal. */
export interface Rotation {
  readonly dim: number
  /** Ends of the blocks, ascending, the last equal to `dim`. */
  readonly ends: readonly number[]
  /** One per block: row-major float64, shape [width, width]; a row vector is mapped by x Q. */
  readonly blocks: readonly Float64Array[]
}

/**
 * The rotation of least squared distance from `from` onto `to`.
 * @param from, to - the same items in the same order, row-major float32, shape [rows, dim]
 * @param ends - ends of the blocks; one block over all dims when left out
 * @throws SIDESTREAM_ITEMS_TOO_FEW without rows; SIDESTREAM_SHAPE_MISMATCH; SIDESTREAM_VECTOR_NOT_FINITE
 */
export function rotationOnto(from: Float32Array, to: Float32Array, dim: number, ends: readonly number[] = [dim]): Rotation {
  if (rowsOf(from, dim) === 0) throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', 'a rotation needs items that are in both spaces')
  if (ends.at(-1) !== dim || ends.some((end, i) => !Number.isInteger(end) || end <= (ends[i - 1] ?? 0)))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `blocks that end at [${ends.join(', ')}] do not cover ${dim} dims`)
  const blocks = ends.map((end, i) => {
    const start = ends[i - 1] ?? 0
    return procrustes(columns(from, dim, start, end), columns(to, dim, start, end), end - start)
  })
  return { dim, ends, blocks }
}

/** Vectors of the space that the rotation was fitted from, in the other one. @param vectors - row-major float32, shape [rows, dim] */
export function rotated(vectors: Float32Array, rotation: Rotation): Float32Array {
  return mapped(vectors, rotation, false)
}

/** The way back: vectors of the space that the rotation leads to, in the one it was fitted from. */
export function rotatedBack(vectors: Float32Array, rotation: Rotation): Float32Array {
  return mapped(vectors, rotation, true)
}

/** Codebooks of the space that the rotation leads to, in the one it was fitted from: they give its vectors the codes that rotating the vectors would. */
export function codebooksBack(codebooks: Codebooks, rotation: Rotation): Codebooks {
  const { dim, levels, fsq } = codebooks
  return codebooksOf(
    dim,
    levels.map((level) => rotatedBack(level, rotation)),
    { ...codebooks, ...(fsq && { fsq: { ...fsq, projection: rotatedBack(fsq.projection, rotation) } }) },
  )
}

function mapped(vectors: Float32Array, { dim, ends, blocks }: Rotation, back: boolean): Float32Array {
  const rows = rowsOf(vectors, dim)
  const out = new Float32Array(vectors.length)
  for (const [b, block] of blocks.entries()) {
    const start = ends[b - 1] ?? 0
    const width = ends[b]! - start
    const sum = new Float64Array(width)
    for (let row = 0; row < rows; row++) {
      const at = row * dim + start
      sum.fill(0)
      for (let i = 0; i < width; i++) {
        const value = vectors[at + i]!
        if (!back) for (let j = 0; j < width; j++) sum[j] = sum[j]! + value * block[i * width + j]!
        else for (let j = 0; j < width; j++) sum[j] = sum[j]! + value * block[j * width + i]!
      }
      out.set(sum, at)
    }
  }
  return out
}

/** Some columns of rows. */
function columns(vectors: Float32Array, dim: number, start: number, end: number): Float32Array {
  if (start === 0 && end === dim) return vectors
  const width = end - start
  const rows = vectors.length / dim
  const out = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) out.set(vectors.subarray(row * dim + start, row * dim + end), row * width)
  return out
}
