/** A Kafka log for tests, on the broker of this run, with settings that make it quick. */
import { after } from 'node:test'

import { Kafka, logLevel, Partitioners } from 'kafkajs'
import type { Producer } from 'kafkajs'

import { openKafkaLog } from '../../../connectors/index.ts'
import type { KafkaLogOptions, LogDriver } from '../../../connectors/index.ts'
import { isMissing, kafkaService } from '../../services/index.ts'

const service = await kafkaService()

/** `false`, or why tests that need Kafka are left out: for `{ skip }`. */
export const skipWithoutKafka: string | false = isMissing(service) ? service.missing : false

/** Addresses of the broker of this run. */
export const brokers: readonly string[] = isMissing(service) ? [] : service.brokers

/** Short waits; those between tries are skipped, since how long they are is tested apart. */
export const quickSettings = {
  brokers,
  fetchWaitMs: 30,
  sessionTimeoutMs: 6000,
  heartbeatIntervalMs: 300,
  metadataMaxAgeMs: 300,
  connectTimeoutMs: 10_000,
  wait: () => new Promise<void>(setImmediate),
} satisfies KafkaLogOptions

export function openTestLog(options: Partial<KafkaLogOptions> = {}): Promise<LogDriver> {
  return openKafkaLog({ ...quickSettings, ...options })
}

/** A client without our driver, for what the port does not offer. */
export function bareKafka(addresses: readonly string[] = brokers): Kafka {
  return new Kafka({ brokers: [...addresses], clientId: 'bare', logLevel: logLevel.NOTHING })
}

const producers: Producer[] = []
after(() => Promise.all(producers.map((producer) => producer.disconnect())))

/** A producer of another team, transactional when an id is given. It ends with the test file at the latest. */
export async function bareProducer(transactionalId?: string): Promise<Producer> {
  const producer = bareKafka().producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: true,
    maxInFlightRequests: 1,
    retry: { initialRetryTime: 5, multiplier: 1.5, maxRetryTime: 1000, retries: 50 },
    ...(transactionalId !== undefined && { transactionalId, transactionTimeout: 10_000 }),
  })
  await producer.connect()
  producers.push(producer)
  return producer
}

let serial = 0

/** A name that no other test uses. */
export const freshName = (word: string): string => `${word}-${process.pid}-${Date.now().toString(36)}-${serial++}`

/** Creates a topic with a fresh name. */
export async function freshTopic(log: LogDriver, partitions: number, word = 'topic'): Promise<string> {
  const topic = freshName(word)
  await (await log.admin()).createTopics([{ name: topic, partitions }])
  return topic
}
