/** The client against a real registry: what the scripted one claims to be. Opt-in, see `test/services/apicurio.ts`. */
import { deepStrictEqual, equal, match, ok, rejects, throws } from 'node:assert/strict'
import { after, before, test } from 'node:test'

import {
  checkSubjects,
  Codec,
  isPoison,
  isSidestreamError,
  ownSubjects,
  registerSubjects,
  SchemaRegistryClient,
  topics,
  WriterSchemas,
} from '../../../schemas/index.ts'
import { ownRegistry, skipWithoutRegistry } from '../../services/index.ts'
import type { OwnRegistry } from '../../services/index.ts'
import { framed, written } from './framed.ts'

const skip = skipWithoutRegistry()
let registry: OwnRegistry
let client: SchemaRegistryClient

before(async () => {
  if (skip !== false) return
  registry = await ownRegistry()
  client = new SchemaRegistryClient({ url: registry.url })
})

after(async () => {
  client?.close()
  await registry?.close()
})

/** A request that the client has no method for. */
async function send(method: string, path: string, body: object): Promise<Record<string, unknown>> {
  const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' }
  const response = await fetch(`${registry.url}${path}`, { method, headers, body: JSON.stringify(body) })
  ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`)
  return (await response.json()) as Record<string, unknown>
}

const click = {
  type: 'record',
  name: 'Click',
  namespace: 'com.shop',
  fields: [
    { name: 'user_id', type: 'long' },
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'behaviors', type: { type: 'array', items: 'com.shop.Action' } },
  ],
}
const action = { type: 'enum', name: 'Action', namespace: 'com.shop', symbols: ['view', 'click'] }

test('our schemas are registered once, all of them, and found by look-up', { skip }, async () => {
  const subjects = ownSubjects(new Map(topics.map(({ name }) => [name, `mine.${name}`])))
  deepStrictEqual(new Set((await checkSubjects(client, subjects)).map(({ state }) => state)), new Set(['new']))
  const done = await registerSubjects(client, subjects)
  deepStrictEqual(new Set(done.map(({ state }) => state)), new Set(['registered']))
  deepStrictEqual(await registerSubjects(client, subjects), done)
  for (const { subject, text } of subjects) {
    const fresh = new SchemaRegistryClient({ url: registry.url })
    equal(await fresh.register(subject, text), done.find((one) => one.subject === subject)!.id, 'the same schema is the same id')
    fresh.close()
  }
})

test('records of another team are read by id, with references', { skip }, async (t) => {
  await client.register('action', JSON.stringify(action))
  const references = [{ name: 'com.shop.Action', subject: 'action', version: 1 }]
  const { id } = (await send('POST', '/subjects/clicks-value/versions', { schema: JSON.stringify(click), references })) as { id: number }
  const schemas = new WriterSchemas(new SchemaRegistryClient({ url: registry.url }))
  t.after(() => schemas.close())
  const value = written(id, click, { user_id: 2n ** 60n, item_id: 'i', ts: 5_000n, behaviors: ['click'] }, [action])
  await schemas.prepare([{ key: null, value }])
  deepStrictEqual(new Codec({ schemas }).decode('interactions', value), {
    userId: String(2n ** 60n),
    itemId: 'i',
    eventTs: 5,
    behaviors: ['click'],
  })
})

test('what is not there is said to be not there', { skip }, async (t) => {
  equal(await client.schema(999_999), undefined)
  equal(await client.version('nowhere', 1), undefined)
  equal(await client.version('action', 99), undefined)
  equal(await client.latest('nowhere'), undefined)
  equal(await client.lookup('nowhere', JSON.stringify(action)), undefined)
  deepStrictEqual(await client.compatibility('nowhere', JSON.stringify(action)), { compatible: true, reasons: [] })
  const schemas = new WriterSchemas(client)
  const value = framed(999_999, Buffer.from([0]))
  await schemas.prepare([{ key: null, value }])
  throws(
    () => new Codec({ schemas }).decode('interactions', value),
    (error) => isPoison(error) && /no schema with id 999999/.test(error.message),
  )
  const elsewhere = new SchemaRegistryClient({ url: registry.url.replace('/apis/ccompat/v7', ''), retries: 0 })
  t.after(() => elsewhere.close())
  await rejects(elsewhere.schema(1), (error) => isSidestreamError(error) && error.code === 'SIDESTREAM_REGISTRY_ANSWER_INVALID')
})

test('a schema of another kind is refused with its kind', { skip }, async () => {
  const jsonSchema = '{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}'
  const { id } = (await send('POST', '/subjects/json-value/versions', { schema: jsonSchema, schemaType: 'JSON' })) as {
    id: number
  }
  const schemas = new WriterSchemas(client)
  await schemas.prepare([{ key: null, value: framed(id, Buffer.from([0])) }])
  throws(() => schemas.find(id), /of type JSON; only AVRO is read/)
})

test('what is no schema, and what is not compatible, is refused', { skip }, async () => {
  const refused = (pattern: RegExp) => (error: unknown) => {
    ok(isSidestreamError(error), String(error))
    equal(error.code, 'SIDESTREAM_SCHEMA_REFUSED', error.message)
    match(error.message, pattern)
    return true
  }
  await rejects(client.register('broken-value', '{"type":"recor"}'), refused(/422/))
  await send('PUT', '/config', { compatibility: 'BACKWARD' })
  equal(await client.level(), 'BACKWARD')
  const schema = (fields: object[]): string => JSON.stringify({ type: 'record', name: 'Order', fields })
  const first = await client.register('orders-value', schema([]))
  const needs = schema([{ name: 'total', type: 'double' }])
  // Apicurio gives its reasons only when it refuses to register.
  deepStrictEqual(await client.compatibility('orders-value', needs), { compatible: false, reasons: [] })
  await rejects(client.register('orders-value', needs), refused(/409: .*total at \/fields\/0/))
  const may = schema([{ name: 'total', type: 'double', default: 0 }])
  deepStrictEqual(await client.compatibility('orders-value', may), { compatible: true, reasons: [] })
  const second = await client.register('orders-value', may)
  ok(second !== first)
  deepStrictEqual(await client.latest('orders-value'), { id: second, version: 2 })
  deepStrictEqual(await client.lookup('orders-value', schema([])), { id: first, version: 1 })
})
