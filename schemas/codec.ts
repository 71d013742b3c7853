/**
 * Records to bytes and back: Avro in single-object framing; input topics are read in schema-registry framing as well. Writers
 * of other teams may use schemas of their own, registered here or with the registry: their records are resolved to ours.
 * Invariant: whatever the bytes, decoding gives a record that keeps every limit, or a poison error; nothing else. A schema
 * that only the registry knows must have been prepared, else the error is retryable.
 */
import type { Type } from 'avsc'
import { earlierSchemas, ownSchema, parseWriterSchema } from './avro-types.ts'
import type { OwnSchema, WriterSchema } from './avro-types.ts'
import { findBodyFault } from './avro-bounds.ts'
import { SidestreamError, isSidestreamError } from './errors.ts'
import { fingerprintHex, frameBytes, isFramed, writeFrame } from './fingerprint.ts'
import { foreignReader } from './foreign-reader.ts'
import type { BodyReader, FieldNames } from './foreign-reader.ts'
import { fillItemContentBatch } from './item-content-batch.ts'
import type { BatchDecodeOptions, ItemContentBatch } from './item-content-batch.ts'
import { ItemContentLayout } from './item-content-layout.ts'
import { keyId, textId } from './record-key.ts'
import { limits } from './limits.ts'
import { mappings } from './record-mapping.ts'
import type { DecodeExpectations, RecordMapping } from './record-mapping.ts'
import type * as records from './records.ts'
import { isRegistryFramed, registryFrameBytes, schemaIdOf } from './registry/frame.ts'
import { WriterSchemas } from './registry/writer-schemas.ts'
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

/** Topics that other teams write to. */
const inputTopics: ReadonlySet<TopicName> = new Set<TopicName>(['interactions', 'item-content', 'id-embeddings', 'item-pairs'])

/** How values of one writer schema become records of one topic. */
interface Reader {
  readonly mapping: AnyMapping
  readonly writer: Type
  /** Written by our own schema. */
  readonly isOwn: boolean
  /** Reads a body; the caller has checked its bounds. */
  readonly read: BodyReader
}

/** A reader, or why there is none. */
type ReaderOrReason = Reader | string

export interface CodecOptions {
  /** The schemas behind the ids of schema-registry framing. @default none: such records are refused */
  readonly schemas?: WriterSchemas
  /** Names that writers of other teams give to our fields, by topic. @default none */
  readonly fieldNames?: { readonly [T in TopicName]?: FieldNames }
}

const firstScratchBytes = 64 * 1024
const noExpectations: DecodeExpectations = {}

/** Encodes and decodes the records of all topics. Holds the registered schemas of other writers; not for use by two threads. */
export class Codec {
  readonly #writers = new Map<bigint, WriterSchema>()
  /** The last one found: nearly all records of a topic have one schema. */
  #recent: { readonly topic: TopicName; readonly low: number; readonly high: number; readonly reader: Reader } | undefined
  readonly #readers = new Map<TopicName, Map<bigint, ReaderOrReason>>()
  readonly #registryReaders = new Map<TopicName, WeakMap<WriterSchema, ReaderOrReason>>()
  readonly #schemas: WriterSchemas
  readonly #fieldNames: NonNullable<CodecOptions['fieldNames']>
  readonly #layout = new ItemContentLayout()
  #scratch = Buffer.alloc(firstScratchBytes)

  constructor({ schemas = new WriterSchemas(), fieldNames = {} }: CodecOptions = {}) {
    this.#schemas = schemas
    this.#fieldNames = fieldNames
  }

  /**
   * Makes another writer's schema known.
   * @param schema - Avro schema as JSON text or parsed
   * @param topic - when given, the schema is checked to be readable as that topic's records
   * @returns its fingerprint, 16 hexadecimal digits
   * @throws SIDESTREAM_CONFIG_INVALID when it is no Avro schema, or does not fit the topic
   */
  register(schema: unknown, topic?: TopicName): string {
    let writer: WriterSchema
    try {
      writer = parseWriterSchema(typeof schema === 'string' && /^\s*[[{"]/.test(schema) ? JSON.parse(schema) : schema)
    } catch (cause) {
      throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `not an Avro schema: ${reasonOf(cause)}`, { cause })
    }
    if (topic !== undefined) {
      const reader = this.#resolve(topic, writer.type)
      if (typeof reader === 'string') {
        throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `schema ${nameOf(writer.type)} cannot be read as ${topic}: ${reader}`, {
          topic,
        })
      }
    }
    this.#writers.set(writer.fingerprint, writer)
    return fingerprintHex(writer.fingerprint)
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
   * @throws a poison error, whatever the bytes are; SIDESTREAM_REGISTRY_UNREACHABLE (retryable) for a registry schema that was
   * not prepared
   */
  decode<T extends TopicName>(topic: T, bytes: Uint8Array, expectations: DecodeExpectations = noExpectations): TopicRecords[T] {
    const value = bufferOf(bytes)
    const reader = this.#readerOf(topic, value)
    const start = bodyStart(value)
    let raw: unknown
    if (topic === 'item-content' && reader.isOwn) {
      this.#layout.scan(value, start)
      raw = this.#layout.view(value)
    } else {
      const fault = findBodyFault(reader.writer, value, start)
      if (fault !== undefined) throw undecodable(reader.writer, fault)
      try {
        raw = reader.read(value, start)
      } catch (cause) {
        if (isSidestreamError(cause)) throw cause
        throw undecodable(reader.writer, reasonOf(cause), cause)
      }
    }
    return reader.mapping.fromAvro(raw as Readonly<Record<string, unknown>>, expectations) as TopicRecords[T]
  }

  /**
   * The same record in our own schema and framing, for what must be readable later without anybody's schema. Bytes that are
   * so already come back as they are. Throws as `decode` does.
   */
  toOwn<T extends TopicName>(topic: T, bytes: Uint8Array, expectations: DecodeExpectations = noExpectations): Uint8Array {
    const value = bufferOf(bytes)
    const { isOwn, mapping } = this.#readerOf(topic, value)
    if (!isOwn) return this.encode(topic, this.decode(topic, bytes, expectations))
    const start = bodyStart(value)
    if (start === frameBytes) return bytes
    const own = Buffer.allocUnsafe(frameBytes + value.length - start)
    writeFrame(own, ownSchema(mapping.schema).fingerprint)
    value.copy(own, frameBytes, start)
    return own
  }

  /**
   * The item that a record key names: the key as text, or what a key in schema-registry framing holds.
   * @throws a poison error, or as `decode` does
   */
  decodeItemKey(key: Uint8Array): string {
    if (!this.#schemas.configured || !isRegistryFramed(key)) return textId(key)
    const writer = this.#schemas.find(schemaIdOf(key))
    return keyId(writer, bufferOf(key), this.#fieldNames['item-content'] ?? {})
  }

  /**
   * Reads many `item-content` values into flat arrays, the fast way for the version writer. Poison records are marked and
   * explained in `out.errors`; they never stop the batch.
   * @param values - framed values in log order; null is a tombstone
   * @throws SIDESTREAM_SHAPE_MISMATCH when there are more values than `out` has rows
   */
  decodeItemContentBatch(values: readonly (Uint8Array | null)[], out: ItemContentBatch, options: BatchDecodeOptions = {}): void {
    const expectations: DecodeExpectations = {
      modalities: new Map(out.modalities.map(({ name, dim }) => [name, dim])),
      unknownModality: options.unknownModality ?? 'drop',
    }
    const source = {
      scan: (value: Buffer, layout: ItemContentLayout): boolean => {
        if (!this.#readerOf('item-content', value).isOwn) return false
        layout.scan(value, bodyStart(value))
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
    if (!isFramed(value)) {
      if (isRegistryFramed(value) && inputTopics.has(topic)) return this.#registryReaderOf(topic, schemaIdOf(value))
      throw notFramed(value)
    }
    const recent = this.#recent
    if (recent?.topic === topic && recent.low === value.readUInt32LE(2) && recent.high === value.readUInt32LE(6)) return recent.reader
    const reader = this.#framedReaderOf(topic, value)
    this.#recent = { topic, low: value.readUInt32LE(2), high: value.readUInt32LE(6), reader }
    return reader
  }

  #framedReaderOf(topic: TopicName, value: Buffer): Reader {
    const fingerprint = value.readBigUInt64LE(2)
    let readers = this.#readers.get(topic)
    if (readers === undefined) {
      readers = new Map(topicMappings[topic].flatMap(ownReaders))
      this.#readers.set(topic, readers)
    }
    let reader = readers.get(fingerprint)
    if (typeof reader === 'object') return reader
    const hex = fingerprintHex(fingerprint)
    const writer = this.#writers.get(fingerprint)
    if (writer === undefined) {
      const message = `no schema with fingerprint ${hex} is known for ${topic}; register the writer's schema`
      throw new SidestreamError('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', message, { topic, fingerprint: hex })
    }
    reader ??= this.#resolve(topic, writer.type)
    readers.set(fingerprint, reader)
    if (typeof reader === 'object') return reader
    throw unreadable(topic, `schema ${nameOf(writer.type)} (fingerprint ${hex})`, reader)
  }

  #registryReaderOf(topic: TopicName, id: number): Reader {
    const writer = this.#schemas.find(id)
    let readers = this.#registryReaders.get(topic)
    if (readers === undefined) {
      readers = new WeakMap()
      this.#registryReaders.set(topic, readers)
    }
    let reader = readers.get(writer)
    if (reader === undefined) {
      const own = topicMappings[topic].find(({ schema }) => ownSchema(schema).fingerprint === writer.fingerprint && !writer.otherTimeUnit)
      reader = own === undefined ? this.#resolve(topic, writer.type) : ownReader(own)
      readers.set(writer, reader)
    }
    if (typeof reader === 'object') return reader
    throw unreadable(topic, `schema ${nameOf(writer.type)} (registry id ${id})`, reader)
  }

  /** The reader of another writer's records, or why there is none. */
  #resolve(topic: TopicName, writer: Type): ReaderOrReason {
    let reason = ''
    for (const mapping of topicMappings[topic]) {
      try {
        return { mapping, writer, isOwn: false, read: foreignReader(ownSchema(mapping.schema), writer, this.#fieldNames[topic]) }
      } catch (error) {
        reason ||= reasonOf(error)
      }
    }
    return reason
  }
}

function ownReader(mapping: AnyMapping): Reader {
  const { type } = ownSchema(mapping.schema)
  return { mapping, writer: type, isOwn: true, read: (bytes, start) => type.decode(bytes, start).value as Record<string, unknown> }
}

/** Readers of what this release writes as a record type and of what earlier ones wrote, by fingerprint. */
function ownReaders(mapping: AnyMapping): [fingerprint: bigint, reader: Reader][] {
  const own = ownSchema(mapping.schema)
  const earlier = earlierSchemas(own).map(({ fingerprint, type }): [bigint, Reader] => [
    fingerprint,
    { mapping, writer: type, isOwn: false, read: foreignReader(own, type) },
  ])
  return [[own.fingerprint, ownReader(mapping)], ...earlier]
}

/** Where the body of a framed value begins. */
function bodyStart(value: Buffer): number {
  return value[0] === 0 ? registryFrameBytes : frameBytes
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
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
  const hint = isRegistryFramed(value) ? '; schema-registry framing is read in the topics that data comes in by' : ''
  return new SidestreamError('SIDESTREAM_RECORD_UNDECODABLE', `not Avro in single-object framing: starts with ${start}, not c301${hint}`)
}

function unreadable(topic: TopicName, schema: string, reason: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', `${schema} cannot be read as ${topic}: ${reason}`, { topic })
}

function undecodable(writer: Type, what: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_RECORD_UNDECODABLE', `not a record of schema ${nameOf(writer)}: ${what}`, { cause })
}
