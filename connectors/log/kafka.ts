/**
 * The log on Apache Kafka, through kafkajs: the same contract as the embedded log, over brokers that others use too.
 * Invariant: what `send` has acknowledged was acknowledged by all in-sync replicas; readers see committed records only; kafkajs's
 * own restarts are off, so that one supervisor decides. docs/decisions/0009-kafka-driver.md says what is promised and what not.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SidestreamError } from '../../schemas/index.ts'
import type { TlsOptions } from '../tls-failure.ts'
import type { LogDriver } from './log.ts'

/** The part of a structured logger that the driver uses (pino fits). Fields never hold secrets. */
export interface KafkaLogger {
  debug(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface KafkaLogOptions {
  /** Addresses to find the cluster by, `host:port`. */
  readonly brokers: readonly string[]
  /** Name that the brokers see. @default 'sidestream' */
  readonly clientId?: string
  /** Encrypts connections and checks the brokers' certificates; PEM text. `{}` trusts what Node trusts. @default no TLS */
  readonly ssl?: TlsOptions | undefined
  /** How to log in. `plain` sends the password itself. @default no login */
  readonly sasl?:
    | { readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; readonly username: string; readonly password: string }
    | undefined
  /** Put before the name of every topic without an entry in `topicNames`. @default '' */
  readonly topicPrefix?: string
  /** Names in Kafka of topics that are called otherwise there. @default {} */
  readonly topicNames?: Readonly<Record<string, string>>
  /** Put before the name of every group, and before transactional ids. @default `topicPrefix` */
  readonly groupPrefix?: string | undefined
  /** How records are written; all codecs are read. `gzip`: less network and disk, more CPU. @default 'none' */
  readonly compression?: 'none' | 'gzip'
  /** Copies of each topic that `createTopics` makes. @default what the cluster has as its default */
  readonly replicationFactor?: number | undefined
  /** How long topics with cleanup `delete` keep records. @default 604800000 */
  readonly retentionMs?: number
  /** Silence after which the group gives a member's partitions to others. Higher: longer gaps after a crash. @default 30000 */
  readonly sessionTimeoutMs?: number
  /** @default 3000 */
  readonly heartbeatIntervalMs?: number
  /** Longest wait of a fetch for new records. Higher: fewer requests when idle, slower joins, seeks and stops. @default 250 */
  readonly fetchWaitMs?: number
  /** How often topics and partitions are looked up anew, and patterns resolved. @default 30000 */
  readonly metadataMaxAgeMs?: number
  /** How long to wait, at the start, for brokers that cannot be reached. @default 60000 */
  readonly connectTimeoutMs?: number
  /** Told why, with every try at the start that found no broker. @default nobody */
  readonly onWaiting?: (reason: SidestreamError) => void
  /** Ends the waiting at the start. @default never */
  readonly signal?: AbortSignal | undefined
  /**
   * How long an answer may take before it counts as lost. A send that finds no broker is given up after about ten tries or
   * twice this time, whichever is longer. @default 30000
   */
  readonly requestTimeoutMs?: number
  /**
   * How long a transaction may be open, from its first record on, before the brokers take it back: for so long readers of committed records wait when its
   * producer dies. Higher: slow batches end in time, a crash is felt for longer. @default 10000
   */
  readonly transactionTimeoutMs?: number
  /** Most bytes of key, value and headers of one record. @default 1000000 */
  readonly recordLimitBytes?: number
  /** Further tries of a batch whose handler threw anything but a retryable error, before `onFatal`. @default 3 */
  readonly handlerRetries?: number
  /** For progress, milliseconds since epoch. @default Date.now */
  readonly clock?: () => number
  /** Waits between tries; ends early, without an error, when the signal aborts. @default a timer */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>
  /** What kafkajs says, at debug; what the driver says itself, also at warn. @default silent */
  readonly logger?: KafkaLogger
}

/** Options with their defaults. */
export type KafkaSettings = Required<KafkaLogOptions>

export const kafkaLogDefaults: Readonly<Omit<KafkaSettings, 'brokers'>> = {
  clientId: 'sidestream',
  ssl: undefined,
  sasl: undefined,
  topicPrefix: '',
  topicNames: {},
  groupPrefix: undefined,
  compression: 'none',
  replicationFactor: undefined,
  retentionMs: 604_800_000,
  sessionTimeoutMs: 30_000,
  heartbeatIntervalMs: 3000,
  fetchWaitMs: 250,
  metadataMaxAgeMs: 30_000,
  connectTimeoutMs: 60_000,
  onWaiting: () => {},
  signal: undefined,
  requestTimeoutMs: 30_000,
  transactionTimeoutMs: 10_000,
  recordLimitBytes: 1_000_000,
  handlerRetries: 3,
  clock: Date.now,
  wait: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => {}),
  logger: { debug: () => {}, warn: () => {} },
}

/**
 * Connects to a cluster; waits up to `connectTimeoutMs` for brokers that are not there yet.
 * @throws SIDESTREAM_LOG_UNAVAILABLE after that time; SIDESTREAM_LOG_ACCESS_DENIED at once for a wrong password;
 * SIDESTREAM_CONFIG_INVALID at once for a certificate that is not trusted, and for options that do not fit together;
 * SIDESTREAM_CLOSED when the signal aborts
 */
export async function openKafkaLog(options: KafkaLogOptions): Promise<LogDriver> {
  const { KafkaLog } = await import('./kafka-driver.ts') // kafkajs is loaded by those who use it
  return KafkaLog.open({ ...kafkaLogDefaults, ...options })
}
