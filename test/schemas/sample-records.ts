/** One record of every type and case, and generators of arbitrary ones, for the codec's tests. */
import fc from 'fast-check'
import type { TopicName, TopicRecords } from '../../schemas/index.ts'

const text = new TextEncoder()

/** Name, topic and record; the golden bytes are stored under the name. */
export const sampleRecords: { [T in TopicName]: Record<string, TopicRecords[T]> } = {
  interactions: {
    'interaction-full': {
      userId: 'u-1',
      itemId: 'ítem 1',
      eventTs: 1_732_000_000_123,
      behaviors: ['click', 'finish'],
      surface: 'feed',
      dwellMs: 5125.5,
      requestId: 'r-9',
    },
    'interaction-plain': { userId: '9007199254740993', itemId: '2', eventTs: 0, behaviors: [] },
  },
  'item-content': {
    'item-content-full': {
      itemId: 'i-1',
      eventTs: 1_732_000_000_000,
      vectors: { vision: new Float32Array([1, -0.5, 3.25e-20, 0]), text: new Float32Array([0.1, -7]) },
      labels: ['news', 'sport'],
      authorId: 'a-7',
    },
    'item-content-plain': { itemId: 'i-2', eventTs: 1, vectors: { text: new Float32Array([2]) } },
  },
  'id-embeddings': {
    'id-embedding': { entity: 'item', entityId: 'i-1', eventTs: 1_732_000_000_001, vector: new Float32Array([0.25, -1]), exposures: 1234 },
  },
  'item-pairs': {
    'item-pair-scored': { source: 'clicks', queryId: 'q', targetId: 't', eventTs: 5, score: 0.75 },
    'item-pair-plain': { source: 'clicks', queryId: 'q', targetId: 't', eventTs: 5 },
  },
  histories: {
    'history-chunk': {
      userId: 'u-1',
      chunk: 3,
      events: [
        { itemId: 'i-1', eventTs: 10, behaviors: ['click'] },
        { itemId: 'i-2', eventTs: 20, behaviors: [] },
      ],
    },
  },
  'distill-samples': {
    'distill-sample': { kind: 'sample', source: 'seq2item', userId: 'u-1', targetId: 'i-3', eventTs: 30, history: ['i-1', 'i-2'] },
    'distill-sample-marked': {
      kind: 'sample',
      source: 'seq2item',
      userId: 'u-1',
      targetId: 'i-3',
      eventTs: 30,
      history: ['i-1', 'i-2'],
      marks: new Uint8Array([3, 0]),
    },
    watermark: { kind: 'watermark', topic: 'interactions', partition: 2, watermarkTs: -5, next: 9_007_199_254_740_993n },
    'watermark-end': { kind: 'watermark', topic: 'interactions', partition: 0, watermarkTs: Infinity, next: 0n },
  },
  'item-features': {
    'item-feature': { itemId: 'i-1', view: 'main', version: 12, value: new Uint8Array([0x53, 1, 2, 3, 255]), ackedTs: 1_732_000_000_456 },
  },
  'feature-versions': {
    'feature-version': {
      seq: 4,
      version: 12,
      action: 'rollback',
      at: 1_732_000_001_000,
      commandId: 'c-1',
      head: 'head-3',
      codebook: 'codebook-2',
      trainedUntil: 1_731_999_000_000,
      teacherUntil: 0,
      codebookUntil: 1_731_999_500_000,
    },
  },
  control: { 'control-record': { kind: 'refresh', id: 'c-1', at: 7, body: '{"why":"asked"}' } },
  artifacts: { 'artifact-chunk': { artifact: 'head-3', part: 'head.onnx', index: 1, count: 2, bytes: new Uint8Array([1, 2, 3]) } },
  'dead-letters': {
    'dead-letter-full': {
      topic: 'item-content',
      partition: 1,
      offset: 9_007_199_254_740_995n,
      timestamp: 99,
      key: text.encode('k'),
      value: new Uint8Array([0, 255]),
      headers: [
        ['trace', text.encode('t')],
        ['trace', new Uint8Array(0)],
      ],
      code: 'SIDESTREAM_RECORD_UNDECODABLE',
      reason: 'truncated',
      at: 100,
    },
    'dead-letter-tombstone': {
      topic: 'item-content',
      partition: 0,
      offset: 0n,
      timestamp: -1,
      key: null,
      value: null,
      headers: [],
      code: 'X',
      reason: '',
      at: 0,
    },
  },
}

/** Every sample as [name, topic, record]. */
export function allSamples(): [string, TopicName, TopicRecords[TopicName]][] {
  return Object.entries(sampleRecords).flatMap(([topic, records]) =>
    Object.entries(records).map(([name, record]): [string, TopicName, TopicRecords[TopicName]] => [name, topic as TopicName, record]),
  )
}

const id = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter((value) => !value.includes('\ufffd') && Buffer.byteLength(value) <= 256)
const time = fc.integer({ min: 0, max: 253_402_300_799_999 })
const whole = fc.maxSafeNat().map((value) => Math.min(value, Number.MAX_SAFE_INTEGER - 1))
const signed = fc.integer({ min: -(2 ** 52), max: Number.MAX_SAFE_INTEGER - 1 })
const offset = fc.bigInt({ min: 0n, max: (1n << 63n) - 1n })
const finite = fc.double({ noNaN: true, noDefaultInfinity: true })
const behaviors = fc.array(id, { maxLength: 5 })
const bytes = fc.uint8Array({ maxLength: 60 })

/** Below the largest number that a vector may have. */
const largest = Math.fround(999_999_995_904)
/** A vector as a producer would send it. */
export const vector = fc.float32Array({ minLength: 1, maxLength: 20, noNaN: true, min: -largest, max: largest })

function record<T, R extends keyof T>(
  model: { [K in keyof Required<T>]: fc.Arbitrary<Required<T>[K]> },
  optional: readonly R[],
): fc.Arbitrary<T> {
  const required = (Object.keys(model) as (keyof T)[]).filter((key) => !optional.includes(key as R))
  return fc.record(model, { requiredKeys: required as never, noNullPrototype: true }) as unknown as fc.Arbitrary<T>
}

/** Arbitrary valid records of every topic. */
export const arbitraryRecords: { [T in TopicName]: fc.Arbitrary<TopicRecords[T]> } = {
  interactions: record(
    {
      userId: id,
      itemId: id,
      eventTs: time,
      behaviors,
      surface: id,
      dwellMs: fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }),
      requestId: id,
    },
    ['surface', 'dwellMs', 'requestId'],
  ),
  'item-content': record(
    {
      itemId: id,
      eventTs: time,
      vectors: fc.dictionary(
        id.filter((name) => name !== '__proto__'),
        vector,
        { minKeys: 1, maxKeys: 4, noNullPrototype: true },
      ),
      labels: fc.array(id, { minLength: 1, maxLength: 4 }),
      authorId: id,
    },
    ['labels', 'authorId'],
  ),
  'id-embeddings': record(
    { entity: id, entityId: id, eventTs: time, vector, exposures: fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }) },
    [],
  ),
  'item-pairs': record({ source: id, queryId: id, targetId: id, eventTs: time, score: finite }, ['score']),
  histories: record(
    { userId: id, chunk: whole, events: fc.array(record({ itemId: id, eventTs: time, behaviors }, []), { maxLength: 5 }) },
    [],
  ),
  'distill-samples': fc.oneof(
    fc
      .record({
        kind: fc.constant('sample' as const),
        source: id,
        userId: id,
        targetId: id,
        eventTs: time,
        history: fc.array(id, { maxLength: 5 }),
        mark: fc.option(fc.nat({ max: 255 }), { nil: undefined }),
      })
      .map(({ mark, ...sample }) => (mark === undefined ? sample : { ...sample, marks: new Uint8Array(sample.history.length).fill(mark) })),
    record<TopicRecords['distill-samples'] & { kind: 'watermark' }, never>(
      {
        kind: fc.constant('watermark' as const),
        topic: id,
        partition: fc.nat(),
        watermarkTs: fc.oneof(fc.constant(Infinity), signed),
        next: offset,
      },
      [],
    ),
  ),
  'item-features': record({ itemId: id, view: id, version: whole, value: bytes, ackedTs: time }, []),
  'feature-versions': record(
    {
      seq: whole,
      version: whole,
      action: fc.constantFrom('activate' as const, 'rollback' as const),
      at: time,
      commandId: id,
      head: id,
      codebook: id,
      trainedUntil: time,
      teacherUntil: time,
      codebookUntil: time,
    },
    [],
  ),
  control: record({ kind: id, id, at: time, body: id }, []),
  artifacts: record({ artifact: id, part: id, index: fc.nat({ max: 9 }), count: fc.integer({ min: 10, max: 20 }), bytes }, []),
  'dead-letters': record(
    {
      topic: id,
      partition: fc.nat(),
      offset,
      timestamp: signed,
      key: fc.option(bytes),
      value: fc.option(bytes),
      headers: fc.array(fc.tuple(id, bytes), { maxLength: 3 }),
      code: id,
      reason: id,
      at: time,
    },
    [],
  ),
}
