/** The vectors that semantic IDs are made of, as the `sid` commands read them from files. */

import { readVectors, SidestreamError } from '../schemas/index.ts'
import type { ReadVectorsOptions, VectorBatch } from '../schemas/index.ts'
import { orderOfDistinct } from './sid-items.ts'

/** A file of vectors: `.parquet`, `.csv`, `.csv.gz`, `.f32` or `.npy`. */
export interface VectorFile extends Pick<ReadVectorsOptions, 'ids' | 'idColumn' | 'vectorColumn'> {
  readonly in: string
}

/** @param rows - read so far @param share - of the file, up to 1 */
export type OnRows = (rows: number, share: number) => void

/** Rows of a batch: enough to keep threads busy, 16 MiB at dimension 1,024. */
const batchRows = 4096

/**
 * Streams the vectors in the order of the file.
 * @param dim - what is wanted; undefined takes any
 * @throws SIDESTREAM_SHAPE_MISMATCH for another dimension; SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function* vectorBatches(
  { in: file, ...columns }: VectorFile,
  dim: number | undefined,
  onRows?: OnRows,
  signal?: AbortSignal,
): AsyncGenerator<VectorBatch, void, undefined> {
  let share = 0
  const options = { ...columns, batchRows, onRead: (read: number) => (share = read), ...(signal && { signal }) }
  for await (const batch of readVectors(file, options)) {
    if (dim !== undefined && batch.dim !== dim) {
      throw new SidestreamError(
        'SIDESTREAM_SHAPE_MISMATCH',
        `${file}: its vectors have ${batch.dim} dimensions, the bundle takes ${dim}: give the vectors that it was fitted for, or fit anew`,
        { file, dim: batch.dim },
      )
    }
    yield batch
    onRows?.(batch.start + batch.ids.length, share)
  }
}

/** Dimension of a file's vectors. @throws SIDESTREAM_ITEMS_TOO_FEW for a file without rows */
export async function vectorDim({ in: file, ...columns }: VectorFile): Promise<number> {
  for await (const { dim } of readVectors(file, { ...columns, batchRows: 1 })) return dim
  throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `${file}: holds no vectors`, { file })
}

export interface HeldVectors {
  readonly ids: readonly string[]
  /** Rows in the order of their ids. */
  readonly idOrder: Uint32Array
  /** Row-major float32, shape [ids.length, dim]. */
  readonly vectors: Float32Array
  readonly dim: number
}

/**
 * All vectors of a file, for what needs them at once.
 * @throws as `vectorBatches`; SIDESTREAM_ITEMS_TOO_FEW; SIDESTREAM_ID_INVALID for an item that stands twice
 */
export async function allVectors(file: VectorFile, dim?: number, onRows?: OnRows, signal?: AbortSignal): Promise<HeldVectors> {
  const ids: string[] = []
  let vectors = new Float32Array(0)
  let width = dim ?? 0
  // The share that is read tells how many rows there are, all but exactly where they are counted in the file.
  let expected = 0
  const onBatch: OnRows = (rows, share) => {
    expected = share > 0 ? Math.round(rows / share) : 0
    onRows?.(rows, share)
  }
  for await (const batch of vectorBatches(file, dim, onBatch, signal)) {
    width = batch.dim
    const from = ids.length * width
    for (const id of batch.ids) ids.push(id)
    const needed = ids.length * width
    if (needed > vectors.length) {
      const wider = new Float32Array(Math.max(needed, expected * width, Math.ceil(vectors.length * 1.5)))
      wider.set(vectors)
      vectors = wider
    }
    vectors.set(batch.vectors, from)
  }
  if (ids.length === 0) throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `${file.in}: holds no vectors`, { file: file.in })
  return { ids, idOrder: orderOfDistinct(file.in, ids), vectors: vectors.subarray(0, ids.length * width), dim: width }
}
