/** The demo on servers of somebody else: nothing of it is left there, or it says what is. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Redis } from 'ioredis'

import { bareKafka } from '../connectors/log/kafka-bench.ts'
import { ownBroker, ownRedis, skipWithoutBroker, skipWithoutRedisServer } from '../services/index.ts'
import type { Broker, OwnRedis } from '../services/index.ts'
import { run, start } from './command.ts'

const skip = (await skipWithoutBroker()) || (await skipWithoutRedisServer())
let broker: Broker
let redis: OwnRedis
let home = ''

before(async () => {
  if (skip !== false) return
  home = await mkdtemp(join(tmpdir(), 'sidestream-demo-'))
  ;[broker, redis] = await Promise.all([ownBroker(), ownRedis()])
})
after(async () => {
  await Promise.all([broker?.close(), redis?.close()])
  if (home !== '') await rm(home, { recursive: true, force: true })
})

/** Names of everything on the servers that is a demo's. */
async function onServers(): Promise<{ topics: string[]; groups: string[]; keys: string[] }> {
  const admin = bareKafka(broker.brokers).admin()
  const client = new Redis(redis.port, redis.host)
  try {
    await admin.connect()
    const isDemo = (name: string): boolean => name.startsWith('demo-')
    const { groups } = await admin.listGroups()
    return {
      topics: (await admin.listTopics()).filter(isDemo),
      groups: groups.map(({ groupId }) => groupId).filter(isDemo),
      keys: await client.keys('*'),
    }
  } finally {
    await admin.disconnect()
    client.disconnect()
  }
}

test('interrupted, it says what stays; another one deletes that, and all of its own', { skip, timeout: 300_000 }, async () => {
  const servers = { SIDESTREAM_KAFKA_BROKERS: broker.brokers.join(','), SIDESTREAM_REDIS_NODES: `${redis.host}:${redis.port}` }
  const words = ['demo', '--log', 'kafka', '--store', 'redis', '--scale', '20', '--out', 'out']
  const first = start(words, home, servers)
  await first.says('round 1:')
  first.child.kill('SIGINT')
  const { code, stderr } = await first.ended
  strictEqual(code, 1, stderr)
  match(stderr, /SIDESTREAM_CLOSED: the demo was interrupted: it goes on with --resume/)
  const [, name] = /stays on the servers: topics and groups (demo-\w+)\.\*, keys ss:/.exec(stderr) ?? []
  const left = await onServers()
  ok(left.topics.length === 11 && left.groups.length > 0)
  ok([...left.topics, ...left.groups].every((one) => one.startsWith(`${name}.`)))
  ok(left.keys.every((key) => key.startsWith(`ss:{${name}`)))

  const whole = await run(words, home, servers)
  strictEqual(whole.code, 0, whole.stderr)
  ok(!whole.stderr.includes('stays on the servers'))
  deepStrictEqual(await onServers(), { topics: [], groups: [], keys: [] })
})
