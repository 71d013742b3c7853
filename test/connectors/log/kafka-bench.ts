/** A Kafka log for tests, on the broker of this run, with settings that make it quick. */
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
