import { deepStrictEqual, equal, match, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import fc from 'fast-check'
import { ownSchema } from '../../../schemas/avro-types.ts'
import {
  Codec,
  createItemContentBatch,
  isPoison,
  isSidestreamError,
  limits,
  SchemaRegistryClient,
  WriterSchemas,
} from '../../../schemas/index.ts'
import type { CodecOptions, TopicName } from '../../../schemas/index.ts'
import { allSamples, arbitraryRecords } from '../sample-records.ts'
import { framed, written } from './framed.ts'
import { RegistryPeer } from './peer.ts'

interface Opened {
  readonly peer: RegistryPeer
  readonly codec: Codec
  /** Adds a schema and makes it known. @returns its id */
  add(schema: unknown, more?: Parameters<RegistryPeer['add']>[2]): Promise<number>
}

async function open(t: Pick<TestContext, 'after'>, fieldNames: CodecOptions['fieldNames'] = {}): Promise<Opened> {
  const peer = await RegistryPeer.open(t)
  const schemas = new WriterSchemas(new SchemaRegistryClient({ url: peer.url, retries: 0 }))
  t.after(() => schemas.close())
  const add = async (schema: unknown, more?: Parameters<RegistryPeer['add']>[2]): Promise<number> => {
    const id = peer.add(`subject-${peer.requests.length}`, schema, more)
    await schemas.prepare([{ key: null, value: framed(id, Buffer.alloc(0)) }])
    return id
  }
  return { peer, codec: new Codec({ schemas, fieldNames }), add }
}

/** What reading `value`, written with `schema`, gives. */
async function read(
  t: TestContext,
  topic: TopicName,
  schema: unknown,
  value: unknown,
  names: CodecOptions['fieldNames'] = {},
): Promise<unknown> {
  const { codec, add } = await open(t, names)
  return codec.decode(topic, written(await add(schema), schema, value))
}

function poison(code: string, message: RegExp): (error: unknown) => true {
  return (error) => {
    ok(isPoison(error), String(error))
    equal(error.code, code, error.message)
    match(error.message, message)
    return true
  }
}

const field = (name: string, type: unknown, more: object = {}): object => ({ name, type, ...more })
const record = (name: string, ...fields: object[]): object => ({ type: 'record', name, namespace: 'com.shop', fields })
const nullable = (type: unknown): unknown => ['null', type]
const texts = { type: 'array', items: 'string' }
const interaction = (...fields: object[]): object => record('Seen', field('userId', 'string'), field('itemId', 'string'), ...fields)
const seen = { userId: 'u', itemId: 'i' }

test('fields in another order, further fields, defaults, and int for long', async (t) => {
  const schema = record(
    'Click',
    field('session', record('Session', field('id', 'string'), field('tags', { type: 'map', values: 'string' }))),
    field('ts', 'int'),
    field('behaviors', texts),
    field('item_id', 'int'),
    field('dwell_ms', 'int'),
    field('user_id', 'long'),
    field('campaign', nullable('string'), { default: null }),
  )
  const value = {
    session: { id: 's', tags: { a: 'b' } },
    ts: 5,
    behaviors: ['click'],
    item_id: 7,
    dwell_ms: 9,
    user_id: 2n ** 60n,
    campaign: null,
  }
  deepStrictEqual(await read(t, 'interactions', schema, value), {
    userId: String(2n ** 60n),
    itemId: '7',
    eventTs: 5,
    behaviors: ['click'],
    dwellMs: 9,
  })
})

const ts = 1_732_000_000_123
const times: [string, unknown, unknown][] = [
  ['long', 'long', BigInt(ts)],
  ['timestamp-millis', { type: 'long', logicalType: 'timestamp-millis' }, BigInt(ts)],
  ['timestamp-micros', { type: 'long', logicalType: 'timestamp-micros' }, BigInt(ts) * 1000n + 999n],
  ['local-timestamp-micros', { type: 'long', logicalType: 'local-timestamp-micros' }, BigInt(ts) * 1000n],
  ['timestamp-nanos', { type: 'long', logicalType: 'timestamp-nanos' }, BigInt(ts) * 1_000_000n],
  ['a nullable timestamp-micros', nullable({ type: 'long', logicalType: 'timestamp-micros' }), BigInt(ts) * 1000n],
  ['double', 'double', ts],
]
for (const [what, type, value] of times) {
  test(`an event time written as ${what} is read as milliseconds`, async (t) => {
    const schema = interaction(field('eventTs', type), field('behaviors', texts))
    const got = (await read(t, 'interactions', schema, { ...seen, eventTs: value, behaviors: [] })) as { eventTs: number }
    equal(got.eventTs, ts)
  })
}

test('a time of day is no event time', async (t) => {
  const schema = interaction(field('eventTs', { type: 'long', logicalType: 'time-micros' }), field('behaviors', texts))
  const { codec, add } = await open(t)
  const value = written(await add(schema), schema, { ...seen, eventTs: 1n, behaviors: [] })
  throws(
    () => codec.decode('interactions', value),
    poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /Seen \(registry id 1\) cannot be read as interactions/),
  )
})

test('microseconds in an otherwise equal schema are told from our milliseconds', async (t) => {
  const { codec, add } = await open(t)
  const own = ownSchema('interaction').json
  const fields = own.fields.map((one) =>
    one.name === 'eventTs' ? { ...one, type: { type: 'long', logicalType: 'timestamp-micros' } } : one,
  )
  const [millis, micros] = [await add(own), await add({ ...own, fields })]
  const body = codec.encode('interactions', { ...seen, eventTs: ts, behaviors: [] }).subarray(10)
  equal(codec.decode('interactions', framed(millis, body)).eventTs, ts)
  equal(codec.decode('interactions', framed(micros, body)).eventTs, Math.floor(ts / 1000))
})

/** The topics that other teams write to, and our schema of each. */
const inputs = {
  interactions: 'interaction',
  'item-content': 'item-content',
  'id-embeddings': 'id-embedding',
  'item-pairs': 'item-pair',
} as const
type Input = keyof typeof inputs
const inputTopics = Object.keys(inputs) as Input[]

const act = { type: 'enum', name: 'Act', symbols: ['view', 'click'] }
const behaviors: [string, unknown, unknown, string[]][] = [
  ['array<string>', texts, ['click', 'view'], ['click', 'view']],
  ['array<enum>', { type: 'array', items: act }, ['click', 'view'], ['click', 'view']],
  ['array of nullable strings', { type: 'array', items: nullable('string') }, ['click'], ['click']],
  ['a nullable array', nullable(texts), ['click'], ['click']],
  ['one string', 'string', 'click', ['click']],
  ['one enum', act, 'click', ['click']],
  ['one nullable enum', nullable(act), 'click', ['click']],
]
for (const [what, type, value, expected] of behaviors) {
  test(`behaviors written as ${what}`, async (t) => {
    const schema = interaction(field('ts', 'long'), field('behaviors', type))
    const got = await read(t, 'interactions', schema, { ...seen, ts: 1n, behaviors: value })
    deepStrictEqual(got, { ...seen, eventTs: 1, behaviors: expected })
  })
}

test('a null where a value is needed makes that record poison and names the field', async (t) => {
  const schema = record(
    'Seen',
    ...['userId', 'itemId'].map((name) => field(name, nullable('string'))),
    field('ts', nullable('long')),
    field('behaviors', nullable({ type: 'array', items: nullable('string') })),
  )
  const { codec, add } = await open(t)
  const id = await add(schema)
  const good = { ...seen, ts: 1n, behaviors: ['click'] }
  equal(codec.decode('interactions', written(id, schema, good)).userId, 'u')
  const read = (change: object) => () => codec.decode('interactions', written(id, schema, { ...good, ...change }))
  throws(read({ userId: null }), poison('SIDESTREAM_ID_INVALID', /userId is missing/))
  throws(read({ ts: null }), poison('SIDESTREAM_RECORD_INVALID', /eventTs is missing/))
  throws(read({ behaviors: null }), poison('SIDESTREAM_RECORD_INVALID', /behaviors is missing/))
  throws(read({ behaviors: [null] }), poison('SIDESTREAM_RECORD_INVALID', /behaviors is missing/))
})

test('names of their own are given by configuration, and win', async (t) => {
  const schema = record(
    'E',
    field('uid', 'long'),
    field('article', 'string'),
    field('at', 'long'),
    field('eventTs', 'long'),
    field('action', 'string'),
  )
  const value = { uid: 1n, article: 'a', at: 5n, eventTs: 6n, action: 'click' }
  const names = { interactions: { userId: 'uid', itemId: 'article', eventTs: 'at', behaviors: 'action' } }
  deepStrictEqual(await read(t, 'interactions', schema, value, names), { userId: '1', itemId: 'a', eventTs: 5, behaviors: ['click'] })
})

test('one field per modality', async (t) => {
  const vector = { type: 'array', items: 'float' }
  const schema = record(
    'Article',
    field('id', 'long'),
    field('ts', 'long'),
    field('title_emb', vector),
    field('image_emb', nullable(vector)),
  )
  const names = { 'item-content': { itemId: 'id', 'vectors.text': 'title_emb', 'vectors.image': 'image_emb' } }
  const { codec, add } = await open(t, names)
  const id = await add(schema)
  const both = written(id, schema, { id: 1n, ts: 2n, title_emb: [1, 2], image_emb: [3] })
  deepStrictEqual(codec.decode('item-content', both), {
    itemId: '1',
    eventTs: 2,
    vectors: { text: new Float32Array([1, 2]), image: new Float32Array([3]) },
  })
  const one = written(id, schema, { id: 1n, ts: 2n, title_emb: [1, 2], image_emb: null })
  deepStrictEqual(codec.decode('item-content', one).vectors, { text: new Float32Array([1, 2]) })
})

const vectors: [string, unknown, unknown][] = [
  ['array<double>', { type: 'array', items: 'double' }, [0.5, -2]],
  ['array of nullable floats', { type: 'array', items: nullable('float') }, [0.5, -2]],
  ['array of nullable doubles, null last', { type: 'array', items: ['double', 'null'] }, [0.5, -2]],
]
for (const [what, type, value] of vectors) {
  test(`vectors written as ${what}`, async (t) => {
    const schema = record('C', field('itemId', 'string'), field('ts', 'long'), field('vectors', nullable({ type: 'map', values: type })))
    const { codec, add } = await open(t)
    const id = await add(schema)
    const got = codec.decode('item-content', written(id, schema, { itemId: 'i', ts: 1n, vectors: { text: value } }))
    deepStrictEqual(got.vectors, { text: new Float32Array([0.5, -2]) })
    const absent = written(id, schema, { itemId: 'i', ts: 1n, vectors: null })
    throws(() => codec.decode('item-content', absent), poison('SIDESTREAM_RECORD_INVALID', /vectors is missing/))
  })
}

test('a null inside a vector is poison', async (t) => {
  const schema = record(
    'C',
    field('itemId', 'string'),
    field('ts', 'long'),
    field('vectors', { type: 'map', values: { type: 'array', items: nullable('float') } }),
  )
  const { codec, add } = await open(t)
  const value = written(await add(schema), schema, { itemId: 'i', ts: 1n, vectors: { text: [1, null] } })
  throws(() => codec.decode('item-content', value), poison('SIDESTREAM_VECTOR_NOT_FINITE', /text holds NaN at position 1/))
})

test('a field of a referenced type is read', async (t) => {
  const { peer, codec, add } = await open(t)
  const act = { type: 'enum', name: 'Act', namespace: 'com.shop', symbols: ['view', 'click'] }
  peer.add('acts', act)
  const schema = interaction(field('ts', 'long'), field('behaviors', { type: 'array', items: 'com.shop.Act' }))
  const id = await add(schema, { references: [{ name: 'com.shop.Act', subject: 'acts', version: 1 }] })
  const value = written(id, schema, { ...seen, ts: 1n, behaviors: ['click'] }, [act])
  deepStrictEqual(codec.decode('interactions', value).behaviors, ['click'])
})

test('a schema that does not fit is poison and says what is missing and what to set', async (t) => {
  const { codec, add } = await open(t)
  const schema = record('Order', field('order_id', 'long'), field('total', 'double'))
  const value = written(await add(schema), schema, { order_id: 1n, total: 2 })
  throws(
    () => codec.decode('interactions', value),
    poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /com\.shop\.Order \(registry id 1\) cannot be read as interactions: it has no field for userId \(userId, user_id\); its fields are order_id, total/), // prettier-ignore
  )
  const union = [schema, 'null']
  throws(() => codec.decode('interactions', framed(1, Buffer.from([0]))), isPoison)
  throws(
    () => codec.decode('item-pairs', written(1, schema, { order_id: 1n, total: 2 })),
    poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /no field for source/),
  )
  const id = await add(union)
  throws(
    () => codec.decode('interactions', framed(id, Buffer.from([2]))),
    poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /of type union.*not a record/),
  )
})

test('a schema that was not prepared is no reason to refuse a record', async (t) => {
  const { codec, peer } = await open(t)
  const value = framed(
    peer.add('s', ownSchema('interaction').json),
    codec.encode('interactions', { ...seen, eventTs: 1, behaviors: [] }).subarray(10),
  )
  const retryable = (error: unknown): boolean => isSidestreamError(error) && error.code === 'SIDESTREAM_REGISTRY_UNREACHABLE'
  throws(() => codec.decode('interactions', value), retryable)
  const batch = createItemContentBatch(1, [{ name: 'text', dim: 2 }])
  throws(() => codec.decodeItemContentBatch([value], batch), retryable)
})

test('our own topics are not read in this framing', async (t) => {
  const { codec, add } = await open(t)
  const id = await add(ownSchema('control-record').json)
  const body = codec.encode('control', { kind: 'k', id: 'i', at: 1, body: '' }).subarray(10)
  throws(() => codec.decode('control', framed(id, body)), poison('SIDESTREAM_RECORD_UNDECODABLE', /topics that data comes in by/))
})

test('records of our schema in this framing take the fast way, and read equal in a batch', async (t) => {
  const { codec, add } = await open(t)
  const own = await add(ownSchema('item-content').json)
  const theirs = record(
    'C',
    field('ts', 'long'),
    field('vectors', { type: 'map', values: { type: 'array', items: 'float' } }),
    field('itemId', 'long'),
  )
  const other = await add(theirs)
  const content = {
    itemId: 'own',
    eventTs: 3,
    vectors: { text: new Float32Array([5, 6]), more: new Float32Array(1) },
    labels: ['a'],
    authorId: 'z',
  }
  const bytes = codec.encode('item-content', content)
  const foreign = written(other, theirs, { ts: 7n, vectors: { text: [1, 2] }, itemId: 2n ** 60n })
  const batch = createItemContentBatch(6, [{ name: 'text', dim: 2 }])
  codec.decodeItemContentBatch(
    [bytes, framed(own, bytes.subarray(10)), foreign, null, framed(own, bytes.subarray(11)), framed(99, bytes)].slice(0, 5),
    batch,
  )
  deepStrictEqual(batch.ids.slice(0, 3), ['own', 'own', String(2n ** 60n)])
  deepStrictEqual([...batch.eventTs.subarray(0, 3)], [3, 3, 7])
  deepStrictEqual([...batch.vectors[0]!.subarray(0, 6)], [5, 6, 5, 6, 1, 2])
  deepStrictEqual([...batch.states.subarray(0, 5)], [0, 0, 0, 1, 2])
  deepStrictEqual(codec.decode('item-content', framed(own, bytes.subarray(10))), content)
})

test('every valid record reads equal through either framing, and toOwn gives our bytes', async (t) => {
  const { codec, add } = await open(t)
  for (const topic of inputTopics) {
    const schema = inputs[topic]
    const own = await add(ownSchema(schema).json)
    // The same body under a schema with one more (empty) field takes the way of other teams' schemas.
    const copy = await add({
      ...ownSchema(schema).json,
      name: 'Copy',
      fields: [...ownSchema(schema).json.fields, { name: 'more', type: 'null' }],
    })
    fc.assert(
      fc.property(arbitraryRecords[topic], (one) => {
        const bytes = codec.encode(topic, one as never)
        for (const id of [own, copy]) {
          const value = framed(id, bytes.subarray(10))
          deepStrictEqual(codec.decode(topic, value), one)
          deepStrictEqual(Buffer.from(codec.toOwn(topic, value)), Buffer.from(bytes))
        }
        equal(codec.toOwn(topic, bytes), bytes)
      }),
    )
  }
})

test('the largest content that another team may send still fits in our own framing', async (t) => {
  const { codec, add } = await open(t)
  const theirs = record(
    'C',
    field('ts', 'long'),
    field('labels', texts),
    field('vectors', { type: 'map', values: { type: 'array', items: 'int' } }),
    field('itemId', 'string'),
  )
  const names = Array.from({ length: limits.modalities }, (_, m) => String(m).padEnd(limits.textBytes, 'm'))
  const one = Array.from({ length: limits.dim }, () => 1)
  const value = {
    ts: 7n,
    labels: Array.from({ length: limits.labels }, () => 'l'.repeat(limits.textBytes)),
    vectors: Object.fromEntries(names.map((name) => [name, one])),
    itemId: 'i'.repeat(limits.idBytes),
  }
  const bytes = written(await add(theirs), theirs, value)
  deepStrictEqual(codec.decode('item-content', codec.toOwn('item-content', bytes)), codec.decode('item-content', bytes))
})

test('whatever the bytes and whichever the schema: a record within its limits, or poison', async (t) => {
  const { codec, add } = await open(t)
  const next = nullable({
    type: 'record',
    name: 'Link',
    fields: [field('next', nullable('Link')), field('many', { type: 'array', items: 'null' })],
  })
  const strange = interaction(
    field('ts', nullable({ type: 'long', logicalType: 'timestamp-micros' })),
    field('behaviors', { type: 'array', items: nullable(act) }),
    field('next', next),
    field('fixed', { type: 'fixed', name: 'Nothing', size: 0 }),
    field('either', ['int', 'long', 'float', { type: 'map', values: 'bytes' }]),
  )
  const content = record(
    'C',
    field('ts', 'int'),
    field('vectors', { type: 'map', values: [{ type: 'array', items: ['null', 'float'] }, 'bytes', 'null'] }),
    field('itemId', ['string', 'long']),
  )
  const ids = [await add(strange), await add(content), await add(record('Order', field('total', 'double')))]
  const link = { next: { next: null, many: [null] }, many: [] }
  const rows: [TopicName, number, Uint8Array][] = [
    [
      'interactions',
      ids[0]!,
      written(ids[0]!, strange, {
        ...seen,
        ts: 9n,
        behaviors: ['click'],
        next: link,
        fixed: Buffer.alloc(0),
        either: { int: 1 },
      }),
    ],
    ['item-content', ids[1]!, written(ids[1]!, content, { ts: 1, vectors: { a: [1, 2], b: Buffer.alloc(8) }, itemId: 'i' })],
  ]
  for (const [, topic, one] of allSamples()) {
    if (!inputTopics.includes(topic as Input)) continue
    const id = await add(ownSchema(inputs[topic as Input]).json)
    rows.push([topic, id, framed(id, codec.encode(topic, one as never).subarray(10))])
    ids.push(id)
  }
  const change = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 })
  const changed = fc.tuple(fc.constantFrom(...rows), change).map(([[topic, id, bytes], changes]): [TopicName, number, Uint8Array] => {
    const body = Buffer.from(bytes.subarray(5))
    for (const [at, value] of changes) body[at % body.length] = value
    return [topic, id, body]
  })
  const mixed = fc.tuple(
    fc.constantFrom<TopicName>(...inputTopics, 'control'),
    fc.constantFrom(...ids, 0, -1),
    fc.uint8Array({ maxLength: 100 }),
  )
  let read = 0
  fc.assert(
    fc.property(fc.oneof(changed, mixed), ([name, id, bytes]) => {
      try {
        const one = codec.decode(name, framed(id, bytes))
        deepStrictEqual(codec.decode(name, codec.encode(name, one as never)), one)
        read++
      } catch (error) {
        ok(isPoison(error), `not a poison error: ${error instanceof Error ? error.stack : String(error)}`)
      }
    }),
    { numRuns: 5000 },
  )
  ok(read > 500, `${read} records were read`)
})

test('a list in blocks is read, whatever is skipped; a block that claims another size is poison and no endless loop', async (t) => {
  const { codec, add } = await open(t)
  for (const [items, numbers] of [
    ['float', [0, 0, 128, 63, 0, 0, 0, 64]],
    ['double', [0, 0, 0, 0, 0, 0, 240, 63, 0, 0, 0, 0, 0, 0, 0, 64]],
  ] as const) {
    const list = { type: 'array', items }
    const schema = record(
      'C',
      field('skipped', list),
      field('itemId', 'string'),
      field('ts', 'int'),
      field('vectors', { type: 'map', values: list }),
    )
    const id = await add(schema)
    const zigzag = (n: number): number => (n < 0 ? -2 * n - 1 : 2 * n)
    const half = numbers.length / 2
    /** Two blocks of one number, the first with its size. */
    const blocks = (size = half): number[] => [zigzag(-1), zigzag(size), ...numbers.slice(0, half), zigzag(1), ...numbers.slice(half), 0]
    const body = (size?: number): Buffer => framed(id, Buffer.from([...blocks(size), 2, 0x69, 2, 2, 2, 0x61, ...blocks(), 0]))
    deepStrictEqual(codec.decode('item-content', body()).vectors, { a: new Float32Array([1, 2]) })
    for (const size of [-2, -1, 0, half - 1, half + 1, 60])
      throws(() => codec.decode('item-content', body(size)), poison('SIDESTREAM_RECORD_UNDECODABLE', /claims -?\d+ bytes and has/))
  }
})

test('a schema of few characters that claims endless empty values does not hold anybody up', async (t) => {
  const { codec, add } = await open(t)
  const doubling = Array.from({ length: 40 }, (_, i) =>
    i === 0 ? record('D0', field('x', 'null')) : record(`D${i}`, field('a', `com.shop.D${i - 1}`), field('b', `com.shop.D${i - 1}`)),
  )
  const [last, ...before] = doubling.toReversed()
  const schema = interaction(
    field('ts', 'long'),
    field('behaviors', texts),
    ...before.toReversed().map((type, i) => field(`d${i}`, nullable(type))),
    field('z', last),
  )
  const id = await add(schema)
  const body = Buffer.concat([Buffer.from([2, 0x75, 2, 0x69, 2, 0]), Buffer.alloc(before.length)])
  throws(() => codec.decode('interactions', framed(id, body)), poison('SIDESTREAM_RECORD_UNDECODABLE', /values without a byte/))
})

test('keys of tombstones: text, and what serializers make of an id', async (t) => {
  const { codec, add } = await open(t, { 'item-content': { itemId: 'article' } })
  const key = async (schema: unknown, value: unknown): Promise<string> => codec.decodeItemKey(written(await add(schema), schema, value))
  equal(codec.decodeItemKey(Buffer.from('item-1')), 'item-1')
  equal(await key({ type: 'string' }, 'item-1'), 'item-1')
  equal(await key({ type: 'long' }, 2n ** 60n), String(2n ** 60n))
  equal(await key({ type: 'int' }, 7), '7')
  equal(await key(nullable('string'), 'item-1'), 'item-1')
  equal(await key(record('Key', field('anything', 'long')), { anything: 5n }), '5')
  equal(await key(record('Key', field('shop', 'string'), field('item_id', 'string')), { shop: 's', item_id: 'i' }), 'i')
  equal(await key(record('Key', field('shop', 'string'), field('article', 'string')), { shop: 's', article: 'a' }), 'a')
})

test('keys that name no item are poison', async (t) => {
  const { codec, add } = await open(t)
  const key = async (schema: unknown, value: unknown): Promise<() => string> => {
    const bytes = written(await add(schema), schema, value)
    return () => codec.decodeItemKey(bytes)
  }
  throws(await key({ type: 'string' }, ''), poison('SIDESTREAM_ID_INVALID', /is empty/))
  throws(await key(nullable('string'), null), poison('SIDESTREAM_ID_INVALID', /is missing/))
  throws(await key({ type: 'double' }, 1), poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /cannot be read as an item id/))
  throws(
    await key(record('Key', field('a', 'string'), field('b', 'string')), { a: 'a', b: 'b' }),
    poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /itemId/),
  )
  throws(() => codec.decodeItemKey(framed(1, Buffer.from([2]))), poison('SIDESTREAM_RECORD_UNDECODABLE', /truncated/))
  throws(() => codec.decodeItemKey(Buffer.alloc(0)), poison('SIDESTREAM_ID_INVALID', /has 0/))
  const none = new Codec()
  equal(none.decodeItemKey(framed(1, Buffer.from('a'))), '\0\0\0\0\u0001a', 'without a registry a key is text, whatever it is')
})
