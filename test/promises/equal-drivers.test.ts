/** Promise: the job is the same job on Kafka and Redis: equal versions, and the same moves of the live pointer. */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { createTopics } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { isMissing, kafkaService, redisService } from '../services/index.ts'
import { onServers } from './server-config.ts'
import { smallConfig, smallWorld } from './small-world.ts'
import { runWorld } from './world-run.ts'
import type { RunOutcome } from './world-run.ts'

const kafka = await kafkaService()
const redis = await redisService()
const missing = isMissing(kafka) ? kafka.missing : isMissing(redis) ? redis.missing : undefined
const events = smallWorld({ items: 100, users: 30, interactions: 800 })

async function embedded(): Promise<RunOutcome> {
  const { directory, remove } = await scratchDirectory()
  try {
    return await runWorld({ config: smallConfig({ dataDir: directory, partitions: 2 }), name: 'equal-drivers', events })
  } finally {
    await remove()
  }
}

async function onKafkaAndRedis(partitions: number): Promise<RunOutcome> {
  if (isMissing(kafka) || isMissing(redis)) throw new Error(missing)
  const { directory, remove } = await scratchDirectory()
  try {
    const config = smallConfig({ dataDir: directory, partitions }, onServers({ kafka, redis, partitions }))
    await createTopics(config)
    return await runWorld({ config, name: 'equal-drivers', events })
  } finally {
    await remove()
  }
}

test(
  'file log and LMDB, and Kafka and Redis with 1 and with 4 partitions, end equal',
  { skip: missing ?? false, timeout: 300_000 },
  async (t) => {
    const expected = await embedded()
    strictEqual(expected.versions.length, 3)
    strictEqual(expected.history.length, 5)
    for (const partitions of [1, 4]) {
      await t.test(`${partitions} partitions`, async () => deepStrictEqual(await onKafkaAndRedis(partitions), expected))
    }
  },
)
