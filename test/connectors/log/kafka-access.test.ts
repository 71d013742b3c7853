/** Logins and certificates: what works, and what is said when something does not. */
import { deepStrictEqual, doesNotMatch, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { inspect } from 'node:util'

import { openKafkaLog } from '../../../connectors/index.ts'
import type { KafkaLogOptions, LogDriver } from '../../../connectors/index.ts'
import type { SidestreamError } from '../../../schemas/index.ts'
import { certificate, securedBroker, skipWithoutBroker } from '../../services/index.ts'
import type { SecuredBroker } from '../../services/index.ts'
import { collect, gate, record, values } from '../../contract/log-fixture.ts'
import { bareKafka, freshName, quickSettings } from './kafka-bench.ts'

const skip = await skipWithoutBroker()
const options = { skip, timeout: 60_000 }
let broker: SecuredBroker
before(async () => {
  if (skip !== false) return
  const authorizer = { 'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer' }
  broker = await securedBroker({ properties: { ...authorizer, 'super.users': 'User:ANONYMOUS;User:alice;User:carol' } })
})
after(() => broker?.close())

type Mechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512'

function open(changes: Partial<KafkaLogOptions>): Promise<LogDriver> {
  return openKafkaLog({ ...quickSettings, brokers: [broker.saslSsl], ssl: { ca: broker.ca }, sasl: login('scram-sha-256'), ...changes })
}

const login = (mechanism: Mechanism) => ({ mechanism, ...broker.users[mechanism] })

for (const mechanism of ['scram-sha-256', 'plain'] as const) {
  test(`${mechanism} over TLS: topics, sends and groups`, options, async (t) => {
    const log = await open({ sasl: login(mechanism) })
    t.after(() => log.close())
    const topic = freshName('secured')
    await (await log.admin()).createTopics([{ name: topic, partitions: 1 }])
    const producer = await log.producer()
    await producer.send(topic, 0, [record('k', mechanism)])
    deepStrictEqual(values((await collect(log, { group: topic, topics: [topic] }, 1)).records), [mechanism])
  })
}

test('a wrong password is told at once, and is not in what is told', options, async () => {
  const [from, said] = [Date.now(), [] as unknown[]]
  const logger = { debug: (...parts: unknown[]) => void said.push(parts), warn: (...parts: unknown[]) => void said.push(parts) }
  for (const mechanism of ['scram-sha-256', 'scram-sha-512', 'plain'] as const) {
    const sasl = { ...login(mechanism), password: 'no-such-secret' }
    await rejects(open({ sasl, logger, connectTimeoutMs: 50_000 }), (error: SidestreamError) => {
      strictEqual(error.code, 'SIDESTREAM_LOG_ACCESS_DENIED')
      match(error.message, /cannot reach Kafka at .*user name, password and mechanism/)
      doesNotMatch(inspect([error, said], { depth: 20, showHidden: true }), /no-such-secret/)
      return true
    })
  }
  ok(Date.now() - from < 40_000)
})

test('certificates: an unknown authority, none at all, and a port without TLS', options, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sidestream-ca-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const other = await certificate(directory)
  for (const ssl of [{ ca: other.ca }, {}]) {
    await rejects(open({ ssl }), { code: 'SIDESTREAM_CONFIG_INVALID', message: /certificate of the broker is not trusted .*\(ca\)/ })
  }
  await (await open({ ssl: { ca: broker.ca, servername: 'localhost' } })).close()
  const named = { ca: broker.ca, servername: 'kafka.example' }
  await rejects(open({ ssl: named }), { code: 'SIDESTREAM_CONFIG_INVALID', message: /made for another name.*\(servername\)/ })
  const soon = { connectTimeoutMs: 500 } // a broker that goes away looks the same, so it is waited for
  await rejects(open({ ...soon, brokers: [broker.saslPlaintext] }), { code: 'SIDESTREAM_LOG_UNAVAILABLE', message: /does not speak TLS/ })
  await rejects(open({ ssl: undefined }), { code: 'SIDESTREAM_CONFIG_INVALID', message: /speaks TLS/ })
})

test('a login where none is wanted, and none where one is', options, async () => {
  const soon = { ssl: undefined, connectTimeoutMs: 500 }
  await rejects(open({ ...soon, brokers: broker.brokers }), { code: 'SIDESTREAM_LOG_ACCESS_DENIED', message: /another way to log in/ })
  await rejects(open({ ...soon, brokers: [broker.saslPlaintext], sasl: undefined }), {
    code: 'SIDESTREAM_LOG_UNAVAILABLE',
    message: /expects a login/,
  })
})

test('a user without rights: every part says which right is missing, and works once it is granted', options, async (t) => {
  const topic = freshName('guarded')
  const owner = await open({})
  t.after(() => owner.close())
  await (await owner.admin()).createTopics([{ name: topic, partitions: 1 }])
  await (await owner.producer()).send(topic, 0, [record('k', 'v')])
  const log = await open({ sasl: login('scram-sha-512') })
  t.after(() => log.close())
  const denied = { code: 'SIDESTREAM_LOG_ACCESS_DENIED', message: /grant/ }
  await rejects((await log.admin()).describe(topic), denied)
  await rejects(
    log.read(topic, () => {}),
    denied,
  )
  const blind = await log.consumer({ group: topic, topics: [topic], start: 'earliest' })
  await rejects(blind.run({ onBatch: async () => {}, onFatal: () => {} }), denied)
  await rejects((await log.admin()).createTopics([{ name: freshName('wish'), partitions: 1 }]), denied)

  const acls = bareKafka(broker.brokers).admin()
  await acls.connect()
  t.after(() => acls.disconnect())
  const grant = async (resourceType: number, resourceName: string, operation: number): Promise<void> => {
    const acl = { resourceType, resourceName, operation, resourcePatternType: 3, principal: 'User:bob', host: '*', permissionType: 3 }
    await acls.createAcls({ acl: [acl] })
    // The controller has it; the broker that decides learns of it a moment later.
    while ((await acls.describeAcls(acl)).resources.length === 0) await setImmediate()
  }
  const [topicKind, groupKind, read, write, describe] = [2, 3, 3, 4, 8]
  await grant(topicKind, topic, describe)
  deepStrictEqual((await (await log.admin()).describe(topic)).end, [1n])
  await rejects(log.producer(), denied)
  await grant(topicKind, `${topic}-other`, write)
  const producer = await log.producer()
  await rejects(producer.send(topic, 0, [record('k', 'no')]), denied)
  await grant(topicKind, topic, write)
  deepStrictEqual(await producer.send(topic, 0, [record('k', 'yes')]), new Map([[0, 1n]]))
  const reader = await log.consumer({ group: topic, topics: [topic], start: 'earliest' })
  await rejects(reader.run({ onBatch: async () => {}, onFatal: () => {} }), denied)
  await grant(topicKind, topic, read)
  await grant(groupKind, topic, read)
  const done = gate()
  const seen: (string | null)[] = []
  const allowed = await log.consumer({ group: topic, topics: [topic], start: 'earliest' })
  await allowed.run({
    onBatch: async ({ records }) => void (seen.push(...values(records)) === 2 && done.open()),
    onFatal: done.fail,
  })
  await done.opened
  await allowed.stop({ drainMs: 1000 })
  deepStrictEqual(seen, ['v', 'yes'])
})
