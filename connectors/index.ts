/**
 * Ports and their drivers: the log (file, memory), the store, state and artifacts. Translates shape, time and failure; decides
 * nothing.
 * @module
 */
export { lockDirectory } from './directory-lock.ts'
export type { DirectoryLock } from './directory-lock.ts'
export { embeddedDefaults } from './log/embedded.ts'
export type { EmbeddedOptions } from './log/embedded.ts'
export { fileLogDefaults, openFileLog } from './log/file.ts'
export type { FileLog, FileLogOptions } from './log/file.ts'
export { kafkaLogDefaults, openKafkaLog } from './log/kafka.ts'
export type { KafkaLogger, KafkaLogOptions } from './log/kafka.ts'
export type { TornTail } from './log/file-partition.ts'
export type {
  ConsumerOptions,
  Lane,
  LogAdmin,
  LogBatch,
  LogConsumer,
  LogDriver,
  LogHandlers,
  LogHeader,
  LogProducer,
  LogRecord,
  LogTransaction,
  NewTopic,
  ProducerOptions,
  ProducerRecord,
  ReadOptions,
  TopicCleanup,
  TopicDescription,
  TopicPlan,
} from './log/log.ts'
export { transactionalIdOf } from './log/names.ts'
export type { MaintenanceReport } from './log/file-maintenance.ts'
export { memoryLogDefaults, openMemoryLog } from './log/memory.ts'
export type { MemoryLog, MemoryLogOptions } from './log/memory.ts'
export { openArtifactDirectory } from './artifacts/directory.ts'
export type { ArtifactDirectoryOptions } from './artifacts/directory.ts'
export { artifactLogDefaults, openArtifactLog } from './artifacts/log.ts'
export type { ArtifactLogOptions } from './artifacts/log.ts'
export type { Artifact, ArtifactManifest, ArtifactPart, Artifacts } from './artifacts/artifacts.ts'
export { openLmdbState } from './state/lmdb.ts'
export type { LmdbStateOptions } from './state/lmdb.ts'
export { memoryState } from './state/memory.ts'
export type { State, StateCommit } from './state/state.ts'
export { openLmdbStore } from './store/lmdb.ts'
export type { LmdbStoreOptions } from './store/lmdb.ts'
export { memoryStore } from './store/memory.ts'
export type { MemoryStoreOptions } from './store/memory.ts'
export { openRedisStore } from './store/redis.ts'
export type { RedisStore } from './store/redis.ts'
export { redisStoreDefaults } from './store/redis-options.ts'
export type { RedisStoreOptions } from './store/redis-options.ts'
export type { TlsOptions } from './tls-failure.ts'
export type { StoreFinding } from './store/redis-inspection.ts'
export type {
  LivePointer,
  PointerChange,
  Store,
  StoreEntry,
  StoreRead,
  StoreTarget,
  SwapOutcome,
  SwapRequest,
  WriteOutcome,
} from './store/store.ts'
