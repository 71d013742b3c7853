/**
 * Dense tensors between rooms, threads and ONNX Runtime: a type, dims and one flat typed array.
 * Invariant: `data.length` is the product of `dims`, and the array class fits `dtype`.
 */

import { SidestreamError } from '../schemas/index.ts'

export type DType = 'float32' | 'float64' | 'float16' | 'int64' | 'int32' | 'uint8' | 'bool'

export interface TensorData {
  float32: Float32Array
  float64: Float64Array
  /** Raw half-precision bits; see `encodeFloat16`. */
  float16: Uint16Array
  int64: BigInt64Array
  int32: Int32Array
  uint8: Uint8Array
  bool: Uint8Array
}

/** A row-major tensor. `dims` is empty for a scalar. */
export interface Tensor<T extends DType = DType> {
  readonly dtype: T
  readonly dims: readonly number[]
  readonly data: TensorData[T]
}

const arrayClasses = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/** Product of the dims; 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  let count = 1
  for (const dim of dims) count *= dim
  return count
}

/**
 * A checked tensor over `data` (not copied).
 * @throws SIDESTREAM_SHAPE_MISMATCH when the length or the array class does not fit
 */
export function tensor<T extends DType>(dtype: T, dims: readonly number[], data: TensorData[T]): Tensor<T> {
  if (!(data instanceof arrayClasses[dtype]) || data.length !== elementCount(dims)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `a ${dtype} tensor of dims [${dims.join(', ')}] needs a ${arrayClasses[dtype].name} of ${elementCount(dims)} elements, got ${data.constructor.name} of ${data.length}`,
    )
  }
  return { dtype, dims, data }
}

/** Zeros in memory that threads share; see `Session.run`. */
export function sharedFloat32(length: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(length * Float32Array.BYTES_PER_ELEMENT))
}

/** A tensor of zeros. */
export function zeros<T extends DType>(dtype: T, dims: readonly number[]): Tensor<T> {
  return { dtype, dims, data: new arrayClasses[dtype](elementCount(dims)) as TensorData[T] }
}

/** Tensor from plain numbers, for constants and tests; not for hot paths. */
export function tensorOf<T extends DType>(dtype: T, dims: readonly number[], values: readonly number[]): Tensor<T> {
  const out = zeros(dtype, dims)
  if (values.length !== out.data.length) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `dims [${dims.join(', ')}] need ${out.data.length} values, got ${values.length}`)
  }
  for (let i = 0; i < values.length; i++) out.data[i] = dtype === 'int64' ? BigInt(values[i]!) : values[i]!
  return out
}

/** A copy whose buffer holds exactly this tensor, so it can be transferred without taking a neighbor along. */
export function cloneTensor<T extends DType>(source: Tensor<T>): Tensor<T> {
  return { dtype: source.dtype, dims: [...source.dims], data: source.data.slice() as TensorData[T] }
}

/** Rows `[from, to)` of the first axis as a view on the same memory. */
export function tensorRows<T extends DType>(source: Tensor<T>, from: number, to: number): Tensor<T> {
  const width = elementCount(source.dims.slice(1))
  return {
    dtype: source.dtype,
    dims: [to - from, ...source.dims.slice(1)],
    data: source.data.subarray(from * width, to * width) as TensorData[T],
  }
}
