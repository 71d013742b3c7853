import { deepStrictEqual, equal, match, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import avro from 'avsc'
import { Codec, crc64Avro, createItemContentBatch, isPoison, SidestreamError } from '../../schemas/index.ts'
import type { TopicName } from '../../schemas/index.ts'

/** A 64-bit integer as another team's writer has it. */
const bigLong = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

const isLong = ((schema: unknown) => (schema === 'long' || (schema as { type?: unknown }).type === 'long' ? bigLong : undefined)) as never

/** Frames a value as any other Avro library would. */
function write(schema: object, value: unknown): Buffer {
  const type = avro.Type.forSchema(schema as never, { typeHook: isLong })
  const frame = Buffer.from([0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0])
  frame.writeBigUInt64LE(crc64Avro(JSON.stringify(type.schema())), 2)
  return Buffer.concat([frame, type.toBuffer(value)])
}

function read(topic: TopicName, schema: object, value: unknown): unknown {
  const codec = new Codec()
  codec.register(schema, topic)
  return codec.decode(topic, write(schema, value))
}

const clicks = {
  type: 'record',
  name: 'Click',
  namespace: 'com.example.tracking',
  fields: [
    { name: 'session', type: { type: 'array', items: { type: 'map', values: 'double' } } },
    { name: 'behaviors', type: { type: 'array', items: 'string' } },
    { name: 'ts', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'item_id', type: ['null', 'long'] },
    { name: 'user_id', type: 'long' },
    { name: 'trailer', type: ['null', 'bytes'] },
  ],
}

test('64-bit ids beyond 2^53 are read exactly, as decimal text', () => {
  const value = {
    session: [],
    behaviors: ['click'],
    ts: 1_732_000_000_000n,
    item_id: -9_223_372_036_854_775_808n,
    user_id: 9_007_199_254_740_993n,
    trailer: null,
  }
  deepStrictEqual(read('interactions', clicks, value), {
    userId: '9007199254740993',
    itemId: '-9223372036854775808',
    eventTs: 1_732_000_000_000,
    behaviors: ['click'],
  })
})

test('reordered, extra and missing fields: extra ones are skipped, optional ones stay away', () => {
  const value = { session: [{ a: 1, b: 2 }, {}], behaviors: [], ts: 5n, item_id: 1n, user_id: 2n, trailer: Buffer.from('x') }
  deepStrictEqual(read('interactions', clicks, value), { userId: '2', itemId: '1', eventTs: 5, behaviors: [] })
})

test('a null id is a poison record that names the field', () => {
  const value = { session: [], behaviors: [], ts: 5n, item_id: null, user_id: 2n, trailer: null }
  throws(
    () => read('interactions', clicks, value),
    (error) => isPoison(error) && error.code === 'SIDESTREAM_ID_INVALID' && /itemId is missing/.test(error.message),
  )
})

function content(id: unknown, vector: unknown): object {
  return {
    type: 'record',
    name: 'ItemContent',
    namespace: 'other',
    fields: [
      { name: 'eventTs', type: 'int' },
      { name: 'vectors', type: { type: 'map', values: vector } },
      { name: 'itemId', type: id },
    ],
  }
}

const vectorSchemas: [string, unknown, unknown][] = [
  ['array<float>', { type: 'array', items: 'float' }, [0.5, -2]],
  ['array<double>', { type: 'array', items: 'double' }, [0.5, -2]],
  ['array<int>', { type: 'array', items: 'int' }, [1, -2]],
  ['array<long>', { type: 'array', items: 'long' }, [1n, -2n]],
  ['bytes', 'bytes', Buffer.from(new Float32Array([0.5, -2]).buffer)],
  ['fixed', { type: 'fixed', name: 'Vector', size: 8 }, Buffer.from(new Float32Array([0.5, -2]).buffer)],
  ['a union with null', ['null', { type: 'array', items: 'float' }], [0.5, -2]],
]
for (const [what, schema, vector] of vectorSchemas) {
  test(`vectors written as ${what} are read as float32`, () => {
    const expected = new Float32Array(Array.isArray(vector) ? vector.map(Number) : [0.5, -2])
    const record = read('item-content', content('int', schema), { eventTs: 7, vectors: { text: vector }, itemId: 42 })
    deepStrictEqual(record, { itemId: '42', eventTs: 7, vectors: { text: expected } })
  })
}

test('a null vector means that the modality is absent', () => {
  const schema = content('string', ['null', { type: 'array', items: 'float' }])
  const record = read('item-content', schema, { eventTs: 7, vectors: { text: [1], audio: null }, itemId: 'i' })
  deepStrictEqual(record, { itemId: 'i', eventTs: 7, vectors: { text: new Float32Array([1]) } })
})

test('a double too large for float32 is not finite, bytes that are no float32 are refused', () => {
  const code = (schema: unknown, vector: unknown): string => {
    try {
      read('item-content', content('string', schema), { eventTs: 7, vectors: { text: vector }, itemId: 'i' })
    } catch (error) {
      ok(isPoison(error))
      return error.code
    }
    return 'read'
  }
  equal(code({ type: 'array', items: 'double' }, [1e300]), 'SIDESTREAM_VECTOR_NOT_FINITE')
  equal(code({ type: 'array', items: 'float' }, [NaN]), 'SIDESTREAM_VECTOR_NOT_FINITE')
  equal(code('bytes', Buffer.alloc(7)), 'SIDESTREAM_VECTOR_DIM_MISMATCH')
})

test('foreign values take part in a batch beside our own', () => {
  const codec = new Codec()
  const schema = content('long', { type: 'array', items: 'float' })
  codec.register(schema)
  const own = codec.encode('item-content', { itemId: 'own', eventTs: 3, vectors: { text: new Float32Array([5, 6]) } })
  const batch = createItemContentBatch(4, [{ name: 'text', dim: 2 }])
  codec.decodeItemContentBatch([write(schema, { eventTs: 7, vectors: { text: [1, 2] }, itemId: 9_007_199_254_740_993n }), own], batch)
  deepStrictEqual(batch.ids.slice(0, 2), ['9007199254740993', 'own'])
  deepStrictEqual([...batch.vectors[0]!.subarray(0, 4)], [1, 2, 5, 6])
})

test('a foreign record truncated anywhere is poison', () => {
  const codec = new Codec()
  codec.register(clicks)
  const bytes = write(clicks, { session: [{ a: 1 }], behaviors: ['click'], ts: 1n, item_id: 3n, user_id: 4n, trailer: Buffer.from('end') })
  for (let length = 0; length < bytes.length; length++)
    throws(() => codec.decode('interactions', bytes.subarray(0, length)), isPoison, `length ${length}`)
})

test('a recursive foreign schema cannot exhaust the stack', () => {
  const schema = {
    type: 'record',
    name: 'Interaction',
    fields: [
      ...clicks.fields.filter(({ name }) => name !== 'session' && name !== 'trailer'),
      { name: 'next', type: ['null', { type: 'record', name: 'Link', fields: [{ name: 'next', type: ['null', 'Link'] }] }] },
    ],
  }
  const codec = new Codec()
  codec.register(schema, 'interactions')
  const flat = write(schema, { behaviors: [], ts: 1n, item_id: 3n, user_id: 4n, next: { next: { next: null } } })
  equal(codec.decode('interactions', flat).userId, '4')
  const deep = Buffer.concat([flat.subarray(0, flat.length - 3), Buffer.alloc(900_000, 2), Buffer.from([0])])
  throws(() => codec.decode('interactions', deep), isPoison)
})

test('a schema that lacks what a topic needs is refused when registered for it, and poison when it turns up unannounced', () => {
  const codec = new Codec()
  const schema = { type: 'record', name: 'Interaction', fields: [{ name: 'userId', type: 'string' }] }
  throws(
    () => codec.register(schema, 'interactions'),
    (error) => error instanceof SidestreamError && error.code === 'SIDESTREAM_CONFIG_INVALID' && /itemId/.test(error.message),
  )
  codec.register(schema)
  throws(
    () => codec.decode('interactions', write(schema, { userId: 'u' })),
    (error) => isPoison(error) && error.code === 'SIDESTREAM_RECORD_SCHEMA_UNKNOWN' && /itemId/.test(error.message),
  )
})

test('registering text or parsed JSON gives the same fingerprint, 16 hexadecimal digits', () => {
  const codec = new Codec()
  const fingerprint = codec.register(clicks)
  match(fingerprint, /^[0-9a-f]{16}$/)
  equal(codec.register(JSON.stringify(clicks)), fingerprint)
})
