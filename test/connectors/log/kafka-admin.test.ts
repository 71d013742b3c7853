/** Topics on Kafka: what a client once knew of them does not stand in the way of what is there now. */
import { ok, rejects } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'

import { openKafkaLog } from '../../../connectors/index.ts'
import { isMissing, kafkaService } from '../../services/index.ts'

const kafka = await kafkaService()

test('a deleted topic is gone at once, though its client knew it', { skip: isMissing(kafka) && kafka.missing }, async (t) => {
  if (isMissing(kafka)) return
  const topic = `deleted-${randomUUID()}`
  // What is known stays known far longer than an answer is waited for.
  const log = await openKafkaLog({ brokers: kafka.brokers, metadataMaxAgeMs: 600_000, requestTimeoutMs: 3000 })
  t.after(() => log.close())
  const admin = await log.admin()
  await admin.createTopics([{ name: topic, partitions: 2 }])
  await admin.describe(topic)
  await admin.deleteTopic(topic)
  await rejects(admin.describe(topic), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
  ok(!(await admin.list()).includes(topic))
})
