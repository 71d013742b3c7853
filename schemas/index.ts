/**
 * Everything that crosses a process boundary: errors, limits, records, topics, Avro schemas and codec, configuration and file
 * contracts. Imports no other room.
 * @module
 */
export { Codec } from './codec.ts'
export type { CodecOptions, TopicRecords } from './codec.ts'
export type { FieldNames } from './foreign-reader.ts'
export { errorClasses, isPoison, isRetryable, isSidestreamError, refusalCodes, SidestreamError } from './errors.ts'
export type { ErrorClass, ErrorCode, ErrorDetails } from './errors.ts'
export { nearest } from './problems.ts'
export { crc64Avro, fingerprintHex } from './fingerprint.ts'
export { createItemContentBatch, rowStates } from './item-content-batch.ts'
export type { BatchDecodeOptions, ItemContentBatch, Modality } from './item-content-batch.ts'
export { encodeItemFeatures } from './item-feature-batch.ts'
export type { ItemFeatureRows, KeyedRecord } from './item-feature-batch.ts'
export { contentFigures, spaceFigures, windowFigures } from './judged-figures.ts'
export { sidFigures } from './sid-figures.ts'
export type { ContentFigure, SpaceFigure, WindowFigure } from './judged-figures.ts'
export { limits } from './limits.ts'
export type { DecodeExpectations } from './record-mapping.ts'
export { protoFile } from './proto.ts'
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
export {
  churnBudgetDefault,
  configDefaults,
  gateRuleDefaults,
  sidGateRuleDefaults,
  sourceDefaults,
  stageDefaults,
  stageLossDefaults,
  teacherKindDefaults,
} from './config-defaults.ts'
export { configEnvironment } from './config-options.ts'
export type { EnvironmentOverride } from './config-options.ts'
export { readColumns, readColumnsDefaults } from './files/columns.ts'
export type { ColumnBatch, ReadColumnsOptions } from './files/columns.ts'
export {
  readCodes,
  readContent,
  readIdEmbeddings,
  readInteractions,
  readItemPairs,
  writeCodes,
  writeEmbeddings,
} from './files/contracts.ts'
export type { CodeBatch, ContentRow, InteractionMapping, ModalityDims, ReadRecordsOptions } from './files/contracts.ts'
export { readFlatCodes } from './files/flat-codes.ts'
export { countCell, idCell, numberCell, textCell, timeCell } from './files/cells.ts'
export type { CellPlace, TimeUnit } from './files/cells.ts'
export { writeParquet } from './files/parquet-rows.ts'
export type { ParquetColumn, ParquetRows, ParquetType } from './files/parquet-rows.ts'
export { makeDirectory, requireWritable } from './files/directories.ts'
export { partialOf, removeAbandoned } from './files/partial.ts'
export { fileError, fileExists, fileFormat, syncDirectory, writeWhole } from './files/source.ts'
export type { FileFormat } from './files/source.ts'
export { openVectors, readVectors, readVectorsDefaults, writeVectorsF32 } from './files/vectors.ts'
export type { ReadVectorsOptions, VectorBatch, VectorBatches, VectorSource } from './files/vectors.ts'
export { parseRecipe } from './recipe.ts'
export type { Recipe } from './recipe.ts'
export { readRecipe, recipeFits } from './files/recipe-source.ts'
export { SchemaRegistryClient } from './registry/client.ts'
export type { Compatibility, RegisteredSchema, SchemaPlace, SchemaReference } from './registry/client.ts'
export type { RegistryConnection } from './registry/http.ts'
export { checkSubjects, ownSubjects, registerSubjects } from './registry/own-subjects.ts'
export type { OwnSubject, SubjectFinding } from './registry/own-subjects.ts'
export { WriterSchemas } from './registry/writer-schemas.ts'
export type { FramedRecord, PrepareOptions, WriterSchemasOptions } from './registry/writer-schemas.ts'
export type { SourceEvent } from './source-event.ts'
export { blockLayout } from './vector-layout.ts'
export type { BlockLayoutOptions, ElementRange, VectorBlock, VectorLayout } from './vector-layout.ts'
export { configJsonSchema, configReference, describeConfig } from './config-describe.ts'
export type { ConfigOption } from './config-describe.ts'
