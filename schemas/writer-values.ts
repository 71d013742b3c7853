/**
 * What our fields take from the fields of other writers, as Avro logical types of the reader: each says which types of a
 * writer it reads, and how. Used for other teams' schemas only; our own are read as they stand.
 * Invariant: null always passes, so that a missing value is named by the check of its field and not by the schema's.
 */
import avro from 'avsc'
import type { Type } from 'avsc'

const { LogicalType, LongType } = avro.types
type ArrayType = avro.types.ArrayType

type Conversion = ((value: never) => unknown) | undefined

/** A logical type that only reads, and only what `resolve` accepts. */
function reading(resolve: (writer: Type) => Conversion): typeof LogicalType {
  return class extends LogicalType {
    protected override _fromValue(value: unknown): unknown {
      return value
    }
    protected override _toValue(value: unknown): unknown {
      return value
    }
    protected override _resolve(writer: Type): ((value: unknown) => unknown) | undefined {
      return (writer.typeName === 'null' ? same : resolve(writer)) as ((value: unknown) => unknown) | undefined
    }
  } as never
}

const same = (value: unknown): unknown => value
const isLong = (type: Type): boolean => type.typeName === 'abstract:long'
const isText = (type: Type): boolean => type.typeName === 'string' || type.typeName === 'enum'

/** Times that another writer's long may hold, and what divides them into milliseconds. */
const timeUnits: Readonly<Record<string, bigint>> = {
  'timestamp-millis': 1n,
  'local-timestamp-millis': 1n,
  'timestamp-micros': 1000n,
  'local-timestamp-micros': 1000n,
  'timestamp-nanos': 1_000_000n,
  'local-timestamp-nanos': 1_000_000n,
}

/** The logical type that a writer gave to its long, by avsc type. */
const longKinds = new WeakMap<Type, string>()

/** 64-bit integers as bigint. @param kind - the writer's logical type, kept for whoever reads it */
export function createInt64Type(kind?: string): Type {
  const type = LongType.__with({
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
  if (kind !== undefined) longKinds.set(type, kind)
  return type
}

/** True when a long of this logical type is not in milliseconds: Avro's canonical form does not tell the two apart. */
export function isOtherTimeUnit(logicalType: string | undefined): boolean {
  return logicalType !== undefined && (timeUnits[logicalType] ?? 1n) !== 1n
}

/** A time in milliseconds; finer units are cut. */
const eventTime = reading((writer) => {
  if (['int', 'float', 'double'].includes(writer.typeName)) return same
  if (!isLong(writer)) return undefined
  const kind = longKinds.get(writer)
  if (kind?.startsWith('time-')) return undefined // a time of day
  const unit = timeUnits[kind ?? 'timestamp-millis'] ?? 1n
  return unit === 1n ? (value: bigint) => Number(value) : (value: bigint) => Number(value / unit)
})

const number = reading((writer) => {
  if (isLong(writer)) return (value: bigint) => Number(value)
  return ['int', 'float', 'double'].includes(writer.typeName) ? same : undefined
})

/** A text; the symbol of an enum. */
const text = reading((writer) => (isText(writer) ? same : undefined))

/** A list of texts; one text is a list of one. Entries may be null in the schema; one that is so is refused later. */
const textList = reading((writer) => {
  if (isText(writer)) return (value: string) => [value]
  const item = itemOf(writer)
  return item !== undefined && isText(item) ? same : undefined
})

/** A string; int and long become decimal text; null stays null, so that a missing id can be named. */
export class IdType extends LogicalType {
  protected override _fromValue(value: unknown): unknown {
    return value
  }
  protected override _toValue(value: unknown): unknown {
    return typeof value === 'string' ? value : undefined
  }
  protected override _resolve(writer: Type): ((value: unknown) => unknown) | undefined {
    if (writer.typeName === 'string' || writer.typeName === 'null') return same
    return writer.typeName === 'int' || isLong(writer) ? String : undefined
  }
}

/** Bytes of little-endian float32, as hosts of Node hold them; reads also `fixed`, and arrays of float, double, int or long. */
export class Float32VectorType extends LogicalType {
  protected override _fromValue(value: unknown): unknown {
    return value
  }
  protected override _toValue(value: unknown): unknown {
    return value instanceof Float32Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : undefined
  }
  protected override _resolve(writer: Type): ((value: unknown) => unknown) | undefined {
    if (['bytes', 'fixed', 'null'].includes(writer.typeName)) return same
    const item = itemOf(writer)
    if (item === undefined) return undefined
    const { typeName } = item
    if (typeName !== 'abstract:long' && typeName !== 'int' && typeName !== 'float' && typeName !== 'double') return undefined
    if (item !== (writer as ArrayType).itemsType) return (value) => Float32Array.from(value as unknown[], numberOrNaN)
    return isLong(item) ? (value) => Float32Array.from(value as bigint[], Number) : (value) => Float32Array.from(value as number[])
  }

  /** avsc's hook below `_resolve`: arrays of float and double are read without a list of numbers in between. */
  _update(resolver: { _read?: (tap: Tap) => unknown }, writer: Type, options: unknown): void {
    const item = writer instanceof avro.types.ArrayType ? writer.itemsType.typeName : ''
    if (item === 'float') resolver._read = (tap) => readNumbers(tap, 4)
    else if (item === 'double') resolver._read = (tap) => readNumbers(tap, 8)
    else (LogicalType.prototype as unknown as Float32VectorType)._update.call(this, resolver, writer, options)
  }
}

/** avsc's cursor. The body's bounds were checked before it is read. */
interface Tap {
  readonly buf: Buffer
  pos: number
  readLong(): number
}

/** An array of float (4 bytes) or double (8 bytes) as float32. */
function readNumbers(tap: Tap, bytes: 4 | 8): Float32Array {
  let numbers = new Float32Array(0)
  for (let count = tap.readLong(); count !== 0; count = tap.readLong()) {
    if (count < 0) {
      count = -count
      tap.readLong() // byte size of the block
    }
    const before = numbers
    numbers = new Float32Array(before.length + count)
    numbers.set(before)
    if (bytes === 4) new Uint8Array(numbers.buffer, before.byteLength).set(tap.buf.subarray(tap.pos, tap.pos + 4 * count))
    else for (let i = 0; i < count; i++) numbers[before.length + i] = tap.buf.readDoubleLE(tap.pos + 8 * i)
    tap.pos += bytes * count
  }
  return numbers
}

/** A null entry of a vector: the check of the vector names it. */
function numberOrNaN(entry: unknown): number {
  return entry === null ? NaN : Number(entry)
}

/** What an array holds, without the null that its entries may be; undefined when it is none, or holds several types. */
function itemOf(writer: Type): Type | undefined {
  if (!(writer instanceof avro.types.ArrayType)) return undefined
  const item = writer.itemsType
  if (!(item instanceof avro.types.UnwrappedUnionType)) return item
  const given = item.types.filter(({ typeName }) => typeName !== 'null')
  return given.length === 1 ? given[0] : undefined
}

/** Logical types of the reader of other writers' records, by the names that `reader-types.ts` puts into its schema. */
export const foreignLogicalTypes = {
  id: IdType,
  'float32-vector': Float32VectorType,
  'timestamp-millis': eventTime,
  number,
  text,
  'text-list': textList,
} as const
