/**
 * Sends records to Kafka, acknowledged by all in-sync replicas.
 * Invariant: a batch whose outcome stayed unknown ends its producer id, and its callers are told SIDESTREAM_LOG_UNAVAILABLE: sent
 * again, it may stand there twice.
 */
import type { Message } from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import { isOfType, kafkaError, refusal } from './kafka-errors.ts'
import type { KafkaNames } from './kafka-names.ts'
import type { SendOutcome } from './kafka-send-queue.ts'
import { watched } from './kafka-send-watch.ts'
import { KafkaSender } from './kafka-sender.ts'
import { KafkaSends } from './kafka-sends.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { LogProducer, ProducerRecord } from './log.ts'

export interface KafkaProducerOptions {
  readonly settings: KafkaSettings
  readonly names: KafkaNames
  readonly view: KafkaView
  readonly onClose: () => void
}

export class KafkaProducer implements LogProducer {
  readonly #options: KafkaProducerOptions
  readonly #sends: KafkaSends
  #sender: KafkaSender
  #closed = false

  private constructor(options: KafkaProducerOptions) {
    this.#options = options
    this.#sends = new KafkaSends({ ...options, append: (...batch) => this.#append(...batch) })
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

  async send(topic: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
    if (this.#closed) throw new SidestreamError('SIDESTREAM_CLOSED', 'this producer is closed')
    return this.#sends.send(topic, partition, records)
  }

  flush(): Promise<void> {
    return this.#sends.flush()
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.flush()
    await this.#sender.close()
    this.#options.onClose()
  }

  async #append(topic: string, partition: number, messages: Message[]): Promise<SendOutcome> {
    const { view, settings } = this.#options
    const limitMs = 2 * settings.requestTimeoutMs
    const doing = `cannot send to ${topic}/${partition}`
    for (let tries = 0; ; tries++) {
      const sender = this.#currentSender()
      try {
        const base = await watched(sender.send(topic, partition, messages), { view, topic, known: sender.topics, limitMs })
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
