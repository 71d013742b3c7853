import { deepStrictEqual, doesNotMatch, equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { isSidestreamError, SchemaRegistryClient } from '../../../schemas/index.ts'
import type { ErrorCode, RegistryConnection } from '../../../schemas/index.ts'
import { certificate } from '../../services/index.ts'
import { RegistryPeer } from './peer.ts'
import type { PeerOptions, Scripted } from './peer.ts'

const schema = { type: 'record', name: 'Click', fields: [{ name: 'userId', type: 'string' }] }
const other = { type: 'record', name: 'Click', fields: [] }

async function open(
  t: TestContext,
  connection: Partial<RegistryConnection> = {},
  options: PeerOptions = {},
): Promise<{ peer: RegistryPeer; client: SchemaRegistryClient }> {
  const peer = await RegistryPeer.open(t, options)
  const client = new SchemaRegistryClient({ url: peer.url, retryMs: 1, ...connection })
  t.after(() => client.close())
  return { peer, client }
}

function fails(code: ErrorCode, message: RegExp): (error: unknown) => true {
  return (error) => {
    ok(isSidestreamError(error), String(error))
    equal(error.code, code, error.message)
    match(error.message, message)
    return true
  }
}

test('a schema by id, with its kind and references, asked for once', async (t) => {
  const { peer, client } = await open(t)
  const references = [{ name: 'User', subject: 'users', version: 1 }]
  const id = peer.add('clicks-value', schema, { references })
  const expected = { kind: 'AVRO', text: JSON.stringify(schema), references }
  deepStrictEqual(await client.schema(id), expected)
  deepStrictEqual(await client.schema(id), expected)
  deepStrictEqual(peer.requests, [`GET /schemas/ids/${id}`])
})

test('who asks for what is being asked for waits for that answer', async (t) => {
  const { peer, client } = await open(t)
  const id = peer.add('clicks-value', schema)
  const all = await Promise.all(Array.from({ length: 20 }, () => client.schema(id)))
  equal(new Set(all).size, 1)
  equal(peer.requests.length, 1)
})

test('a failure is shared by those who wait, and forgotten', async (t) => {
  const { peer, client } = await open(t, { retries: 0 })
  const id = peer.add('clicks-value', schema)
  peer.next('cut')
  const both = await Promise.allSettled([client.schema(id), client.schema(id)])
  deepStrictEqual(
    both.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  ok((await client.schema(id)) !== undefined)
})

test('an id that the registry says it has not is undefined, and asked for again', async (t) => {
  const { peer, client } = await open(t)
  equal(await client.schema(1), undefined)
  peer.add('clicks-value', schema)
  ok((await client.schema(1)) !== undefined)
  equal(await client.version('clicks-value', 2), undefined)
  equal(await client.version('no-such', 1), undefined)
  equal(await client.latest('no-such'), undefined)
})

test('subject names are escaped', async (t) => {
  const { peer, client } = await open(t)
  peer.add('a/b c?-value', schema)
  deepStrictEqual(await client.latest('a/b c?-value'), { id: 1, version: 1 })
  deepStrictEqual(peer.requests, ['GET /subjects/a%2Fb%20c%3F-value/versions/latest'])
})

const passing: [string, Scripted][] = [
  ['the line is cut', 'cut'],
  ['the line is cut inside the answer', 'cut-inside'],
  ['status 500', { status: 500, body: { error_code: 50001, message: 'backend store' } }],
  ['status 503 and HTML', { status: 503, body: '<html>' }],
  ['status 429', { status: 429 }],
]
for (const [what, scripted] of passing) {
  test(`${what}: asked again, and again up to a bound`, async (t) => {
    const { peer, client } = await open(t, { retries: 2 })
    const id = peer.add('clicks-value', schema)
    peer.next(scripted, scripted)
    ok((await client.schema(id)) !== undefined)
    equal(peer.requests.length, 3)
    peer.next(scripted, scripted, scripted)
    await rejects(client.schema(99), fails('SIDESTREAM_REGISTRY_UNREACHABLE', /schema registry at http:\/\/127/))
    equal(peer.requests.length, 6)
  })
}

for (const scripted of ['hang', 'hang-inside'] as const) {
  test(`${scripted}: no answer in time is an error that says so`, async (t) => {
    const { peer, client } = await open(t, { retries: 0, timeoutMs: 50 })
    peer.next(scripted)
    await rejects(client.schema(1), fails('SIDESTREAM_REGISTRY_UNREACHABLE', /no answer within 50 ms/))
  })
}

test('nobody listens: unreachable, and reached when somebody does', async (t) => {
  const { peer, client } = await open(t, { retries: 1 })
  const id = peer.add('clicks-value', schema)
  await peer.down()
  await rejects(client.schema(id), fails('SIDESTREAM_REGISTRY_UNREACHABLE', /ECONNREFUSED/))
  await peer.up()
  ok((await client.schema(id)) !== undefined)
})

for (const [what, connection] of [
  ['basic', { username: 'reader', password: 'hunter2-secret' }],
  ['bearer', { token: 'hunter2-secret' }],
] as const) {
  test(`${what} credentials are sent, and shown in no message`, async (t) => {
    const authorization = what === 'basic' ? `Basic ${Buffer.from('reader:hunter2-secret').toString('base64')}` : 'Bearer hunter2-secret'
    const good = await open(t, connection, { authorization })
    ok((await good.client.schema(good.peer.add('clicks-value', schema))) !== undefined)
    const bad = await open(t, connection, { authorization: 'Bearer other' })
    await rejects(bad.client.schema(1), (error) => {
      fails('SIDESTREAM_REGISTRY_ACCESS_DENIED', /401.*username and password/)(error)
      doesNotMatch(JSON.stringify([(error as Error).message, (error as { details?: unknown }).details]), /hunter2|reader:/)
      return true
    })
    equal(bad.peer.requests.length, 1, 'wrong credentials are not tried again')
  })
}

const strange: [string, Scripted][] = [
  ['HTML with status 200', { status: 200, body: '<html>welcome</html>' }],
  ['JSON of another kind', { status: 200, body: { schema: 7 } }],
  ['a list', { status: 200, body: [] }],
  ['404 of a web server', { status: 404, body: '<html>not found</html>' }],
  ['404 of another service', { status: 404, body: { error_code: 404, message: 'HTTP 404 Not Found' } }],
  ['a redirect', { status: 302, headers: { location: 'http://127.0.0.1:1/' } }],
  ['status 400', { status: 400 }],
]
for (const [what, scripted] of strange) {
  test(`${what}: not a registry, which says nothing about the schema`, async (t) => {
    const { peer, client } = await open(t)
    peer.next(scripted)
    await rejects(client.schema(1), fails('SIDESTREAM_REGISTRY_ANSWER_INVALID', /schemaRegistry\.url/))
    equal(peer.requests.length, 1)
  })
}

test('an answer that is too large is not read to its end', async (t) => {
  const { peer, client } = await open(t, { answerBytes: 10_000 })
  peer.next({ status: 200, body: { schema: 'x'.repeat(1_000_000) } })
  equal(await client.schema(1), 'too-large')
  peer.next({ status: 200, body: { id: 'x'.repeat(1_000_000) } })
  await rejects(client.register('s', '{}'), fails('SIDESTREAM_REGISTRY_ANSWER_INVALID', /more than is taken/))
})

test('registering is done once; what does not fit is refused in the registry’s words', async (t) => {
  const { peer, client } = await open(t)
  const text = JSON.stringify(schema)
  equal(await client.register('clicks-value', text), 1)
  equal(await client.register('clicks-value', text), 1)
  equal(peer.requests.length, 1)
  deepStrictEqual(await client.lookup('clicks-value', text), { id: 1, version: 1 })
  equal(await client.lookup('clicks-value', JSON.stringify(other)), undefined)
  equal(await client.lookup('other-value', text), undefined)
  peer.frozen.add('clicks-value')
  await rejects(
    client.register('clicks-value', JSON.stringify(other)),
    fails('SIDESTREAM_SCHEMA_REFUSED', /clicks-value.*409.*incompatible/),
  )
  peer.next({ status: 422, body: { error_code: 42201, message: 'Invalid schema' } })
  await rejects(client.register('clicks-value', '{'), fails('SIDESTREAM_SCHEMA_REFUSED', /422: Invalid schema/))
})

test('compatibility: a subject without schemas takes all, another says why not', async (t) => {
  const { peer, client } = await open(t)
  deepStrictEqual(await client.compatibility('new-value', '{}'), { compatible: true, reasons: [] })
  peer.add('clicks-value', schema)
  deepStrictEqual(await client.compatibility('clicks-value', JSON.stringify(other)), { compatible: true, reasons: [] })
  peer.frozen.add('clicks-value')
  deepStrictEqual(await client.compatibility('clicks-value', JSON.stringify(other)), {
    compatible: false,
    reasons: ['reader field missing default value'],
  })
  peer.next({ status: 422, body: { error_code: 42201, message: 'Invalid schema' } })
  deepStrictEqual(await client.compatibility('clicks-value', '{'), { compatible: false, reasons: ['not a valid schema: Invalid schema'] })
  equal(await client.level(), 'BACKWARD')
})

test('a client that was closed asks for nothing more', async (t) => {
  const { peer, client } = await open(t, { retries: 5, retryMs: 10_000 })
  peer.next('cut')
  const waiting = rejects(client.schema(1), fails('SIDESTREAM_CLOSED', /closed/))
  while (peer.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
  client.close()
  await waiting
  equal(peer.requests.length, 1)
})

test('a certificate authority of your own: trusted when given, else the message says what to set', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-tls-'))
  t.after(() => rm(directory, { recursive: true }))
  const tls = await certificate(directory)
  const { peer, client } = await open(t, { ca: tls.ca }, { tls })
  ok((await client.schema(peer.add('clicks-value', schema))) !== undefined)
  const stranger = new SchemaRegistryClient({ url: peer.url, retries: 0 })
  t.after(() => stranger.close())
  await rejects(stranger.schema(1), fails('SIDESTREAM_REGISTRY_UNREACHABLE', /certificate is not trusted.*schemaRegistry\.caFile/))
  const plain = new SchemaRegistryClient({ url: peer.url.replace('https', 'http'), retries: 0 })
  t.after(() => plain.close())
  await rejects(plain.schema(1), fails('SIDESTREAM_REGISTRY_UNREACHABLE', /./))
})
