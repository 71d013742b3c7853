import { deepStrictEqual, equal, match, ok, rejects, throws } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { isPoison, isSidestreamError, limits, SchemaRegistryClient, WriterSchemas } from '../../../schemas/index.ts'
import type { RegistryConnection } from '../../../schemas/index.ts'
import { BoundedCache } from '../../../schemas/registry/bounded-cache.ts'
import { framed } from './framed.ts'
import { RegistryPeer } from './peer.ts'

const click = { type: 'record', name: 'Click', fields: [{ name: 'userId', type: 'string' }] }

interface Opened {
  readonly peer: RegistryPeer
  readonly schemas: WriterSchemas
  readonly time: { now: number }
}

async function open(t: TestContext, connection: Partial<RegistryConnection> = {}): Promise<Opened> {
  const peer = await RegistryPeer.open(t)
  const time = { now: 0 }
  const schemas = new WriterSchemas(new SchemaRegistryClient({ url: peer.url, retries: 0, ...connection }), {
    unknownMs: 1000,
    clock: () => time.now,
  })
  t.after(() => schemas.close())
  return { peer, schemas, time }
}

interface Row {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}

const row = (id: number): Row => ({ key: null, value: framed(id, Buffer.from([0])) })

/** Why an id cannot be used. */
function refusal(schemas: WriterSchemas, id: number): string {
  try {
    schemas.find(id)
  } catch (error) {
    ok(isPoison(error), String(error))
    equal(error.code, 'SIDESTREAM_RECORD_SCHEMA_UNKNOWN')
    return error.message
  }
  throw new Error(`schema ${id} can be used`)
}

test('a batch asks for each id once, whatever its records, and the next batch for none', async (t) => {
  const { peer, schemas } = await open(t)
  peer.add('a-value', click)
  peer.add('b-value', '"string"')
  const own = { key: null, value: Buffer.from([0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]) }
  const batch = [
    row(1),
    own,
    row(2),
    row(1),
    { key: null, value: null },
    row(2),
    row(0),
    row(-5),
    { key: null, value: Buffer.from([0, 0]) },
  ]
  await schemas.prepare(batch)
  deepStrictEqual(peer.requests.toSorted(), ['GET /schemas/ids/1', 'GET /schemas/ids/2'])
  await schemas.prepare(batch)
  await schemas.prepare([...batch].reverse())
  equal(peer.requests.length, 2)
  equal(schemas.find(1).type.name, 'Click')
  equal(schemas.find(2).type.typeName, 'string')
})

test('two lanes with the same unknown id ask once', async (t) => {
  const { peer, schemas } = await open(t)
  peer.add('a-value', click)
  await Promise.all([schemas.prepare([row(1)]), schemas.prepare([row(1)]), schemas.prepare([row(1)])])
  equal(peer.requests.length, 1)
})

test('the key of a tombstone is prepared, that of another record is not', async (t) => {
  const { peer, schemas } = await open(t)
  peer.add('a-key', '"string"')
  peer.add('a-value', click)
  await schemas.prepare([{ key: framed(1, Buffer.from([2, 97])), value: null }])
  await schemas.prepare([{ key: framed(9, Buffer.from([2, 97])), value: row(2).value }])
  deepStrictEqual(peer.requests, ['GET /schemas/ids/1', 'GET /schemas/ids/2'])
})

test('an unknown id is poison; the answer is believed for a while, then asked for again', async (t) => {
  const { peer, schemas, time } = await open(t)
  await schemas.prepare([row(1)])
  match(refusal(schemas, 1), /schema id 1 .*the registry has no schema with id 1/)
  time.now = 999
  await schemas.prepare([row(1)])
  equal(peer.requests.length, 1)
  peer.add('a-value', click)
  time.now = 1000
  await schemas.prepare([row(1)])
  equal(schemas.find(1).type.name, 'Click')
})

test('records that are tried again ask at once', async (t) => {
  const { peer, schemas } = await open(t)
  await schemas.prepare([row(1)])
  peer.add('a-value', click)
  const retried = row(1)
  await schemas.prepare([row(1), retried], { again: (record) => record === retried })
  equal(schemas.find(1).type.name, 'Click')
  await schemas.prepare([retried], { again: () => true })
  equal(peer.count('/schemas/ids/1'), 2, 'what is known stays known')
})

test('a registry that cannot be reached refuses nothing: the batch is to be tried again', async (t) => {
  const { peer, schemas } = await open(t)
  peer.add('a-value', click)
  await peer.down()
  await rejects(schemas.prepare([row(1)]), (error) => isSidestreamError(error) && error.class === 'retryable')
  throws(
    () => schemas.find(1),
    (error) => isSidestreamError(error) && error.code === 'SIDESTREAM_REGISTRY_UNREACHABLE',
  )
  await peer.up()
  await schemas.prepare([row(1)])
  equal(schemas.find(1).type.name, 'Click')
})

test('a failure while references are fetched refuses nothing either', async (t) => {
  const { peer, schemas } = await open(t)
  peer.add('user', { type: 'record', name: 'User', fields: [] })
  peer.add(
    'a-value',
    { type: 'record', name: 'A', fields: [{ name: 'u', type: 'User' }] },
    { references: [{ name: 'User', subject: 'user', version: 1 }] },
  )
  peer.next(
    {
      status: 200,
      body: {
        schema: '{"type":"record","name":"A","fields":[{"name":"u","type":"User"}]}',
        references: [{ name: 'User', subject: 'user', version: 1 }],
      },
    },
    'cut',
  )
  await rejects(schemas.prepare([row(2)]), (error) => isSidestreamError(error) && error.class === 'retryable')
  await schemas.prepare([row(2)])
  equal(schemas.find(2).type.name, 'A')
})

test('who stops waits no longer', async (t) => {
  const { peer, schemas } = await open(t)
  peer.next('hang')
  const stop = new AbortController()
  const waiting = rejects(schemas.prepare([row(1)], { signal: stop.signal }), /stopped/)
  while (peer.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
  stop.abort(new Error('stopped'))
  await waiting
  await rejects(schemas.prepare([row(2)], { signal: stop.signal }), /stopped/)
})

test('without a registry nothing is asked, and the message names the option', async () => {
  const schemas = new WriterSchemas()
  equal(schemas.configured, false)
  await schemas.prepare([row(7)])
  match(refusal(schemas, 7), /schema id 7.*set schemaRegistry\.url/)
})

test('ids that no registry gives are not asked for', async (t) => {
  const { peer, schemas } = await open(t)
  await schemas.prepare([row(0), row(-1), row(-0x80000000)])
  deepStrictEqual(peer.requests, [])
  match(refusal(schemas, -1), /which no registry gives/)
})

/** A chain of records, each with a field of the next. */
function addChain(peer: RegistryPeer, length: number): number {
  let id = 0
  for (let i = length; i >= 0; i--) {
    const references = i === length ? [] : [{ name: `C${i + 1}`, subject: `c${i + 1}`, version: 1 }]
    const fields = references.map(({ name }) => ({ name: 'next', type: name }))
    id = peer.add(`c${i}`, { type: 'record', name: `C${i}`, fields }, { references })
  }
  return id
}

test('references are fetched with what they refer to, shared ones once', async (t) => {
  const { peer, schemas } = await open(t)
  peer.add('id', { type: 'record', name: 'Id', namespace: 'shop', fields: [{ name: 'value', type: 'long' }] })
  const toId = { name: 'shop.Id', subject: 'id', version: 1 }
  const party = (name: string): object => ({ type: 'record', name, namespace: 'shop', fields: [{ name: 'id', type: 'shop.Id' }] })
  peer.add('user', party('User'), { references: [toId] })
  peer.add('item', party('Item'), { references: [toId] })
  const fields = [
    { name: 'user', type: 'shop.User' },
    { name: 'item', type: 'shop.Item' },
  ]
  const references = [{ name: 'shop.User', subject: 'user', version: 1 }, { name: 'shop.Item', subject: 'item', version: 1 }, toId]
  const id = peer.add('seen', { type: 'record', name: 'Seen', fields }, { references })
  await schemas.prepare([row(id)])
  equal(schemas.find(id).type.name, 'Seen')
  equal(peer.count('/subjects/id/versions/1'), 1)
})

test('schemas that cannot be used are refused with the reason, for a while', async (t) => {
  const { peer, schemas } = await open(t, { answerBytes: 2 * limits.schemaCharacters })
  const long = (characters: number): object => ({ ...click, doc: 'x'.repeat(characters) })
  const deep = JSON.parse(`${'{"type":'.repeat(300)}"string"${'}'.repeat(300)}`) as object
  const refers = (subject: string, version = 1): object => ({ references: [{ name: 'User', subject, version }] })
  const using = { type: 'record', name: 'Using', fields: [{ name: 'user', type: 'User' }] }
  peer.add('big', long(limits.schemaCharacters - 200))
  const cases: [number, RegExp][] = [
    [peer.add('json', '{}', { schemaType: 'JSON' }), /of type JSON; only AVRO is read/],
    [peer.add('proto', 'syntax = "proto3";', { schemaType: 'PROTOBUF' }), /of type PROTOBUF/],
    [peer.add('text', 'not json'), /its text is not JSON/],
    [peer.add('no-avro', '{"type":"recor"}'), /it is no Avro schema: .*recor/],
    [peer.add('no-name', '"constructor"'), /undefined type name/],
    [peer.add('long', long(limits.schemaCharacters)), /more than 1000000 characters/],
    [peer.add('longer', long(3 * limits.schemaCharacters)), /more than 1000000 characters/],
    [peer.add('deep', deep), /nested deeper/],
    [peer.add('gone', { ...using, doc: '1' }, refers('nowhere')), /its reference User \(nowhere version 1\) is not in the registry/],
    [peer.add('gone-too', { ...using, doc: '2' }, refers('big', 2)), /big version 2/],
    [peer.add('both', { ...using, doc: '3'.repeat(1000) }, refers('big')), /with its references, more than/],
    [peer.add('mixed', { ...using, doc: '4' }, refers('proto')), /PROTOBUF/],
    [addChain(peer, limits.schemaReferenceDepth + 1), /nested deeper than 16/],
    [peer.add('self', { ...using, doc: '5' }, refers('self')), /it is no Avro schema/],
  ]
  const many = Array.from({ length: limits.schemaReferences + 1 }, (_, i) => {
    peer.add(`m${i}`, { type: 'record', name: `M${i}`, fields: [] })
    return { name: `M${i}`, subject: `m${i}`, version: 1 }
  })
  cases.push([peer.add('many', { ...using, doc: '6' }, { references: many }), /more than 64 schemas/])
  for (const [id, reason] of cases) {
    await schemas.prepare([row(id)])
    match(refusal(schemas, id), reason)
  }
  const asked = peer.requests.length
  await schemas.prepare(cases.map(([id]) => row(id)))
  equal(peer.requests.length, asked)
})

test('the longest chain of references that is allowed works', async (t) => {
  const { peer, schemas } = await open(t)
  const id = addChain(peer, limits.schemaReferenceDepth)
  await schemas.prepare([row(id)])
  equal(schemas.find(id).type.name, 'C0')
})

test('a bounded cache forgets what was not used for longest, by number and by weight', () => {
  const byNumber = new BoundedCache<string, number>(2)
  byNumber.set('a', 1)
  byNumber.set('b', 2)
  byNumber.get('a')
  byNumber.set('c', 3)
  deepStrictEqual([byNumber.get('a'), byNumber.get('b'), byNumber.get('c')], [1, undefined, 3])
  byNumber.peek('a')
  byNumber.set('d', 4)
  deepStrictEqual([byNumber.get('a'), byNumber.size], [undefined, 2])
  const byWeight = new BoundedCache<string, number>(100, 10)
  byWeight.set('a', 1, 6)
  byWeight.set('a', 2, 5)
  byWeight.set('b', 3, 5)
  equal(byWeight.size, 2)
  byWeight.set('c', 4, 1)
  deepStrictEqual([byWeight.get('a'), byWeight.get('b'), byWeight.get('c')], [undefined, 3, 4])
  byWeight.set('d', 5, 11)
  equal(byWeight.size, 0)
})
