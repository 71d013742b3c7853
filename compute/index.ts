/**
 * Numbers: ONNX graphs with gradients, sessions in worker threads, seeded random numbers and kernels over flat
 * typed arrays. Knows nothing of logs, stores or recommenders.
 * @module
 */

export { crc32c } from './kernels/crc32c.ts'
export { murmur2, partitionForKey } from './kernels/murmur2.ts'
export { cloneTensor, elementCount, tensor, tensorOf, tensorRows, zeros } from './tensor.ts'
export type { DType, Tensor, TensorData } from './tensor.ts'
export { ComputeWorker } from './compute-worker.ts'
export { gradients } from './gradients.ts'
export { Graph } from './graph.ts'
export type { GraphOptions, ParameterOptions } from './graph.ts'
export { toModel } from './model.ts'
export type { ModelOptions } from './model.ts'
export type { Dim, Op, Value, ValueType } from './op.ts'
export { opTable } from './ops/index.ts'
export type { OpName } from './ops/index.ts'
export { Session } from './session.ts'
export type { RunOptions, SessionCreateOptions } from './session.ts'
export type { TensorMap } from './worker-protocol.ts'
export { adamW, adamWDefaults, adamWUpdate, clipByNorm, globalNorm, optimizerPrefix } from './optimizer.ts'
export type { AdamWOptions } from './optimizer.ts'
export { constantAfterWarmup, cosineSchedule, oneCycleDefaults, oneCycleSchedule } from './schedules.ts'
export type { CosineOptions, OneCycleOptions, Schedule } from './schedules.ts'
export { TrainingSession } from './training-session.ts'
export type { TrainingSessionOptions } from './training-session.ts'
