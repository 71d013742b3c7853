/**
 * What the head knows of its raw input before any training: per modality the mean, the PCA axes and the spread of a
 * sample of content vectors. `x = (v - mean)` on the axes, divided by max(sd, 1e-6)^0.5, unit length: half-whitened.
 * Invariant: the statistics depend on the sample and its order alone; they are part of a checkpoint and stay fixed
 * until a re-base, because every number of the head is relative to these axes.
 */

import { pca } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

/** One kind of content vector. */
export interface Modality {
  readonly name: string
  /** Length of its vectors. */
  readonly dim: number
}

/** Content vectors of one item by modality; a missing modality is simply not there. */
export type ContentVectors = Readonly<Record<string, Float32Array>>

/** The input statistics of one modality. */
export interface ModalityStatistics extends Modality {
  /** How many vectors they come from. */
  readonly rows: number
  /** Shape [dim], units of the input. */
  readonly mean: Float32Array
  /** Row k is axis k: unit length, descending variance, its largest component positive. Shape [dim, dim]. */
  readonly axes: Float32Array
  /** Standard deviation along each axis, shape [dim], units of the input. */
  readonly sd: Float32Array
}

export interface StatisticsOptions {
  /**
   * Most vectors per modality; of more, every n-th is taken. Higher: steadier axes, more time and memory.
   * @default 50_000
   */
  readonly maxRows?: number
}

export const statisticsDefaults: Readonly<Required<StatisticsOptions>> = { maxRows: 50_000 }

/** Smallest standard deviation an axis is divided by. */
export const sdFloor = 1e-6

/**
 * Fits the statistics of every modality.
 * @param items - content of the sample, in id order (the caller sorts); an item may lack modalities
 * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function fitStatistics(
  modalities: readonly Modality[],
  items: readonly ContentVectors[],
  { maxRows = statisticsDefaults.maxRows }: StatisticsOptions = {},
): ModalityStatistics[] {
  return modalities.map((modality) => {
    const present = items.map((item) => item[modality.name]).filter((vector) => vector !== undefined)
    const stride = Math.max(1, Math.ceil(present.length / maxRows))
    const taken = present.filter((_, i) => i % stride === 0)
    const packed = new Float32Array(taken.length * modality.dim)
    for (const [i, vector] of taken.entries()) {
      requireVector(vector, modality)
      packed.set(vector, i * modality.dim)
    }
    return modalityStatistics(modality, packed)
  })
}

/**
 * Statistics of one modality. Without any row: mean 0, axes of the input itself, sd 1.
 * @param packed - row-major float32, shape [n, dim]
 */
export function modalityStatistics({ name, dim }: Modality, packed: Float32Array): ModalityStatistics {
  const rows = packed.length / dim
  if (rows === 0) {
    const axes = new Float32Array(dim * dim)
    for (let i = 0; i < dim; i++) axes[i * dim + i] = 1
    return { name, dim, rows, mean: new Float32Array(dim), axes, sd: new Float32Array(dim).fill(1) }
  }
  const { mean, axes, variances } = pca(packed, rows, dim)
  return { name, dim, rows, mean: Float32Array.from(mean), axes: Float32Array.from(axes), sd: Float32Array.from(variances, Math.sqrt) }
}

/**
 * The whole input step as one affine map: `x ~ (v - mean) · matrix`, before it is brought to unit length.
 * @returns matrix row-major float32, shape [dim in, dim on axes]: column k is axis k / max(sd_k, 1e-6)^0.5
 */
export function whiteningMatrix({ dim, axes, sd }: ModalityStatistics): Float32Array {
  const matrix = new Float32Array(dim * dim)
  for (let k = 0; k < dim; k++) {
    const scale = 1 / Math.sqrt(Math.max(sd[k]!, sdFloor))
    for (let i = 0; i < dim; i++) matrix[i * dim + k] = axes[k * dim + i]! * scale
  }
  return matrix
}

/**
 * Half-whitens vectors in float64: the plain reference of what the head's graph does first.
 * @param vectors - row-major float32, shape [n, dim]
 * @returns shape [n, dim], rows of unit length; a row equal to the mean stays zero
 */
export function halfWhiten(statistics: ModalityStatistics, vectors: Float32Array): Float32Array {
  const { dim, mean } = statistics
  const matrix = whiteningMatrix(statistics)
  const out = new Float32Array(vectors.length)
  const row = new Float64Array(dim)
  for (let at = 0; at < vectors.length; at += dim) {
    row.fill(0)
    for (let i = 0; i < dim; i++) {
      const centered = vectors[at + i]! - mean[i]!
      for (let k = 0; k < dim; k++) row[k]! += centered * matrix[i * dim + k]!
    }
    let squares = 0
    for (let k = 0; k < dim; k++) squares += row[k]! * row[k]!
    const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0
    for (let k = 0; k < dim; k++) out[at + k] = row[k]! * scale
  }
  return out
}

/** @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE */
export function requireVector(vector: Float32Array, { name, dim }: Modality): void {
  if (vector.length !== dim) {
    throw new SidestreamError('SIDESTREAM_VECTOR_DIM_MISMATCH', `${name} vector has ${vector.length} dims, the head was made for ${dim}`)
  }
  for (let i = 0; i < dim; i++) {
    if (!Number.isFinite(vector[i])) throw new SidestreamError('SIDESTREAM_VECTOR_NOT_FINITE', `${name} vector holds ${vector[i]} at ${i}`)
  }
}
