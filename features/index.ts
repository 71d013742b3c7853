/**
 * What is published and read: value bytes, versions and their states, the live pointer, the reader, collection, readiness.
 * @module
 */

export { appendQuantize } from './quantize.ts'
export type { QuantizedValues } from './quantize.ts'
export { decodeValue, encodeTombstone, encodeValues, valueBytes } from './value.ts'
export type { Feature, ValueRows } from './value.ts'
