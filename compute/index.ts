/**
 * Numbers: ONNX graphs with gradients, sessions in worker threads, seeded random numbers and kernels over flat
 * typed arrays. Knows nothing of logs, stores or recommenders.
 * @module
 */

export { crc32c } from './kernels/crc32c.ts'
export { murmur2, partitionForKey } from './kernels/murmur2.ts'
export { cloneTensor, elementCount, tensor, tensorOf, tensorRows, zeros } from './tensor.ts'
export type { DType, Tensor, TensorData } from './tensor.ts'
