/**
 * The Avro types behind the records: our own `.avsc` files, and the schemas of other writers.
 * Invariant: a 64-bit id never passes through a double, and a vector never through a text.
 *
 * Two logical types say what a reader makes of other writers' fields: `id` (string; also reads int and long, as decimal text)
 * and `float32-vector` (bytes; also reads arrays of numbers). A `long` with logical type `int64` is held as bigint.
 */
import { readFileSync } from 'node:fs'
import avro from 'avsc'
import type { Type } from 'avsc'
import { crc64Avro } from './fingerprint.ts'

const { LogicalType, LongType } = avro.types

/** Record types by the name of their `.avsc` file. */
export type SchemaName =
  | 'interaction'
  | 'item-content'
  | 'id-embedding'
  | 'item-pair'
  | 'history-chunk'
  | 'distill-sample'
  | 'watermark'
  | 'item-feature'
  | 'feature-version'
  | 'control-record'
  | 'artifact-chunk'
  | 'dead-letter'

/** One of our own record types, ready to read and write. */
export interface OwnSchema {
  readonly name: SchemaName
  /** Full Avro name, `sidestream.ItemContent`. */
  readonly fullName: string
  /** The `.avsc` file, parsed. */
  readonly json: AvroRecord
  readonly type: Type
  readonly fingerprint: bigint
}

/** A record schema as JSON, as far as it is looked at here. */
export interface AvroRecord {
  readonly name: string
  readonly namespace: string
  readonly fields: readonly { readonly name: string; readonly doc: string; readonly type: unknown }[]
  readonly [attribute: string]: unknown
}

/** 64-bit integers as bigint. */
function createInt64Type(): Type {
  return LongType.__with({
    fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
    toBuffer: (value: bigint) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigInt64LE(value)
      return bytes
    },
    fromJSON: (value: number | string) => BigInt(value),
    toJSON: (value: bigint) => value.toString(),
    isValid: (value: unknown) => typeof value === 'bigint' && BigInt.asIntN(64, value) === value,
    compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
  })
}

/** A string; int and long of other writers become decimal text; null stays null, so that a missing id can be named. */
class IdType extends LogicalType {
  protected override _fromValue(value: unknown): unknown {
    return value
  }
  protected override _toValue(value: unknown): unknown {
    return typeof value === 'string' ? value : undefined
  }
  protected override _resolve(writer: Type): ((value: unknown) => unknown) | undefined {
    if (writer.typeName === 'string' || writer.typeName === 'null') return (value) => value
    if (writer.typeName === 'int' || writer.typeName === 'abstract:long') return (value) => String(value)
    return undefined
  }
}

/** Bytes of little-endian float32, as hosts of Node hold them; reads also `fixed`, and arrays of float, double, int or long of other writers. */
class Float32VectorType extends LogicalType {
  protected override _fromValue(value: unknown): unknown {
    return value
  }
  protected override _toValue(value: unknown): unknown {
    return value instanceof Float32Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : undefined
  }
  protected override _resolve(writer: Type): ((value: unknown) => unknown) | undefined {
    if (['bytes', 'fixed', 'null'].includes(writer.typeName)) return (value) => value
    if (!(writer instanceof avro.types.ArrayType)) return undefined
    switch (writer.itemsType.typeName) {
      case 'float':
      case 'double':
      case 'int':
        return (value) => Float32Array.from(value as number[])
      case 'abstract:long':
        return (value) => Float32Array.from(value as bigint[], Number)
      default:
        return undefined
    }
  }
}

const logicalTypes = { id: IdType, 'float32-vector': Float32VectorType }

function isLong(schema: unknown): schema is string | { type: string; logicalType?: string } {
  return schema === 'long' || (typeof schema === 'object' && schema !== null && (schema as { type?: unknown }).type === 'long')
}

function parseOwn(json: AvroRecord): Type {
  const int64 = createInt64Type()
  const typeHook = (schema: unknown): Type | undefined =>
    isLong(schema) && typeof schema === 'object' && schema.logicalType === 'int64' ? int64 : undefined
  return avro.Type.forSchema(json as never, { logicalTypes, typeHook: typeHook as never })
}

/**
 * Parses another writer's schema. Every long is read as bigint, so no id loses digits.
 * @param json - the schema, already parsed from its JSON text
 * @throws whatever avsc says of an invalid schema
 */
export function parseWriterSchema(json: unknown): Type {
  const int64 = createInt64Type()
  return avro.Type.forSchema(json as never, { typeHook: ((schema: unknown) => (isLong(schema) ? int64 : undefined)) as never })
}

/** CRC-64-AVRO of a type's Parsing Canonical Form. */
export function fingerprintOf(type: Type): bigint {
  return crc64Avro(JSON.stringify(type.schema()))
}

/** Our record type as a reader of a record that another writer calls `writerName`: Avro matches records by name. */
export function readerFor(own: OwnSchema, writerName: string | undefined): Type {
  if (writerName === undefined || writerName === own.fullName) return own.type
  return parseOwn({ ...own.json, aliases: [writerName] })
}

const loaded = new Map<SchemaName, OwnSchema>()

/** One of our own schemas; read from its file on first use. */
export function ownSchema(name: SchemaName): OwnSchema {
  let own = loaded.get(name)
  if (own === undefined) {
    const json = JSON.parse(readFileSync(new URL(`./avro/${name}.avsc`, import.meta.url), 'utf8')) as AvroRecord
    const type = parseOwn(json)
    own = { name, fullName: `${json.namespace}.${json.name}`, json, type, fingerprint: fingerprintOf(type) }
    loaded.set(name, own)
  }
  return own
}
