/**
 * The Avro types behind the records: our own `.avsc` files, and the schemas of other writers.
 * Invariant: a 64-bit id never passes through a double, and a vector never through a text.
 *
 * Two logical types of ours stand in the `.avsc` files: `id` (string) and `float32-vector` (bytes); `writer-values.ts` says
 * what they read of other writers. A `long` with logical type `int64` is held as bigint.
 */
import { readFileSync } from 'node:fs'
import avro from 'avsc'
import type { Type } from 'avsc'
import { crc64Avro } from './fingerprint.ts'
import { createInt64Type, Float32VectorType, IdType, isOtherTimeUnit } from './writer-values.ts'

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

/** A field of a record schema as JSON. */
export interface AvroField {
  readonly name: string
  readonly doc: string
  readonly type: unknown
  readonly aliases?: readonly string[]
  readonly default?: unknown
  /** Version of the record type that added the field. @default 1 */
  readonly since?: number
}

/** A record schema as JSON, as far as it is looked at here. */
export interface AvroRecord {
  readonly name: string
  readonly namespace: string
  readonly fields: readonly AvroField[]
  readonly [attribute: string]: unknown
}

const logicalTypes = { id: IdType, 'float32-vector': Float32VectorType }

/** A `long` as a schema writes it. */
function longOf(schema: unknown): { readonly logicalType?: string } | undefined {
  if (schema === 'long') return {}
  return typeof schema === 'object' && schema !== null && (schema as { type?: unknown }).type === 'long' ? schema : undefined
}

/** Makes a type of one of our schemas. @param types - logical types besides `int64` */
export function parseOwn(json: AvroRecord, types: Readonly<Record<string, unknown>> = logicalTypes): Type {
  const int64 = createInt64Type()
  const typeHook = (schema: unknown): Type | undefined => (longOf(schema)?.logicalType === 'int64' ? int64 : undefined)
  return avro.Type.forSchema(json as never, { logicalTypes: types as never, typeHook: typeHook as never })
}

/** The schema that another writer used. */
export interface WriterSchema {
  readonly type: Type
  readonly fingerprint: bigint
  /** Some time is not in milliseconds, which the fingerprint does not tell. */
  readonly otherTimeUnit: boolean
}

/**
 * Parses another writer's schema. Every long is read as bigint, so no id loses digits.
 * @param json - the schema, already parsed from its JSON text
 * @param named - schemas that define types which it names, in an order in which each needs only those before it
 * @throws whatever avsc says of an invalid schema
 */
export function parseWriterSchema(json: unknown, named: readonly unknown[] = []): WriterSchema {
  const longs = new Map<string | undefined, Type>()
  const typeHook = (schema: unknown): Type | undefined => {
    const long = longOf(schema)
    if (long === undefined) return undefined
    const kind = typeof long.logicalType === 'string' ? long.logicalType : undefined
    if (!longs.has(kind)) longs.set(kind, createInt64Type(kind))
    return longs.get(kind)
  }
  // No prototype: a type named `constructor` is one that is not defined.
  const options = { typeHook: typeHook as never, registry: Object.create(null) as Record<string, Type> }
  for (const other of named) avro.Type.forSchema(other as never, options)
  const type = avro.Type.forSchema(json as never, options)
  return { type, fingerprint: fingerprintOf(type), otherTimeUnit: [...longs.keys()].some(isOtherTimeUnit) }
}

/** CRC-64-AVRO of a type's Parsing Canonical Form. */
function fingerprintOf(type: Type): bigint {
  return crc64Avro(JSON.stringify(type.schema()))
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

/** What earlier releases wrote as `own`: its versions without the fields that were added since, newest first. */
export function earlierSchemas({ json }: OwnSchema): WriterSchema[] {
  const newest = Math.max(...json.fields.map(({ since = 1 }) => since))
  return Array.from({ length: newest - 1 }, (_, i) => {
    const fields = json.fields.filter(({ since = 1 }) => since < newest - i)
    return parseWriterSchema({ ...json, fields })
  })
}
