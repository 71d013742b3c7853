/**
 * Sends records to Kafka, acknowledged by all in-sync replicas.
 * Invariants: a call is checked whole before anything of it is sent; one batch per partition is in flight; a batch whose outcome
 * stayed unknown ends its producer id, and its callers are told SIDESTREAM_LOG_UNAVAILABLE: sent again, it may stand there twice.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Message } from 'kafkajs'
import { partitionForKey } from '../../compute/index.ts'
import { SidestreamError } from '../../schemas/index.ts'
import { isOfType, kafkaError } from './kafka-errors.ts'
import type { KafkaNames } from './kafka-names.ts'
import { framedBytes, recordBytes } from './kafka-records.ts'
import { KafkaSendQueue } from './kafka-send-queue.ts'
import type { SendOutcome } from './kafka-send-queue.ts'
import { KafkaSender } from './kafka-sender.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { LogProducer, ProducerRecord } from './log.ts'

/** How often a slow send asks whether its topic is still there. */
const topicCheckMs = 2000
const headerNameLimit = 32_767

interface Topic {
  readonly physical: string
  partitions: number
  lookedUpTs: number
  readonly queues: Map<number, KafkaSendQueue>
}

export interface KafkaProducerOptions {
  readonly settings: KafkaSettings
  readonly names: KafkaNames
  readonly view: KafkaView
  readonly onClose: () => void
}

export class KafkaProducer implements LogProducer {
  readonly #options: KafkaProducerOptions
  readonly #topics = new Map<string, Promise<Topic>>()
  readonly #pending = new Set<Promise<unknown>>()
  #sender: KafkaSender
  #rotation = 0
  #closed = false

  private constructor(options: KafkaProducerOptions) {
    this.#options = options
    this.#sender = new KafkaSender(options.settings)
  }

  static async open(options: KafkaProducerOptions): Promise<KafkaProducer> {
    const producer = new KafkaProducer(options)
    try {
      await producer.#sender.connect()
      return producer
    } catch (error) {
      await producer.#sender.close()
      throw kafkaError(error, 'cannot open a producer')
    }
  }

  async send(name: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
    if (this.#closed) throw new SidestreamError('SIDESTREAM_CLOSED', 'this producer is closed')
    const work = this.#send(name, partition, records)
    const settled = work.then(
      () => {},
      () => {},
    )
    this.#pending.add(settled)
    try {
      return await work
    } finally {
      this.#pending.delete(settled)
    }
  }

  async flush(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.flush()
    await this.#sender.close()
    this.#options.onClose()
  }

  async #send(name: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
    const bytes = this.#check(records, name)
    const topic = await this.#topic(name)
    if (partition !== undefined && !(partition >= 0 && partition < topic.partitions && Number.isInteger(partition))) {
      const message = `topic ${name} has partitions 0 to ${topic.partitions - 1}, not ${partition}`
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message, { topic: name, partition })
    }
    const bases = new Map<number, bigint>()
    if (records.length === 0) return bases
    if (partition !== undefined) return bases.set(partition, await this.#queue(topic, partition).push(records, bytes))
    const appends = [...this.#split(topic, records)].map(async ([index, part]) => {
      const partBytes = part.length === records.length ? bytes : part.reduce((sum, record) => sum + framedBytes(record), 0)
      bases.set(index, await this.#queue(topic, index).push(part, partBytes))
    })
    await Promise.allSettled(appends)
    await Promise.all(appends)
    return bases
  }

  /** @returns bytes of all records, framed */
  #check(records: readonly ProducerRecord[], topic: string): number {
    const limit = this.#options.settings.recordLimitBytes
    let total = 0
    for (const record of records) {
      const bytes = recordBytes(record)
      if (bytes > limit) {
        const message = `a record for topic ${topic} has ${bytes} bytes, more than the ${limit} allowed: make it smaller, or raise the limit`
        throw new SidestreamError('SIDESTREAM_RECORD_TOO_LARGE', message, { topic, bytes, limit })
      }
      total += framedBytes(record)
      if (record.headers?.some(([name]) => Buffer.byteLength(name) > headerNameLimit) === true)
        throw new SidestreamError('SIDESTREAM_RECORD_INVALID', `a header name for topic ${topic} is longer than ${headerNameLimit} bytes`)
    }
    return total
  }

  /** The topic with its partition count; looked up again, beside the sends, when it is old. */
  #topic(name: string): Promise<Topic> {
    const known = this.#topics.get(name)
    if (known === undefined) {
      const found = this.#lookUp(name)
      this.#topics.set(name, found)
      found.catch(() => this.#topics.delete(name))
      return found
    }
    const renewed = known.then(async (topic) => {
      if (Date.now() - topic.lookedUpTs < this.#options.settings.metadataMaxAgeMs) return
      topic.lookedUpTs = Date.now()
      const leaders = await this.#options.view.leaders(topic.physical)
      topic.partitions = Math.max(topic.partitions, leaders.length)
    })
    renewed.catch(() => {}) // whoever waits for `known` is told
    return known
  }

  async #lookUp(name: string): Promise<Topic> {
    const physical = this.#options.names.topic(name)
    const { length } = await this.#options.view.leaders(physical)
    return { physical, partitions: length, lookedUpTs: Date.now(), queues: new Map() }
  }

  #queue({ physical, queues }: Topic, partition: number): KafkaSendQueue {
    let queue = queues.get(partition)
    if (queue === undefined) {
      queue = new KafkaSendQueue(partition, (messages) => this.#append(physical, partition, messages))
      queues.set(partition, queue)
    }
    return queue
  }

  /** By key as Kafka's Java client does; records without a key go round. */
  #split({ partitions }: Topic, records: readonly ProducerRecord[]): Map<number, ProducerRecord[]> {
    const parts = new Map<number, ProducerRecord[]>()
    for (const record of records) {
      const index = record.key === null ? this.#rotation++ % partitions : partitionForKey(record.key, partitions)
      const part = parts.get(index)
      if (part === undefined) parts.set(index, [record])
      else part.push(record)
    }
    return parts
  }

  async #append(topic: string, partition: number, messages: Message[]): Promise<SendOutcome> {
    const doing = `cannot send to ${topic}/${partition}`
    for (let tries = 0; ; tries++) {
      const sender = this.#currentSender()
      try {
        const base = await this.#inTime(sender.send(topic, partition, messages), topic, sender)
        if (base !== undefined) return { kind: 'done', base }
        throw new Error('the brokers answered for another partition')
      } catch (error) {
        const refused = refusal(error, doing)
        if (refused !== undefined) return { kind: 'refused', error: refused }
        await sender.retire()
        if (sequenceIsLost(error) && tries === 0) continue // not appended: the same batch under a new producer id
        return { kind: 'unknown', error: kafkaError(error, doing) }
      }
    }
  }

  #currentSender(): KafkaSender {
    if (this.#sender.isRetired && !this.#closed) this.#sender = new KafkaSender(this.#options.settings)
    return this.#sender
  }

  /** The send's own end, or an error when it takes too long or a topic of its producer is gone. */
  async #inTime<T>(sending: Promise<T>, topic: string, sender: KafkaSender): Promise<T> {
    const giveUpTs = Date.now() + 2 * this.#options.settings.requestTimeoutMs
    sending.catch(() => {}) // told here, or given up
    const watch = new AbortController()
    const watching = (async (): Promise<never> => {
      for (;;) {
        await sleep(Math.min(topicCheckMs, Math.max(1, giveUpTs - Date.now())), undefined, { signal: watch.signal })
        if (Date.now() >= giveUpTs) throw new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', `topic ${topic}: the brokers do not answer`)
        for (const one of [topic, ...sender.topics]) await this.#checkTopic(one, topic)
      }
    })()
    watching.catch(() => {})
    try {
      return await Promise.race([sending, watching])
    } finally {
      watch.abort()
    }
  }

  /** @throws when the topic is gone: for good when it is the one that is sent to, else so that a new producer is tried */
  async #checkTopic(topic: string, wanted: string): Promise<void> {
    await this.#options.view.leaders(topic).catch((error: unknown) => {
      if (!(error instanceof SidestreamError) || error.code !== 'SIDESTREAM_TOPIC_UNKNOWN') return
      if (topic === wanted) throw error
      throw new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', `a producer still knows the deleted topic ${topic}`, { cause: error })
    })
  }
}

/** The error for a batch of which nothing was or will be appended. */
function refusal(error: unknown, doing: string): SidestreamError | undefined {
  if (isOfType(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE')) {
    const message = `${doing}: larger than the topic takes (max.message.bytes): make the record smaller, or raise the topic's limit`
    return new SidestreamError('SIDESTREAM_RECORD_TOO_LARGE', message, { cause: error })
  }
  if (isOfType(error, 'INVALID_RECORD', 'INVALID_TIMESTAMP')) {
    const message = `${doing}: the broker refuses a record (a compacted topic takes no null keys; times must be near the broker's)`
    return new SidestreamError('SIDESTREAM_RECORD_INVALID', message, { cause: error })
  }
  const told = kafkaError(error, doing)
  return told.code === 'SIDESTREAM_LOG_ACCESS_DENIED' ? told : undefined
}

/** The broker no longer knows the producer's sequence, and has not taken the batch. */
function sequenceIsLost(error: unknown): boolean {
  return isOfType(
    error,
    'OUT_OF_ORDER_SEQUENCE_NUMBER',
    'UNKNOWN_PRODUCER_ID',
    'INVALID_PRODUCER_EPOCH',
    'INVALID_PRODUCER_ID_MAPPING',
    'PRODUCER_FENCED',
  )
}
