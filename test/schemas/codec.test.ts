import { deepStrictEqual, equal, match, ok, throws } from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { test } from 'node:test'
import { Codec, isPoison, limits, SidestreamError, topics } from '../../schemas/index.ts'
import type { ErrorCode, TopicName, TopicRecords } from '../../schemas/index.ts'
import { allSamples, sampleRecords } from './sample-records.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/avro-v1.json', import.meta.url), 'utf8')) as Record<string, string>
const codec = new Codec()
const interaction = sampleRecords['interactions']['interaction-full']!
const content = sampleRecords['item-content']['item-content-full']!

function poison(code: ErrorCode, message?: RegExp) {
  return (error: unknown): boolean => {
    ok(isPoison(error), `a poison error, not ${String(error)}`)
    equal(error.code, code)
    if (message !== undefined) match(error.message, message)
    return true
  }
}

for (const [name, topic, record] of allSamples()) {
  test(`${name} keeps its bytes of format 1`, () => {
    equal(Buffer.from(codec.encode(topic, record)).toString('hex'), golden[name])
  })

  test(`${name} reads back equal`, () => {
    deepStrictEqual(codec.decode(topic, Buffer.from(golden[name]!, 'hex')), record)
  })

  test(`${name} truncated anywhere, or with a byte too many, is poison`, () => {
    const bytes = Buffer.from(golden[name]!, 'hex')
    for (let length = 0; length < bytes.length; length++) {
      throws(() => codec.decode(topic, bytes.subarray(0, length)), poison('SIDESTREAM_RECORD_UNDECODABLE'), `length ${length}`)
    }
    throws(() => codec.decode(topic, Buffer.concat([bytes, Buffer.alloc(1)])), poison('SIDESTREAM_RECORD_UNDECODABLE', /left over/))
  })
}

test('samples of the first release, whose schema had no marks, are read without any', () => {
  const bytes = Buffer.from('c301bd215c6e173215e010736571326974656d06752d3106692d333c0406692d3106692d3200', 'hex')
  const record = sampleRecords['distill-samples']['distill-sample']!
  deepStrictEqual(codec.decode('distill-samples', bytes), record)
  deepStrictEqual(codec.toOwn('distill-samples', bytes), codec.encode('distill-samples', record))
})

test('marks that do not go with the history are poison', () => {
  const record = { ...sampleRecords['distill-samples']['distill-sample-marked']!, history: ['i-1'] }
  throws(() => codec.encode('distill-samples', record), poison('SIDESTREAM_RECORD_INVALID', /marks are 2 for a history of 1 items/))
})

test('every golden record and every topic is covered', () => {
  deepStrictEqual(
    allSamples().map(([name]) => name),
    Object.keys(golden),
  )
  deepStrictEqual(Object.keys(sampleRecords).sort(), topics.map(({ name }) => name).sort())
})

test('every record and field of every schema says what it is for', () => {
  const folder = new URL('../../schemas/avro/', import.meta.url)
  const files = readdirSync(folder).filter((file) => file.endsWith('.avsc'))
  equal(files.length, 12)
  const visit = (schema: unknown, where: string): void => {
    if (Array.isArray(schema)) return schema.forEach((branch) => visit(branch, where))
    if (typeof schema !== 'object' || schema === null) return
    const { type, name, doc, fields, items, values } = schema as Record<string, unknown>
    if (type === 'record' || type === 'enum') ok(typeof doc === 'string' && doc.length > 0, `${where}: ${String(name)} has no doc`)
    for (const field of (fields ?? []) as { name: string; doc?: string; type: unknown }[]) {
      ok(field.doc, `${where}: ${String(name)}.${field.name} has no doc`)
      visit(field.type, where)
    }
    visit(items, where)
    visit(values, where)
  }
  for (const file of files) visit(JSON.parse(readFileSync(new URL(file, folder), 'utf8')), file)
})

test('decoded bytes and vectors are not views that a reused read buffer could change', () => {
  const bytes = Buffer.from(codec.encode('item-content', content))
  const decoded = codec.decode('item-content', bytes)
  bytes.fill(0)
  deepStrictEqual(decoded, content)
  const feature = sampleRecords['item-features']['item-feature']!
  const featureBytes = Buffer.from(codec.encode('item-features', feature))
  const decodedFeature = codec.decode('item-features', featureBytes)
  featureBytes.fill(0)
  deepStrictEqual(decodedFeature, feature)
})

test('vectors are read from any byte position and written from any view', () => {
  const shifted = new Uint8Array(codec.encode('item-content', content).length + 3)
  shifted.set(codec.encode('item-content', content), 3)
  deepStrictEqual(codec.decode('item-content', shifted.subarray(3)), content)
  const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3)
  const record = { itemId: 'i', eventTs: 0, vectors: { a: view } }
  deepStrictEqual(codec.decode('item-content', codec.encode('item-content', record)).vectors['a'], new Float32Array([1, 2]))
})

test('a value that does not start with the marker is poison and says so', () => {
  throws(
    () => codec.decode('interactions', Buffer.from('{"userId":"u"}')),
    poison('SIDESTREAM_RECORD_UNDECODABLE', /starts with 7b227573, not c301/),
  )
  throws(() => codec.decode('interactions', new Uint8Array(0)), poison('SIDESTREAM_RECORD_UNDECODABLE', /starts with nothing/))
  throws(
    () => codec.decode('interactions', new Uint8Array([0, 0, 0, 0, 7, 2, 97])),
    poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /schema-registry framing with schema id 7.*set schemaRegistry\.url/),
  )
})

test('an unknown fingerprint is named in hexadecimal, as schema tools print it', () => {
  const bytes = Buffer.from(golden['interaction-plain']!, 'hex')
  bytes.writeBigUInt64LE(0x00ab_cdef_0123_4567n, 2)
  throws(() => codec.decode('interactions', bytes), poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', /00abcdef01234567/))
})

test("a record of one topic is not another topic's", () => {
  const bytes = codec.encode('interactions', interaction)
  throws(() => codec.decode('item-content', bytes), poison('SIDESTREAM_RECORD_SCHEMA_UNKNOWN'))
})

test('a forged list length neither loops nor allocates', () => {
  const { fingerprint, body } = split(codec.encode('interactions', { userId: 'u', itemId: 'i', eventTs: 0, behaviors: [] }))
  equal(body.toString('hex'), '0275' + '0269' + '00' + '00' + '00' + '00' + '00')
  for (const count of ['feffffffffff07', 'ffffffffffffffffff01', 'fdffffffffff0702', '80808080808080808080808001']) {
    const forged = Buffer.concat([fingerprint, Buffer.from('0275026900' + count, 'hex'), Buffer.alloc(20, 2)])
    throws(() => codec.decode('interactions', forged), poison('SIDESTREAM_RECORD_UNDECODABLE'))
  }
  const frame = split(codec.encode('item-content', content)).fingerprint
  const forged = Buffer.concat([frame, Buffer.from('026900feffffffffff07', 'hex'), Buffer.alloc(20, 2)])
  throws(() => codec.decode('item-content', forged), poison('SIDESTREAM_RECORD_UNDECODABLE', /more than there are bytes left/))
})

function split(bytes: Uint8Array): { fingerprint: Buffer; body: Buffer } {
  const buffer = Buffer.from(bytes)
  return { fingerprint: buffer.subarray(0, 10), body: buffer.subarray(10) }
}

test('10 MiB messages are refused before they are read', () => {
  throws(
    () => codec.decode('interactions', new Uint8Array(10 * 1024 * 1024)),
    poison('SIDESTREAM_RECORD_TOO_LARGE', /10485760 bytes, at most 1000000/),
  )
})

test('a record that would be too large is not written, a dead letter may hold a refused record whole', () => {
  const large = new Uint8Array(limits.recordBytes)
  throws(
    () => codec.encode('item-features', { ...sampleRecords['item-features']['item-feature']!, value: large }),
    poison('SIDESTREAM_RECORD_TOO_LARGE'),
  )
  const letter = { ...sampleRecords['dead-letters']['dead-letter-full']!, value: new Uint8Array(10 * 1024 * 1024).fill(7) }
  deepStrictEqual(codec.decode('dead-letters', codec.encode('dead-letters', letter)), letter)
  throws(
    () => codec.encode('dead-letters', { ...letter, value: new Uint8Array(limits.deadLetterBytes) }),
    poison('SIDESTREAM_RECORD_TOO_LARGE'),
  )
})

test('a record just within the limit passes after the scratch buffer has grown', () => {
  const feature = { ...sampleRecords['item-features']['item-feature']!, value: new Uint8Array(limits.recordBytes - 100).fill(3) }
  deepStrictEqual(new Codec().decode('item-features', new Codec().encode('item-features', feature)), feature)
})

const badIds: [string, unknown, RegExp][] = [
  ['empty', '', /userId is empty/],
  ['600 bytes', 'x'.repeat(600), /userId has 600 bytes of UTF-8, at most 512/],
  ['513 bytes in 171 characters', '€'.repeat(171), /userId has 513 bytes/],
  ['a number', 7, /userId is a number, not a string/],
  ['missing', undefined, /userId is missing/],
  ['a lone surrogate', 'a\ud800', /userId is not sound UTF-8/],
]
for (const [what, userId, message] of badIds) {
  test(`an id that is ${what} is refused on encode`, () => {
    throws(() => codec.encode('interactions', { ...interaction, userId: userId as string }), poison('SIDESTREAM_ID_INVALID', message))
  })
}

test('ids are refused on decode as on encode, ids of 512 bytes pass', () => {
  const longest = '€'.repeat(170) + 'xx'
  equal(codec.decode('interactions', codec.encode('interactions', { ...interaction, userId: longest })).userId, longest)
  const { fingerprint } = split(codec.encode('interactions', interaction))
  const rest = Buffer.from('0269' + '00' + '00' + '00' + '00' + '00', 'hex')
  const cases: [string, Buffer][] = [
    ['empty', Buffer.from('00', 'hex')],
    ['600 bytes', Buffer.concat([Buffer.from('b009', 'hex'), Buffer.alloc(600, 0x78)])],
    ['invalid UTF-8', Buffer.from('02ff', 'hex')],
  ]
  for (const [what, userId] of cases) {
    throws(() => codec.decode('interactions', Buffer.concat([fingerprint, userId, rest])), poison('SIDESTREAM_ID_INVALID'), what)
  }
})

const badContent: [string, Partial<TopicRecords['item-content']>, ErrorCode, RegExp][] = [
  ['no vector', { vectors: {} }, 'SIDESTREAM_RECORD_INVALID', /vectors hold no configured modality/],
  [
    '17 modalities',
    { vectors: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`m${i}`, new Float32Array(1)])) },
    'SIDESTREAM_RECORD_INVALID',
    /17 modalities, at most 16/,
  ],
  ['a vector of no dimension', { vectors: { a: new Float32Array(0) } }, 'SIDESTREAM_VECTOR_DIM_MISMATCH', /vectors.a has dimension 0/],
  [
    'a vector of 8193 dimensions',
    { vectors: { a: new Float32Array(8193) } },
    'SIDESTREAM_VECTOR_DIM_MISMATCH',
    /dimension 8193, expected 1 to 8192/,
  ],
  ['NaN', { vectors: { a: new Float32Array([0, NaN]) } }, 'SIDESTREAM_VECTOR_NOT_FINITE', /vectors.a holds NaN at position 1/],
  ['infinity', { vectors: { a: new Float32Array([-Infinity]) } }, 'SIDESTREAM_VECTOR_NOT_FINITE', /-Infinity at position 0/],
  ['a modality named __proto__', { vectors: JSON.parse('{"__proto__":[1]}') as never }, 'SIDESTREAM_RECORD_INVALID', /named __proto__/],
  ['a list of numbers for a vector', { vectors: { a: [1] as never } }, 'SIDESTREAM_RECORD_INVALID', /vectors.a is not a vector/],
  ['257 labels', { labels: Array.from({ length: 257 }, () => 'x') }, 'SIDESTREAM_RECORD_INVALID', /257 entries, at most 256/],
  ['an empty label', { labels: [''] }, 'SIDESTREAM_RECORD_INVALID', /labels is empty/],
  ['a time in microseconds', { eventTs: 1_732_000_000_000_000 }, 'SIDESTREAM_RECORD_INVALID', /eventTs .* microseconds/],
  ['a negative time', { eventTs: -1 }, 'SIDESTREAM_RECORD_INVALID', /eventTs is -1/],
  ['half a millisecond', { eventTs: 0.5 }, 'SIDESTREAM_RECORD_INVALID', /eventTs is 0.5/],
]
for (const [what, change, code, message] of badContent) {
  test(`content with ${what} is refused on encode`, () => {
    throws(() => codec.encode('item-content', { ...content, ...change }), poison(code, message))
  })
}

test('non-finite numbers and times are refused on decode too', () => {
  const bytes = Buffer.from(codec.encode('item-content', { itemId: 'i', eventTs: 5, vectors: { a: new Float32Array([1, 2]) } }))
  const at = bytes.indexOf(Buffer.from(new Float32Array([1, 2]).buffer))
  for (const value of [NaN, Infinity, -Infinity]) {
    const broken = Buffer.from(bytes)
    broken.writeFloatLE(value, at + 4)
    throws(() => codec.decode('item-content', broken), poison('SIDESTREAM_VECTOR_NOT_FINITE', /position 1/))
  }
  equal(bytes[12], 10)
  bytes[12] = 9
  throws(() => codec.decode('item-content', bytes), poison('SIDESTREAM_RECORD_INVALID', /eventTs is -5/))
})

test('a vector of another dimension than configured names the field and both dimensions', () => {
  const bytes = codec.encode('item-content', content)
  const modalities = new Map([
    ['vision', 4],
    ['text', 3],
  ])
  throws(
    () => codec.decode('item-content', bytes, { modalities }),
    poison('SIDESTREAM_VECTOR_DIM_MISMATCH', /vectors.text has dimension 2, expected 3/),
  )
  const embedding = codec.encode('id-embeddings', sampleRecords['id-embeddings']['id-embedding']!)
  equal(codec.decode('id-embeddings', embedding, { idEmbeddingDim: 2 }).vector.length, 2)
  throws(
    () => codec.decode('id-embeddings', embedding, { idEmbeddingDim: 64 }),
    poison('SIDESTREAM_VECTOR_DIM_MISMATCH', /dimension 2, expected 64/),
  )
})

test('a modality that is not configured is left out, or refused when asked', () => {
  const bytes = codec.encode('item-content', content)
  const modalities = new Map([['text', 2]])
  deepStrictEqual(codec.decode('item-content', bytes, { modalities }).vectors, { text: content.vectors['text'] })
  throws(
    () => codec.decode('item-content', bytes, { modalities, unknownModality: 'refuse' }),
    poison('SIDESTREAM_RECORD_INVALID', /vectors.vision is not a configured/),
  )
  throws(
    () => codec.decode('item-content', bytes, { modalities: new Map([['audio', 2]]) }),
    poison('SIDESTREAM_RECORD_INVALID', /no configured modality/),
  )
})

test('unknown behaviors are refused when the known ones are given', () => {
  const bytes = codec.encode('interactions', interaction)
  deepStrictEqual(codec.decode('interactions', bytes, { behaviors: new Set(['click', 'finish']) }), interaction)
  throws(
    () => codec.decode('interactions', bytes, { behaviors: new Set(['click']) }),
    poison('SIDESTREAM_BEHAVIOR_UNKNOWN', /"finish" is not configured; known are click/),
  )
})

test('lists, counts and offsets beyond their limits are refused', () => {
  const history = Array.from({ length: 1001 }, (_, i) => `i${i}`)
  const sample = sampleRecords['distill-samples']['distill-sample'] as Extract<TopicRecords['distill-samples'], { kind: 'sample' }>
  const refusals: [TopicName, TopicRecords[TopicName], RegExp][] = [
    ['interactions', { ...interaction, behaviors: Array.from({ length: 65 }, () => 'x') }, /behaviors has 65 entries/],
    ['interactions', { ...interaction, dwellMs: NaN }, /dwellMs is NaN/],
    ['interactions', { ...interaction, surface: 'x'.repeat(257) }, /surface has 257 bytes/],
    ['distill-samples', { ...sample, history }, /history has 1001 entries/],
    ['distill-samples', { kind: 'watermark', topic: 't', partition: 0, watermarkTs: NaN, next: 0n }, /watermarkTs is NaN/],
    ['distill-samples', { kind: 'watermark', topic: 't', partition: 0, watermarkTs: 0, next: -1n }, /next is -1/],
    ['item-features', { ...sampleRecords['item-features']['item-feature']!, version: 2 ** 53 }, /version is 9007199254740992/],
    [
      'feature-versions',
      { ...sampleRecords['feature-versions']['feature-version']!, action: 'swap' as never },
      /neither activate nor rollback/,
    ],
    ['artifacts', { ...sampleRecords['artifacts']['artifact-chunk']!, index: 2 }, /index is 2 of 2/],
  ]
  for (const [topic, record, message] of refusals) throws(() => codec.encode(topic, record), poison('SIDESTREAM_RECORD_INVALID', message))
})

test('a schema that is no Avro schema is a configuration error', () => {
  for (const schema of ['{"type":"recor"}', '{', '{"type":"record","name":"X"}']) {
    throws(
      () => codec.register(schema),
      (error: unknown) => error instanceof SidestreamError && error.code === 'SIDESTREAM_CONFIG_INVALID',
      schema,
    )
  }
})
