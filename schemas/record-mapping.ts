/**
 * Records to Avro values and back. The same checks run in both directions, so nothing can be written that could not be read.
 * Invariant: what comes out is a plain record of `records.ts`; absent optional fields are not there, never null.
 */
import type { SchemaName } from './avro-types.ts'
import { SidestreamError } from './errors.ts'
import * as check from './field-checks.ts'
import { limits } from './limits.ts'
import type * as records from './records.ts'

/** What a reader of a topic knows beforehand; everything not named is accepted within `limits.ts`. */
export interface DecodeExpectations {
  /** Dimension of every configured modality of `item-content`. */
  readonly modalities?: ReadonlyMap<string, number>
  /**
   * What to do with a modality that is not in `modalities`: leave it out, or refuse the record.
   * @default 'drop'
   */
  readonly unknownModality?: 'drop' | 'refuse'
  /** Dimension of vectors of `id-embeddings`. */
  readonly idEmbeddingDim?: number
  /** The configured behaviors; an interaction with any other is refused. */
  readonly behaviors?: ReadonlySet<string>
}

/** A decoded or to-be-encoded Avro value: nothing about it is known yet. */
type Loose = Readonly<Record<string, unknown>>
type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** How one record type travels. `toAvro` and `fromAvro` both check every field. */
export interface RecordMapping<R> {
  readonly schema: SchemaName
  readonly toAvro: (record: R) => object
  readonly fromAvro: (value: Loose, expectations: DecodeExpectations) => R
}

const endMark = (1n << 63n) - 1n
const nothing: DecodeExpectations = {}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null
}

function behaviorsOf(value: unknown, known: ReadonlySet<string> | undefined): string[] {
  return check.checkList('behaviors', value, limits.behaviors).map((entry) => {
    const behavior = check.checkText('behaviors', entry)
    if (known !== undefined && !known.has(behavior)) {
      const message = `behavior ${JSON.stringify(behavior)} is not configured; known are ${[...known].join(', ')}`
      throw new SidestreamError('SIDESTREAM_BEHAVIOR_UNKNOWN', message, { behavior })
    }
    return behavior
  })
}

/** A vector as the record holds it: our bytes are copied once, to an aligned array. */
function vectorOf(field: string, value: unknown, dim: number | undefined): Float32Array {
  let vector: Float32Array
  if (value instanceof Float32Array) {
    vector = value
  } else if (value instanceof Uint8Array) {
    if (value.length % 4 !== 0) throw unevenVector(field, value.length)
    vector = new Float32Array(value.length / 4)
    new Uint8Array(vector.buffer).set(value)
  } else {
    throw check.invalid(field, isGiven(value) ? 'is not a vector' : 'is missing')
  }
  check.checkDim(field, vector.length, dim)
  check.checkVectorFinite(field, vector, 0, vector.length)
  return vector
}

/** The error of vector bytes that are no whole number of float32. */
export function unevenVector(field: string, bytes: number): SidestreamError {
  const message = `${field} has ${bytes} bytes, not a multiple of 4; vectors are little-endian float32`
  return new SidestreamError('SIDESTREAM_VECTOR_DIM_MISMATCH', message, { field, bytes })
}

/** The error of a modality that the configuration does not name, when those are refused. */
export function unknownModality(name: string, known: Iterable<string>): SidestreamError {
  return check.invalid(`vectors.${name}`, `is not a configured modality; known are ${[...known].join(', ')}`)
}

/** The error of content without a vector that can be used. */
export function noVector(): SidestreamError {
  return check.invalid('vectors', 'hold no configured modality; at least one is needed')
}

function interaction(value: Loose, { behaviors }: DecodeExpectations): records.Interaction {
  const record: Mutable<records.Interaction> = {
    userId: check.checkId('userId', value['userId']),
    itemId: check.checkId('itemId', value['itemId']),
    eventTs: check.checkTs('eventTs', value['eventTs']),
    behaviors: behaviorsOf(value['behaviors'], behaviors),
  }
  if (isGiven(value['surface'])) record.surface = check.checkText('surface', value['surface'])
  if (isGiven(value['dwellMs'])) record.dwellMs = check.checkFinite('dwellMs', value['dwellMs'], 0)
  if (isGiven(value['requestId'])) record.requestId = check.checkId('requestId', value['requestId'])
  return record
}

function itemContent(value: Loose, { modalities, unknownModality: onUnknown }: DecodeExpectations): records.ItemContent {
  const itemId = check.checkId('itemId', value['itemId'])
  const eventTs = check.checkTs('eventTs', value['eventTs'])
  const given = value['vectors']
  if (typeof given !== 'object' || given === null) throw check.invalid('vectors', 'is missing')
  const vectors: Record<string, Float32Array> = {}
  const entries = Object.entries(given).filter(([, vector]) => isGiven(vector))
  if (entries.length > limits.modalities) {
    throw check.invalid('vectors', `hold ${entries.length} modalities, at most ${limits.modalities} are allowed`)
  }
  let count = 0
  for (const [name, vector] of entries) {
    check.checkText('the name of a modality', name)
    if (name === '__proto__') throw check.invalid('vectors', 'hold a modality named __proto__; choose another name')
    const dim = modalities?.get(name)
    if (modalities !== undefined && dim === undefined) {
      if (onUnknown === 'refuse') throw unknownModality(name, modalities.keys())
      continue
    }
    vectors[name] = vectorOf(`vectors.${name}`, vector, dim)
    count++
  }
  if (count === 0) throw noVector()
  const record: Mutable<records.ItemContent> = { itemId, eventTs, vectors }
  if (isGiven(value['labels'])) {
    const labels = check.checkList('labels', value['labels'], limits.labels).map((label) => check.checkText('labels', label))
    if (labels.length > 0) record.labels = labels
  }
  if (isGiven(value['authorId'])) record.authorId = check.checkId('authorId', value['authorId'])
  return record
}

function idEmbedding(value: Loose, { idEmbeddingDim }: DecodeExpectations): records.IdEmbedding {
  return {
    entity: check.checkText('entity', value['entity']),
    entityId: check.checkId('entityId', value['entityId']),
    eventTs: check.checkTs('eventTs', value['eventTs']),
    vector: vectorOf('vector', value['vector'], idEmbeddingDim),
    exposures: check.checkFinite('exposures', value['exposures'], 0),
  }
}

function itemPair(value: Loose): records.ItemPair {
  const record: Mutable<records.ItemPair> = {
    source: check.checkText('source', value['source']),
    queryId: check.checkId('queryId', value['queryId']),
    targetId: check.checkId('targetId', value['targetId']),
    eventTs: check.checkTs('eventTs', value['eventTs']),
  }
  if (isGiven(value['score'])) record.score = check.checkFinite('score', value['score'])
  return record
}

function historyChunk(value: Loose): records.HistoryChunk {
  return {
    userId: check.checkId('userId', value['userId']),
    chunk: check.checkInteger('chunk', value['chunk'], 0),
    events: check.checkList('events', value['events'], limits.history).map((entry) => {
      const event = entry as Loose
      return {
        itemId: check.checkId('events.itemId', event['itemId']),
        eventTs: check.checkTs('events.eventTs', event['eventTs']),
        behaviors: behaviorsOf(event['behaviors'], undefined),
      }
    }),
  }
}

function distillSample(value: Loose): records.DistillSample {
  const record: Mutable<records.DistillSample> = {
    kind: 'sample',
    source: check.checkText('source', value['source']),
    userId: check.checkId('userId', value['userId']),
    targetId: check.checkId('targetId', value['targetId']),
    eventTs: check.checkTs('eventTs', value['eventTs']),
    history: check.checkList('history', value['history'], limits.history).map((id) => check.checkId('history', id)),
  }
  if (isGiven(value['marks'])) {
    record.marks = bytesOf('marks', value['marks'])
    if (record.marks.length !== record.history.length) {
      throw check.invalid('marks', `are ${record.marks.length} for a history of ${record.history.length} items`)
    }
  }
  return record
}

function watermarkFrom(value: Loose): records.Watermark {
  const ts = value['watermarkTs'] as bigint
  return {
    kind: 'watermark',
    topic: check.checkText('topic', value['topic']),
    partition: check.checkInt32('partition', value['partition']),
    watermarkTs: ts === endMark ? Infinity : check.checkInteger('watermarkTs', Number(ts), check.leastInteger),
    next: check.checkOffset('next', value['next']),
  }
}

function watermarkTo({ topic, partition, watermarkTs, next }: records.Watermark): object {
  return {
    topic: check.checkText('topic', topic),
    partition: check.checkInt32('partition', partition),
    watermarkTs: watermarkTs === Infinity ? endMark : BigInt(check.checkInteger('watermarkTs', watermarkTs, check.leastInteger)),
    next: check.checkOffset('next', next),
  }
}

function itemFeature(value: Loose): records.ItemFeature {
  return {
    itemId: check.checkId('itemId', value['itemId']),
    view: check.checkText('view', value['view']),
    version: check.checkInteger('version', value['version'], 0),
    value: bytesOf('value', value['value']),
    ackedTs: check.checkTs('ackedTs', value['ackedTs']),
  }
}

function featureVersion(value: Loose): records.FeatureVersion {
  const action = value['action']
  if (action !== 'activate' && action !== 'rollback') throw check.invalid('action', 'is neither activate nor rollback')
  return {
    seq: check.checkInteger('seq', value['seq'], 0),
    version: check.checkInteger('version', value['version'], 0),
    action,
    at: check.checkTs('at', value['at']),
    commandId: check.checkText('commandId', value['commandId'], limits.idBytes, true),
    head: check.checkText('head', value['head'], limits.idBytes, true),
    codebook: check.checkText('codebook', value['codebook'], limits.idBytes, true),
    trainedUntil: check.checkTs('trainedUntil', value['trainedUntil']),
    teacherUntil: check.checkTs('teacherUntil', value['teacherUntil']),
    codebookUntil: check.checkTs('codebookUntil', value['codebookUntil']),
  }
}

function controlRecord(value: Loose): records.ControlRecord {
  return {
    kind: check.checkText('kind', value['kind']),
    id: check.checkText('id', value['id'], limits.idBytes, true),
    at: check.checkTs('at', value['at']),
    body: check.checkText('body', value['body'], limits.recordBytes, true),
  }
}

function artifactChunk(value: Loose): records.ArtifactChunk {
  const index = check.checkInt32('index', value['index'])
  const count = check.checkInt32('count', value['count'])
  if (index >= count) throw check.invalid('index', `is ${index} of ${count} chunks`)
  return {
    artifact: check.checkText('artifact', value['artifact'], limits.idBytes),
    part: check.checkText('part', value['part'], limits.idBytes),
    index,
    count,
    bytes: bytesOf('bytes', value['bytes']),
  }
}

function deadLetterFields(value: Loose): Omit<records.DeadLetter, 'headers'> {
  return {
    topic: check.checkText('topic', value['topic']),
    // A record that never reached its topic has no place there.
    partition: value['partition'] === -1 ? -1 : check.checkInt32('partition', value['partition']),
    offset: value['offset'] === -1n ? -1n : check.checkOffset('offset', value['offset']),
    timestamp: check.checkInteger('timestamp', value['timestamp'], check.leastInteger),
    key: isGiven(value['key']) ? bytesOf('key', value['key']) : null,
    value: isGiven(value['value']) ? bytesOf('value', value['value']) : null,
    code: check.checkText('code', value['code']),
    reason: check.checkText('reason', value['reason'], limits.recordBytes, true),
    at: check.checkTs('at', value['at']),
  }
}

function deadLetterFrom(value: Loose): records.DeadLetter {
  const headers = check.checkList('headers', value['headers'], limits.headers).map((entry) => {
    const header = entry as Loose
    return [check.checkText('headers.name', header['name'], limits.idBytes, true), bytesOf('headers.value', header['value'])] as const
  })
  return { ...deadLetterFields(value), headers }
}

function deadLetterTo(record: records.DeadLetter): object {
  const headers = check.checkList('headers', record.headers, limits.headers).map((entry) => {
    const [name, value] = entry as readonly [unknown, unknown]
    return { name: check.checkText('headers.name', name, limits.idBytes, true), value: bufferOf(check.checkBytes('headers.value', value)) }
  })
  const fields = deadLetterFields({ ...record })
  return { ...fields, key: fields.key && bufferOf(fields.key), value: fields.value && bufferOf(fields.value), headers }
}

/** Plain bytes for the record, without a copy. */
function bytesOf(field: string, value: unknown): Uint8Array {
  const bytes = check.checkBytes(field, value)
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The same bytes as avsc wants them, without a copy. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A mapping whose checked record is its own Avro value. */
function plain<R extends object>(schema: SchemaName, from: (value: Loose, expectations: DecodeExpectations) => R): RecordMapping<R> {
  return { schema, fromAvro: from, toAvro: (record) => from(record as unknown as Loose, nothing) }
}

/** One mapping per record type. */
export const mappings = {
  interaction: plain('interaction', interaction),
  itemContent: plain('item-content', itemContent),
  idEmbedding: plain('id-embedding', idEmbedding),
  itemPair: plain('item-pair', itemPair),
  historyChunk: plain('history-chunk', historyChunk),
  distillSample: {
    schema: 'distill-sample',
    fromAvro: distillSample,
    toAvro: (record) => {
      const { marks, ...fields } = distillSample(record as unknown as Loose)
      return { ...fields, marks: marks === undefined ? null : bufferOf(marks) }
    },
  } satisfies RecordMapping<records.DistillSample>,
  watermark: { schema: 'watermark', fromAvro: watermarkFrom, toAvro: watermarkTo } satisfies RecordMapping<records.Watermark>,
  itemFeature: {
    schema: 'item-feature',
    fromAvro: itemFeature,
    toAvro: (record) => {
      const checked = itemFeature(record as unknown as Loose)
      return { ...checked, value: bufferOf(checked.value) }
    },
  } satisfies RecordMapping<records.ItemFeature>,
  featureVersion: plain('feature-version', featureVersion),
  controlRecord: plain('control-record', controlRecord),
  artifactChunk: {
    schema: 'artifact-chunk',
    fromAvro: artifactChunk,
    toAvro: (record) => {
      const checked = artifactChunk(record as unknown as Loose)
      return { ...checked, bytes: bufferOf(checked.bytes) }
    },
  } satisfies RecordMapping<records.ArtifactChunk>,
  deadLetter: { schema: 'dead-letter', fromAvro: deadLetterFrom, toAvro: deadLetterTo } satisfies RecordMapping<records.DeadLetter>,
} as const
