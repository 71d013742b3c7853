/**
 * Calls of `send`, on their way to batches of one partition each.
 * Invariant: a call is checked whole before anything of it is sent; one batch per partition is in flight.
 */
import type { Message } from 'kafkajs'
import { partitionForKey } from '../../compute/index.ts'
import { SidestreamError } from '../../schemas/index.ts'
import type { KafkaNames } from './kafka-names.ts'
import { framedBytes, recordBytes } from './kafka-records.ts'
import { KafkaSendQueue } from './kafka-send-queue.ts'
import type { SendOutcome } from './kafka-send-queue.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { ProducerRecord } from './log.ts'

const headerNameLimit = 32_767

interface Topic {
  readonly physical: string
  partitions: number
  lookedUpTs: number
  readonly queues: Map<number, KafkaSendQueue>
}

export interface KafkaSendsOptions {
  readonly settings: KafkaSettings
  readonly names: KafkaNames
  readonly view: KafkaView
  /** Sends one batch; never rejects. */
  readonly append: (topic: string, partition: number, messages: Message[]) => Promise<SendOutcome>
}

export class KafkaSends {
  readonly #options: KafkaSendsOptions
  readonly #topics = new Map<string, Promise<Topic>>()
  readonly #pending = new Set<Promise<unknown>>()
  #rotation = 0

  constructor(options: KafkaSendsOptions) {
    this.#options = options
  }

  async send(name: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
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

  /** Resolves when no call is on its way. */
  async flush(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
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
      queue = new KafkaSendQueue(partition, (messages) => this.#options.append(physical, partition, messages))
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
}
