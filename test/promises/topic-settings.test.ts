/**
 * Promise: topics whose brokers would delete what is needed are named by `doctor` with the lines that mend them, and told at every
 * start; the rights that the guide lists are enough, and what one user may not look at is said.
 */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'

import kafkajs from 'kafkajs'
import type { Admin } from 'kafkajs'

import { createTopics, diagnose, InputFeed, listDeadLetters, openProject, retryDeadLetters, startDaemon } from '../../pipeline/index.ts'
import type { Diagnosis, Logger } from '../../pipeline/index.ts'
import { topics } from '../../schemas/index.ts'
import type { Config } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { bareKafka, freshName } from '../connectors/log/kafka-bench.ts'
import { securedBroker, skipWithoutBroker } from '../services/index.ts'
import type { SecuredBroker } from '../services/index.ts'
import { hourMs, smallConfig, smallWorld } from './small-world.ts'

const skip = await skipWithoutBroker()
const options = { skip, timeout: 120_000 }
let broker: SecuredBroker
let admin: Admin
before(async () => {
  if (skip !== false) return
  const authorizer = { 'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer' }
  broker = await securedBroker({ properties: { ...authorizer, 'super.users': 'User:ANONYMOUS' } })
  admin = bareKafka(broker.brokers).admin()
  await admin.connect()
})
after(async () => {
  await admin?.disconnect()
  await broker?.close()
})

interface Shop {
  readonly prefix: string
  readonly config: Config
  /** The configuration as bob, who has only the rights that are granted. */
  readonly asBob: Config
  /** What `doctor` finds of the topics. */
  doctor(config?: Config): Promise<{ ok: boolean; message: string; created: Diagnosis['created'] }>
}

async function openShop(t: TestContext): Promise<Shop> {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const prefix = `${freshName('shop')}.`
  const configWith = (kafka: object): Config =>
    smallConfig(
      { dataDir: join(directory, 'data') },
      {
        log: { driver: 'kafka', partitions: 1, kafka: { topicPrefix: prefix, fetchWaitMs: 100, ...kafka } },
        refresh: { everyMs: 0, bootstrapMs: hourMs },
      },
    )
  const config = configWith({ brokers: broker.brokers })
  const { username, password } = broker.users['scram-sha-512']
  const asBob = configWith({ brokers: [broker.saslPlaintext], sasl: 'scram-sha-512', username, password })
  return {
    prefix,
    config,
    asBob,
    doctor: async (as = config) => {
      const path = join(directory, 'sidestream.yaml')
      await writeFile(path, JSON.stringify(as))
      const { findings, created } = await diagnose(path, {}, 'create')
      return { ...findings.find(({ check }) => check === 'topics')!, created }
    },
  }
}

/** Does to a topic what a line of `kafka-configs.sh` says. */
async function alter(name: string, settings: string): Promise<void> {
  const configEntries = settings.split(',').map((pair) => ({ name: pair.split('=')[0]!, value: pair.split('=')[1]! }))
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configEntries }] })
}

async function warningsOf(config: Config): Promise<string[]> {
  const told: string[] = []
  const logger: Logger = { debug: () => {}, info: () => {}, warn: (_, message) => void told.push(message), error: () => {} }
  await (await openProject(config, { logger })).close()
  return told
}

test('topics that lose what is needed: named with the line that mends each, and told at the start', options, async (t) => {
  const { prefix, config, doctor } = await openShop(t)
  const made = await doctor()
  deepStrictEqual([made.ok, [...made.created].sort()], [true, topics.map(({ name }) => name).sort()], 'doctor says what it created')
  deepStrictEqual((await doctor()).created, [])
  await alter(`${prefix}item-features`, 'cleanup.policy=delete,retention.ms=-1,retention.bytes=-1') // keeps more than it must
  ok((await doctor()).ok)
  deepStrictEqual(await warningsOf(config), [])

  await alter(`${prefix}control`, 'cleanup.policy=delete,retention.ms=60000')
  await alter(`${prefix}item-content`, 'cleanup.policy=delete')
  await alter(`${prefix}feature-versions`, 'cleanup.policy=compact')
  const { ok: isWell, message } = await doctor()
  strictEqual(isWell, false)
  match(message, /control is deleted by age or size instead of kept for ever/)
  match(message, /item-content is deleted by age or size instead of compacted/)
  match(message, /feature-versions is compacted instead of kept for ever/)
  ok(!message.includes('item-features'))
  deepStrictEqual(await warningsOf(config), [message])

  const lines = [...message.matchAll(/--entity-name (\S+) --add-config (\S+)/g)]
  strictEqual(lines.length, 3)
  for (const [, name, settings] of lines) await alter(name!, settings!)
  ok((await doctor()).ok)
})

test('the rights that the guide lists are enough for everything; without one, it is said which', options, async (t) => {
  const { prefix, config, asBob, doctor } = await openShop(t)
  await createTopics(config)
  const [topicKind, groupKind, clusterKind] = [2, 3, 4]
  const [read, write, describe, describeConfigs, idempotentWrite] = [3, 4, 8, 10, 12]
  const grant = (resourceType: number, resourceName: string, operation: number): Promise<boolean> => {
    const resourcePatternType = resourceType === clusterKind ? 3 : 4 // literal, prefixed
    const to = { principal: 'User:bob', host: '*', permissionType: 3 }
    return admin.createAcls({ acl: [{ resourceType, resourceName, operation, resourcePatternType, ...to }] })
  }
  const inputs = ['interactions', 'item-content', 'id-embeddings', 'item-pairs']
  const own = topics.map(({ name }) => name).filter((name) => !inputs.includes(name))
  for (const name of own) for (const right of [read, write, describe]) await grant(topicKind, prefix + name, right)
  for (const name of inputs) for (const right of [read, describe]) await grant(topicKind, prefix + name, right)
  await grant(groupKind, `${prefix}${config.project}`, read)
  await grant(clusterKind, 'kafka-cluster', idempotentWrite)

  const blind = await doctor(asBob)
  ok(blind.ok, blind.message)
  match(blind.message, /cleanup and limits were not compared of .*control.*DESCRIBE_CONFIGS/)
  ok((await warningsOf(asBob)).some((line) => line.includes('DESCRIBE_CONFIGS')))
  await grant(topicKind, `${prefix}control`, describeConfigs)
  ok(!/compared of .*control/.test((await doctor(asBob)).message), 'one that may be looked at is compared beside others')
  for (const name of [...inputs, ...own]) await grant(topicKind, prefix + name, describeConfigs)
  ok(!(await doctor(asBob)).message.includes('compared'))

  const project = await openProject(asBob)
  t.after(() => project.close())
  const denied = { code: 'SIDESTREAM_LOG_ACCESS_DENIED', message: /WRITE/ }
  const events = smallWorld({ items: 60, users: 10, interactions: 200 })
  const unable = await InputFeed.open(project)
  await rejects(unable.append(events), denied)
  await unable.close()
  for (const name of inputs) await grant(topicKind, prefix + name, write)
  const feed = await InputFeed.open(project)
  await feed.append(events)
  await feed.append([{ ...events.find(({ topic }) => topic === 'interactions')!, record: danceOf(events) } as (typeof events)[number]])
  await feed.end()
  await feed.close()
  const daemon = await startDaemon(project)
  try {
    await daemon.idle()
    strictEqual((await daemon.refresh('again')).outcome, 'live')
    const letters = await listDeadLetters(project)
    strictEqual(letters.length, 1)
    strictEqual((await retryDeadLetters(project, letters)).retried, 1)
    await daemon.idle()
  } finally {
    await daemon.stop()
  }
})

/** An interaction whose behavior nobody configured. */
function danceOf(events: ReturnType<typeof smallWorld>): object {
  const event = events.find(({ topic }) => topic === 'interactions')!
  return { ...event.record, behaviors: ['dance'] }
}
