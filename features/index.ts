/**
 * What is published and read: value bytes, versions and their states, the live pointer, the reader, collection, readiness.
 * @module
 */

export { abandonVersion, collectVersions, judgeCollection } from './collect.ts'
export type { CollectContext, CollectOptions, CollectVerdict } from './collect.ts'
export { judgeReadiness } from './coverage.ts'
export type { PartitionProgress, Readiness } from './coverage.ts'
export { FreshnessHistogram } from './freshness.ts'
export type { FreshnessBucket, FreshnessSummary } from './freshness.ts'
export { activate, reconcile, rollback } from './live.ts'
export type { ActivateRequest, SwitchResult } from './live.ts'
export { copyOutbox, hasChange, repeatChanges } from './outbox.ts'
export type { FeatureVersionSink } from './outbox.ts'
export { prefix } from './prefix.ts'
export type { PrefixOptions } from './prefix.ts'
export { appendQuantize, quantizeRows } from './quantize.ts'
export type { QuantizedRows, QuantizedValues } from './quantize.ts'
export { FeatureReader } from './reader.ts'
export type { FeatureRead, FeatureViewsRead, ReadOptions } from './reader.ts'
export { decodeValue, encodeTombstone, encodeValues, isTombstone, valueBytes } from './value.ts'
export type { Feature, ValueRows } from './value.ts'
export { mayMove, moves, moveVersion } from './version-record.ts'
export type { VersionRecord, VersionState, VersionView } from './version-record.ts'
export { createVersion, listVersions, readVersion, requireVersion, updateVersion } from './versions.ts'
export type { VersionPlan } from './versions.ts'
