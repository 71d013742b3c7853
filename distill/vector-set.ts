/** Vectors of one set, row-major float32, shape [items, dim], rows by item number. */
export interface VectorSet {
  readonly vectors: Float32Array
  readonly dim: number
}
