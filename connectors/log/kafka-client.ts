/** Clients of kafkajs with our settings: quiet, bounded in their tries, and without its restarts. */
import type { Socket } from 'node:net'
import kafkajs from 'kafkajs'
import type { Cluster, Kafka, LogEntry, PartitionAssigner, RetryOptions } from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import { mendBrokers } from './kafka-brokers.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { openSocket } from './kafka-socket.ts'
import type { KafkaSettings } from './kafka.ts'
import { withTimeout } from './waiting.ts'

/** Tries of one request of kafkajs; about fifteen seconds when every one fails at once. */
export const patientRetry: RetryOptions = { initialRetryTime: 100, maxRetryTime: 3000, multiplier: 2, retries: 10 }
/** For callers that try again themselves. */
const quickRetry: RetryOptions = { initialRetryTime: 50, maxRetryTime: 200, retries: 1 }

/** A client, and the way to be sure that nothing more of it reaches a broker. */
export interface KafkaClient {
  readonly kafka: Kafka
  /** Cuts its connections and lets it open no others: what it still tries fails. */
  kill(): void
}

/**
 * A client of its own for each use: consumers of one client share their committed offsets by group, and two members of a group
 * in one process would clear each other's.
 */
export function createClient(settings: KafkaSettings, { quick = false } = {}): KafkaClient {
  const { brokers, clientId, ssl, sasl, requestTimeoutMs, logger } = settings
  if (brokers.length === 0) throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', 'a Kafka log needs the address of a broker')
  const sockets = new Set<Socket>()
  let killed = false
  const kafka = new kafkajs.Kafka({
    brokers: () => (killed ? [] : [...brokers]), // without any kafkajs stops to try
    clientId,
    connectionTimeout: Math.min(5000, requestTimeoutMs),
    authenticationTimeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    retry: quick ? quickRetry : patientRetry,
    logLevel: kafkajs.logLevel.INFO,
    logCreator: () => (entry) => forward(entry, logger.debug.bind(logger)),
    socketFactory: (target) => {
      if (killed) throw new Error('this client was given up')
      const socket = openSocket(target)
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      return socket
    },
    ...(ssl !== undefined && { ssl: { ...ssl } }),
    ...(sasl !== undefined && { sasl: sasl as { mechanism: 'plain'; username: string; password: string } }),
  })
  mendBrokers(kafka)
  const kill = (): void => {
    killed = true
    for (const socket of sockets) socket.destroy(new Error('this client was given up'))
  }
  return { kafka, kill }
}

function forward({ namespace, label, log }: LogEntry, debug: (fields: object, message: string) => void): void {
  const { message, timestamp: _timestamp, logger: _logger, stack: _stack, ...fields } = log
  debug({ ...fields, from: `kafkajs ${namespace}`, level: label }, message)
}

export interface ClusterHandle {
  readonly cluster: KafkaCluster
  connect(): Promise<void>
  /** In order when the brokers answer in time. */
  close(): Promise<void>
}

/** How long a client may take to end by itself. */
export const closeMs = 2000

/** A cluster to ask things of: that of a consumer which never joins its group. */
export function openCluster(settings: KafkaSettings): ClusterHandle {
  let cluster: Cluster | undefined
  const { kafka, kill } = createClient(settings, { quick: true })
  const capture: PartitionAssigner = (config) => {
    cluster = config.cluster
    return kafkajs.PartitionAssigners.roundRobin(config)
  }
  const consumer = kafka.consumer({
    groupId: 'never-joined',
    partitionAssigners: [capture],
    metadataMaxAge: settings.metadataMaxAgeMs,
    allowAutoTopicCreation: false,
  })
  return {
    cluster: cluster as unknown as KafkaCluster,
    connect: () => consumer.connect(),
    close: async () => {
      await withTimeout(
        consumer.disconnect().catch(() => {}),
        closeMs,
      )
      kill()
    },
  }
}
