/**
 * What is published and read: value bytes, versions and their states, the live pointer, the reader, collection, readiness.
 * @module
 */

export { FreshnessHistogram } from './freshness.ts'
export type { FreshnessBucket, FreshnessSummary } from './freshness.ts'
export { prefix } from './prefix.ts'
export type { PrefixOptions } from './prefix.ts'
export { appendQuantize, quantizeRows } from './quantize.ts'
export type { QuantizedRows, QuantizedValues } from './quantize.ts'
export { decodeValue, encodeTombstone, encodeValues, isTombstone, valueBytes } from './value.ts'
export type { Feature, ValueRows } from './value.ts'
