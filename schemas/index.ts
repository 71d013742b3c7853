/**
 * Everything that crosses a process boundary: errors, limits, records, topics, Avro schemas and codec, configuration and file
 * contracts. Imports no other room.
 * @module
 */
export { errorClasses, isPoison, isSidestreamError, refusalCodes, SidestreamError } from './errors.ts'
export type { ErrorClass, ErrorCode, ErrorDetails } from './errors.ts'
export { limits } from './limits.ts'
export type {
  ArtifactChunk,
  ControlRecord,
  DeadLetter,
  DistillSample,
  FeatureVersion,
  HistoryChunk,
  HistoryEvent,
  IdEmbedding,
  Interaction,
  ItemContent,
  ItemFeature,
  ItemPair,
  Watermark,
} from './records.ts'
export { topics } from './topics.ts'
export type { TopicName, TopicSpec } from './topics.ts'
export { compareSource, dtypes, sidOrigins, valueHeader } from './value-header.ts'
export type { SidOrigin, VectorDtype } from './value-header.ts'
export { checkConfig, contentDims, parseConfig, redactConfig, semanticIdView, viewDims } from './config.ts'
export type { Config, ConfigInput, ConfigSource, ViewDims } from './config.ts'
export { configDefaults } from './config-defaults.ts'
export { configEnvironment } from './config-options.ts'
export type { EnvironmentOverride } from './config-options.ts'
