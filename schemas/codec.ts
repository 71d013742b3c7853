/**
 * Records to bytes and back: Avro in single-object framing. Writers of other teams may use schemas of their own; register
 * them, and their records are resolved to ours.
 * Invariant: whatever the bytes, decoding gives a record that keeps every limit, or a poison error; nothing else.
 */
import type { Type } from 'avsc'
import { fingerprintOf, ownSchema, parseWriterSchema, readerFor } from './avro-types.ts'
import type { OwnSchema } from './avro-types.ts'
import { findBodyFault } from './avro-bounds.ts'
import { SidestreamError, isSidestreamError } from './errors.ts'
import { fingerprintHex, frameBytes, isFramed, writeFrame } from './fingerprint.ts'
import { fillItemContentBatch } from './item-content-batch.ts'
import type { BatchDecodeOptions, ItemContentBatch } from './item-content-batch.ts'
import { ItemContentLayout } from './item-content-layout.ts'
import { limits } from './limits.ts'
import { mappings } from './record-mapping.ts'
import type { DecodeExpectations, RecordMapping } from './record-mapping.ts'
import type * as records from './records.ts'
import type { TopicName } from './topics.ts'

/** The record type of every topic. */
export interface TopicRecords {
  interactions: records.Interaction
  'item-content': records.ItemContent
  'id-embeddings': records.IdEmbedding
  'item-pairs': records.ItemPair
  histories: records.HistoryChunk
  'distill-samples': records.DistillSample | records.Watermark
  'item-features': records.ItemFeature
  'feature-versions': records.FeatureVersion
  control: records.ControlRecord
  artifacts: records.ArtifactChunk
  'dead-letters': records.DeadLetter
}

/** A mapping of some record type. */
interface AnyMapping {
  readonly schema: RecordMapping<object>['schema']
  readonly toAvro: (record: never) => object
  readonly fromAvro: RecordMapping<object>['fromAvro']
}

/** Record types of a topic; the first that another writer's schema fits is used. */
const topicMappings: Readonly<Record<TopicName, readonly AnyMapping[]>> = {
  interactions: [mappings.interaction],
  'item-content': [mappings.itemContent],
  'id-embeddings': [mappings.idEmbedding],
  'item-pairs': [mappings.itemPair],
  histories: [mappings.historyChunk],
  'distill-samples': [mappings.distillSample, mappings.watermark],
  'item-features': [mappings.itemFeature],
  'feature-versions': [mappings.featureVersion],
  control: [mappings.controlRecord],
  artifacts: [mappings.artifactChunk],
  'dead-letters': [mappings.deadLetter],
}

/** How values of one writer schema become records of one topic. */
interface Reader {
  readonly mapping: AnyMapping
  readonly writer: Type
  /** Reads a body; the caller has checked its bounds. */
  readonly read: (bytes: Buffer) => unknown
}

const firstScratchBytes = 64 * 1024
const noExpectations: DecodeExpectations = {}

/** Encodes and decodes the records of all topics. Holds the registered schemas of other writers; not for use by two threads. */
export class Codec {
  readonly #writers = new Map<bigint, Type>()
  readonly #readers = new Map<TopicName, Map<bigint, Reader>>()
  readonly #layout = new ItemContentLayout()
  #scratch = Buffer.alloc(firstScratchBytes)

  /**
   * Makes another writer's schema known.
   * @param schema - Avro schema as JSON text or parsed
   * @param topic - when given, the schema is checked to be readable as that topic's records
   * @returns its fingerprint, 16 hexadecimal digits
   * @throws SIDESTREAM_CONFIG_INVALID when it is no Avro schema, or does not fit the topic
   */
  register(schema: unknown, topic?: TopicName): string {
    let writer: Type
    try {
      writer = parseWriterSchema(typeof schema === 'string' && /^\s*[[{"]/.test(schema) ? JSON.parse(schema) : schema)
    } catch (cause) {
      throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `not an Avro schema: ${reasonOf(cause)}`, { cause })
    }
    const fingerprint = fingerprintOf(writer)
    if (topic !== undefined) {
      const reader = resolveReader(topic, writer)
      if (typeof reader === 'string') {
        throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `schema ${nameOf(writer)} cannot be read as ${topic}: ${reader}`, { topic })
      }
    }
    this.#writers.set(fingerprint, writer)
    return fingerprintHex(fingerprint)
  }

  /**
   * Bytes of a record for its topic.
   * @throws a poison error when the record breaks a limit
   */
  encode<T extends TopicName>(topic: T, record: TopicRecords[T]): Uint8Array {
    const isWatermark = topic === 'distill-samples' && (record as { kind?: unknown }).kind === 'watermark'
    const mapping: AnyMapping = isWatermark ? mappings.watermark : topicMappings[topic][0]!
    const value = mapping.toAvro(record as never)
    const own = ownSchema(mapping.schema)
    const most = limitOf(topic)
    let end = this.#write(own, value)
    if (end < 0) {
      const wanted = this.#scratch.length - end
      if (wanted > most) throw tooLarge(topic, wanted, most)
      this.#scratch = Buffer.alloc(wanted * 2)
      end = this.#write(own, value)
    }
    if (end > most) throw tooLarge(topic, end, most)
    writeFrame(this.#scratch, own.fingerprint)
    return Uint8Array.prototype.slice.call(this.#scratch, 0, end)
  }

  #write(own: OwnSchema, value: object): number {
    try {
      return own.type.encode(value, this.#scratch, frameBytes)
    } catch (cause) {
      throw new SidestreamError('SIDESTREAM_RECORD_INVALID', `cannot write as ${own.fullName}: ${reasonOf(cause)}`, { cause })
    }
  }

  /**
   * The record that `bytes` hold.
   * @param bytes - a framed value; a null value (tombstone) is the caller's business
   * @throws a poison error, whatever the bytes are
   */
  decode<T extends TopicName>(topic: T, bytes: Uint8Array, expectations: DecodeExpectations = noExpectations): TopicRecords[T] {
    const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const reader = this.#readerOf(topic, value)
    let raw: unknown
    if (topic === 'item-content' && reader.writer === ownSchema('item-content').type) {
      this.#layout.scan(value, frameBytes)
      raw = this.#layout.view(value)
    } else {
      const fault = findBodyFault(reader.writer, value, frameBytes)
      if (fault !== undefined) throw undecodable(reader.writer, fault)
      try {
        raw = reader.read(value)
      } catch (cause) {
        if (isSidestreamError(cause)) throw cause
        throw undecodable(reader.writer, reasonOf(cause), cause)
      }
    }
    return reader.mapping.fromAvro(raw as Readonly<Record<string, unknown>>, expectations) as TopicRecords[T]
  }

  /**
   * Reads many `item-content` values into flat arrays, the fast way for the version writer. Poison records are marked and
   * explained in `out.errors`; they never stop the batch.
   * @param values - framed values in log order; null is a tombstone
   * @throws SIDESTREAM_SHAPE_MISMATCH when there are more values than `out` has rows
   */
  decodeItemContentBatch(values: readonly (Uint8Array | null)[], out: ItemContentBatch, options: BatchDecodeOptions = {}): void {
    const own = ownSchema('item-content')
    const expectations: DecodeExpectations = {
      modalities: new Map(out.modalities.map(({ name, dim }) => [name, dim])),
      unknownModality: options.unknownModality ?? 'drop',
    }
    const source = {
      scan: (value: Buffer, layout: ItemContentLayout): boolean => {
        if (this.#readerOf('item-content', value).writer !== own.type) return false
        layout.scan(value, frameBytes)
        return true
      },
      decode: (value: Uint8Array): records.ItemContent => this.decode('item-content', value, expectations),
    }
    fillItemContentBatch(values, source, this.#layout, out, options)
  }

  /** Checks size and frame, and finds the reader of the schema that wrote the value. */
  #readerOf(topic: TopicName, value: Buffer): Reader {
    const most = limitOf(topic)
    if (value.length > most) throw tooLarge(topic, value.length, most)
    if (!isFramed(value)) throw notFramed(value)
    const fingerprint = value.readBigUInt64LE(2)
    let readers = this.#readers.get(topic)
    if (readers === undefined) {
      readers = new Map(topicMappings[topic].map((mapping) => ownReader(mapping)))
      this.#readers.set(topic, readers)
    }
    const known = readers.get(fingerprint)
    if (known !== undefined) return known
    const writer = this.#writers.get(fingerprint)
    const hex = fingerprintHex(fingerprint)
    if (writer === undefined) {
      const message = `no schema with fingerprint ${hex} is known for ${topic}; register the writer's schema`
      throw new SidestreamError('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', message, { topic, fingerprint: hex })
    }
    const reader = resolveReader(topic, writer)
    if (typeof reader === 'string') {
      const message = `schema ${nameOf(writer)} (fingerprint ${hex}) cannot be read as ${topic}: ${reader}`
      throw new SidestreamError('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', message, { topic, fingerprint: hex })
    }
    readers.set(fingerprint, reader)
    return reader
  }
}

function ownReader(mapping: AnyMapping): [bigint, Reader] {
  const { type, fingerprint } = ownSchema(mapping.schema)
  return [fingerprint, { mapping, writer: type, read: (bytes) => type.decode(bytes, frameBytes).value }]
}

/** The reader of another writer's records, or why there is none. */
function resolveReader(topic: TopicName, writer: Type): Reader | string {
  let reason = ''
  for (const mapping of topicMappings[topic]) {
    try {
      const type = readerFor(ownSchema(mapping.schema), writer.name)
      const resolver = type.createResolver(writer, { ignoreNamespaces: true })
      return { mapping, writer, read: (bytes) => type.decode(bytes, frameBytes, resolver).value }
    } catch (error) {
      reason ||= reasonOf(error)
    }
  }
  return reason
}

function limitOf(topic: TopicName): number {
  return topic === 'dead-letters' ? limits.deadLetterBytes : limits.recordBytes
}

function nameOf(type: Type): string {
  return type.name ?? type.typeName
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

function tooLarge(topic: TopicName, bytes: number, most: number): SidestreamError {
  const message = `a record of ${topic} has ${bytes} bytes, at most ${most} are allowed`
  return new SidestreamError('SIDESTREAM_RECORD_TOO_LARGE', message, { topic, bytes, most })
}

function notFramed(value: Buffer): SidestreamError {
  const start = value.subarray(0, 4).toString('hex') || 'nothing'
  const hint = value[0] === 0 && value.length > 5 ? '; it looks like schema-registry framing' : ''
  return new SidestreamError('SIDESTREAM_RECORD_UNDECODABLE', `not Avro in single-object framing: starts with ${start}, not c301${hint}`)
}

function undecodable(writer: Type, what: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_RECORD_UNDECODABLE', `not a record of schema ${nameOf(writer)}: ${what}`, { cause })
}
