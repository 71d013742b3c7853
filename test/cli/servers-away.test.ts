/** Servers that are away, or do not let us in, as whoever runs the platform sees it: by what the processes say and how they end. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { certificate, freePorts, ownRedis, securedBroker, skipWithoutBroker, skipWithoutRedisServer } from '../services/index.ts'
import type { OwnRedis, SecuredBroker } from '../services/index.ts'
import { run, runJson, start } from './command.ts'
import type { Ended } from './command.ts'
import { writeConfig } from './shop.ts'
import { nodeOptions, running } from '../checkout.ts'

const skip = (await skipWithoutBroker()) || (await skipWithoutRedisServer())
const options = { skip, timeout: 240_000 }
const script = fileURLToPath(running(new URL('../../examples/small-shop/make-files.ts', import.meta.url)))
const redisPassword = 'redis-secret-9f2c'
const wrongPassword = 'no-such-secret-41aa'

let home = ''
let broker: SecuredBroker
/** Without a password, and with data that outlives it. */
let redis: OwnRedis
/** With TLS and a user of its own. */
let guarded: OwnRedis

before(async () => {
  if (skip !== false) return
  home = await mkdtemp(join(tmpdir(), 'sidestream-away-'))
  const acl = ['user default off', `user ann on >${redisPassword} ~* &* +@all`]
  ;[broker, redis, guarded] = await Promise.all([securedBroker(), ownRedis({ persistent: true }), ownRedis({ tls: true, config: acl })])
  const { caFile } = await certificate(home)
  await promisify(execFile)('cp', [caFile, join(home, 'stranger.pem')])
  await writeFile(join(home, 'kafka.pem'), broker.ca)
  await writeFile(join(home, 'redis.pem'), guarded.ca!)
  await promisify(execFile)(process.execPath, [...nodeOptions, script, home])
})

after(async () => {
  await Promise.all([broker?.close(), redis?.close(), guarded?.close()])
  await rm(home, { recursive: true, force: true })
})

/** Writes a configuration whose groups `log.kafka` and `store.redis` are these, in YAML. */
async function configure(name: string, kafka: string, store: string): Promise<void> {
  await writeConfig(home, name, {
    'project: shop': `project: ${name.replace(/\..*/, '')}`,
    'dataDir: ./data': `dataDir: ./data-${name}`,
    'log: { partitions: 2 }':
      `log: { driver: kafka, partitions: 2, kafka: { sessionTimeoutMs: 6000, fetchWaitMs: 100, ${kafka} } }\n` +
      `store: { driver: redis, redis: { commandTimeoutMs: 500, ${store} } }`,
  })
}

const plainKafka = (): string => `brokers: ['${broker.brokers[0]}']`
const plainRedis = (): string => `nodes: ['${redis.host}:${redis.port}']`
const all = ({ stdout, stderr }: Ended): string => `${stdout}${stderr}`

test('both down at the start and later: what is waited for is said, and all goes on without a restart', options, async (t) => {
  await configure('sidestream.yaml', plainKafka(), plainRedis())
  strictEqual((await run(['doctor', '--create-topics', '--apply'], home)).code, 0)
  await Promise.all([broker.server.kill(), redis.server.kill()])
  const daemon = start(['run'], home)
  t.after(() => daemon.child.kill('SIGKILL'))
  await daemon.says(`waiting: cannot reach Kafka at ${broker.brokers[0]}: nothing listens there; given up after 60 s`)
  await broker.server.start()
  await daemon.says(`waiting: redis at ${redis.host}:${redis.port} cannot be used now: nothing listens there; given up after 60 s`)
  await redis.server.start()
  await daemon.says('"msg":"running"')
  const files = ['--content', 'content.parquet', '--interactions', 'interactions.csv', '--end']
  ok(Number((await runJson(['import', ...files], home))['appended']) > 1000)
  await daemon.says('version 1 is live')

  await redis.server.kill()
  const refresh = start(['refresh', '--wait', '120', '--json'], home)
  await daemon.says('"code":"SIDESTREAM_STORE_UNREACHABLE"')
  await redis.server.start()
  const refreshed = await refresh.ended
  deepStrictEqual([refreshed.code, (JSON.parse(refreshed.stdout) as { version: number }).version], [0, 2], all(refreshed))

  await broker.server.kill()
  const rollback = start(['versions', 'rollback', '--wait', '120', '--json'], home)
  await rollback.says(`waiting: cannot reach Kafka at ${broker.brokers[0]}`)
  await broker.server.start()
  const back = await rollback.ended
  deepStrictEqual([back.code, (JSON.parse(back.stdout) as { version: number }).version], [0, 1], all(back))
  daemon.child.kill('SIGTERM')
  strictEqual((await daemon.ended).code, 0)
})

test('down for good: the address, what to do, exit code 1; what needs the other server alone works', options, async () => {
  const [port] = await freePorts(1)
  const away = `127.0.0.1:${port}`
  await configure('no-kafka.yaml', `brokers: ['${away}'], connectTimeoutMs: 300`, plainRedis())
  await configure('no-redis.yaml', plainKafka(), `nodes: ['${away}'], connectTimeoutMs: 300`)
  const call = (config: string) => (args: string) => run([...args.split(' '), '--config', config], home)
  const isTold = (ended: Ended, group: string, list: string): void => {
    strictEqual(ended.code, 1, all(ended))
    match(all(ended), new RegExp(`${away}\\b.*: nothing listens there; given up after .*start it.*options: ${group}\\.${list}`))
  }
  for (const ended of await Promise.all(['run', 'doctor', 'dead-letters list'].map(call('no-kafka.yaml')))) {
    isTold(ended, 'log\\.kafka', 'brokers')
  }
  for (const ended of await Promise.all(['run', 'doctor', 'versions list'].map(call('no-redis.yaml')))) {
    isTold(ended, 'store\\.redis', 'nodes')
  }
  strictEqual((await call('no-kafka.yaml')('versions list')).code, 0)
  match((await call('no-redis.yaml')('dead-letters list')).stdout, /no dead letters/)
})

test('a signal while servers are waited for ends the daemon at once, with 0', options, async () => {
  const [port] = await freePorts(1)
  await configure('never.yaml', `brokers: ['127.0.0.1:${port}']`, plainRedis())
  const daemon = start(['run', '--config', 'never.yaml'], home)
  await daemon.says('waiting: cannot reach Kafka')
  daemon.child.kill('SIGTERM')
  const { code, stdout } = await daemon.ended
  deepStrictEqual([code, stdout], [0, 'stopped while it waited for its servers\n'])
})

test('a wrong password and an unknown authority: told at once with the option to mend, and no password anywhere', options, async (t) => {
  const { username, password } = broker.users['scram-sha-256']
  const kafka = (changes = ''): string =>
    `brokers: ['${broker.saslSsl}'], tls: true, sasl: scram-sha-256, username: ${username}, ${changes || 'caFile: kafka.pem'}`
  const store = (changes = ''): string =>
    `nodes: ['${guarded.host}:${guarded.port}'], tls: true, username: ann, ${changes || 'caFile: redis.pem'}`
  await configure('good.yaml', kafka(), store())
  await configure('kafka-stranger.yaml', kafka('caFile: stranger.pem'), store())
  await configure('redis-stranger.yaml', kafka(), store('caFile: stranger.pem'))
  await configure(
    'names.yaml',
    kafka('caFile: kafka.pem, servername: kafka.example'),
    store('caFile: redis.pem, servername: redis.example'),
  )
  await configure('open.yaml', plainKafka(), plainRedis())
  const secrets = { SIDESTREAM_KAFKA_PASSWORD: password, SIDESTREAM_REDIS_PASSWORD: redisPassword }
  const call = (args: string, changes: Readonly<Record<string, string>> = {}) => run(args.split(' '), home, { ...secrets, ...changes })
  /** They end with these codes, say it, and no password in any form. */
  const areTold = async (calls: readonly Promise<Ended>[], codes: readonly number[], ...says: readonly RegExp[]): Promise<void> => {
    const ends = await Promise.all(calls)
    deepStrictEqual(
      ends.map(({ code }) => code),
      codes,
      ends.map(all).join('\n'),
    )
    for (const ended of ends) {
      for (const words of says) match(all(ended), words)
      for (const secret of [password, redisPassword, wrongPassword].map((text) => Buffer.from(text))) {
        for (const form of ['utf8', 'base64', 'hex'] as const) ok(!all(ended).includes(secret.toString(form)), all(ended))
      }
    }
  }
  const daemon = 'run --log-level debug --config'

  await t.test('a wrong password of Kafka', () => {
    const wrong = { SIDESTREAM_KAFKA_PASSWORD: wrongPassword }
    const calls = [`${daemon} good.yaml`, 'dead-letters list --json --config good.yaml', 'doctor --config good.yaml']
    const says = new RegExp(`Kafka at ${broker.saslSsl}: the brokers refused the login.*SIDESTREAM_KAFKA_PASSWORD\\)`)
    return areTold(
      calls.map((args) => call(args, wrong)),
      [1, 1, 1],
      says,
    )
  })

  await t.test('a wrong password of Redis', () => {
    const wrong = { SIDESTREAM_REDIS_PASSWORD: wrongPassword }
    const calls = [`${daemon} good.yaml`, 'versions list --json --config good.yaml', 'doctor --config good.yaml']
    const says = new RegExp(`redis at 127.0.0.1:${guarded.port} does not accept the user name and password.*SIDESTREAM_REDIS_PASSWORD\\)`)
    return areTold(
      calls.map((args) => call(args, wrong)),
      [1, 1, 1],
      says,
    )
  })

  await t.test('unknown authorities and other names', async () => {
    const kafkaStranger = /Kafka at .*: the certificate of the broker is not trusted .*log\.kafka\.caFile/
    const redisStranger = /the certificate of redis at .* is not trusted .*store\.redis\.caFile/
    const kafkaName = /Kafka at .*: the certificate of the broker is made for another name .*log\.kafka\.servername/
    const redisName = /the certificate of redis at .* is made for another name .*store\.redis\.servername/
    await areTold([call(`${daemon} kafka-stranger.yaml`), call('dead-letters list --config kafka-stranger.yaml')], [2, 2], kafkaStranger)
    await areTold([call(`${daemon} redis-stranger.yaml`), call('doctor --config redis-stranger.yaml')], [2, 1], redisStranger)
    await areTold([call('doctor --config names.yaml')], [1], kafkaName, redisName)
  })

  await t.test('what is right is let in; a password that is not asked for is told in our words', async () => {
    await areTold([call('versions list --config good.yaml')], [0])
    const open = run([...daemon.split(' '), 'open.yaml', '--until-idle'], home, { SIDESTREAM_REDIS_PASSWORD: redisPassword })
    await areTold([open], [0], /"level":40.*redis at .* asks for no password, though one is configured/)
    for (const line of (await open).stderr.trim().split('\n')) ok(line.startsWith('{'), `a line that is not ours: ${line}`)
  })
})
