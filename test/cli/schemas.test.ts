/** `sidestream schemas` against a registry: what it has, what would be registered, and registering it. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'

import { Codec, SchemaRegistryClient, topics, WriterSchemas } from '../../schemas/index.ts'
import { framed } from '../schemas/registry/framed.ts'
import { RegistryPeer } from '../schemas/registry/peer.ts'
import { run, runFailing, runJson } from './command.ts'
import { writeConfig } from './shop.ts'

let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-cli-'))
  await writeConfig(home)
})

after(() => rm(home, { recursive: true, force: true }))

interface Line {
  readonly subject: string
  readonly record: string
  readonly state: string
  readonly id: number | null
  readonly version: number | null
}

/** A registry, and a configuration named after the test that points there. */
async function open(t: TestContext, name: string): Promise<{ peer: RegistryPeer; config: string }> {
  const peer = await RegistryPeer.open(t)
  const config = `${name}.yaml`
  await writeConfig(home, config, { 'interactions:': `schemaRegistry: { url: '${peer.url}', timeoutMs: 2000 }\ninteractions:` })
  return { peer, config }
}

async function lines(args: readonly string[], code = 0): Promise<Line[]> {
  return (await runJson(['schemas', ...args], home, code))['subjects'] as Line[]
}

test('register shows what it would do, does it with --apply, and once', async (t) => {
  const { peer, config } = await open(t, 'register')
  const planned = await lines(['register', '--config', config])
  deepStrictEqual(new Set(planned.map(({ state }) => state)), new Set(['new']))
  strictEqual(planned.length, topics.length + 1, 'one per topic, and the watermark of distill-samples')
  for (const { name } of topics) ok(planned.some(({ subject }) => subject === `${name}-value`))
  ok(planned.some(({ subject }) => subject === 'distill-samples-sidestream.Watermark'))
  strictEqual(peer.requests.filter((request) => /^POST .*\/versions$/.test(request)).length, 0)
  const { stdout } = await run(['schemas', 'register', '--config', config], home)
  match(stdout, /would register 12; do it with --apply/)

  const done = await lines(['register', '--apply', '--config', config])
  deepStrictEqual(new Set(done.map(({ state, version }) => `${state} ${version}`)), new Set(['registered 1']))
  deepStrictEqual(await lines(['check', '--config', config]), done)
  deepStrictEqual(await lines(['register', '--apply', '--config', config]), done)

  // What was registered reads what we write.
  const client = new SchemaRegistryClient({ url: peer.url })
  const schemas = new WriterSchemas(client)
  t.after(() => schemas.close())
  const interaction = { userId: 'u', itemId: 'i', eventTs: 1, behaviors: ['click'] }
  const codec = new Codec({ schemas })
  const value = framed(
    done.find(({ subject }) => subject === 'interactions-value')!.id!,
    codec.encode('interactions', interaction).subarray(10),
  )
  await schemas.prepare([{ key: null, value }])
  deepStrictEqual(codec.decode('interactions', value), interaction)
})

test('what is not compatible ends with 3, and then nothing is registered', async (t) => {
  const { peer, config } = await open(t, 'incompatible')
  peer.add('interactions-value', { type: 'record', name: 'Other', fields: [] })
  peer.frozen.add('interactions-value')
  const found = await lines(['check', '--config', config], 3)
  deepStrictEqual(
    found.filter(({ state }) => state !== 'new').map(({ subject, state }) => `${subject} ${state}`),
    ['interactions-value incompatible'],
  )
  await lines(['register', '--config', config], 3)
  const error = await runFailing(['schemas', 'register', '--apply', '--config', config], home, 3)
  strictEqual(error.code, 'SIDESTREAM_SCHEMA_REFUSED')
  match(error.message, /nothing was registered.*interactions-value \(reader field missing default value\)/)
  ok(!peer.requests.some((request) => /^POST .*\/versions$/.test(request)))
  const elsewhere = await lines(['check', '--topic', 'interactions', '--subject-prefix', 'mine.', '--config', config])
  deepStrictEqual(
    elsewhere.map(({ subject, state }) => `${subject} ${state}`),
    ['mine.interactions-value new'],
  )
})

test('without a registry, and without the one that is configured', async (t) => {
  const none = await runFailing(['schemas', 'check'], home, 2)
  strictEqual(none.code, 'SIDESTREAM_CONFIG_INVALID')
  match(none.message, /set schemaRegistry\.url/)
  match((await runFailing(['schemas', 'check', '--topic', 'clicks'], home, 2)).message, /no topic "clicks"; there are interactions/)
  const { peer, config } = await open(t, 'away')
  const good = await runJson(['doctor', '--config', config], home)
  match(JSON.stringify(good), /"schema registry","ok":true,"message":"[^"]* answers; its compatibility level is BACKWARD/)
  await peer.down()
  strictEqual((await runFailing(['schemas', 'check', '--config', config], home, 1)).code, 'SIDESTREAM_REGISTRY_UNREACHABLE')
  match(JSON.stringify(await runJson(['doctor', '--config', config], home, 1)), /"schema registry","ok":false.*cannot be reached/)
})
