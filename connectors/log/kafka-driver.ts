/** The Kafka driver as a whole: what its parts share, and their end. Loaded only where a Kafka log is opened. */
import { SidestreamError } from '../../schemas/index.ts'
import { KafkaAdmin } from './kafka-admin.ts'
import { registerCodecs } from './kafka-codecs.ts'
import { KafkaConsumer } from './kafka-consumer.ts'
import { KafkaNames } from './kafka-names.ts'
import { KafkaPlaces } from './kafka-places.ts'
import { KafkaProducer } from './kafka-producer.ts'
import { readKafka } from './kafka-read.ts'
import { KafkaTransactions } from './kafka-transactions.ts'
import { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { ConsumerOptions, LogAdmin, LogBatch, LogConsumer, LogDriver, LogProducer, ProducerOptions, ReadOptions } from './log.ts'

export class KafkaLog implements LogDriver {
  readonly name = 'kafka'
  readonly caps = { transactions: true, compaction: true, groups: 'cluster' } as const
  readonly #settings: KafkaSettings
  readonly #names: KafkaNames
  readonly #view: KafkaView
  readonly #admin: KafkaAdmin
  readonly #places = new KafkaPlaces()
  readonly #open = new Set<{ close(): Promise<void> }>()
  #closed: Promise<void> | undefined

  private constructor(settings: KafkaSettings, names: KafkaNames, view: KafkaView) {
    this.#settings = settings
    this.#names = names
    this.#view = view
    this.#admin = new KafkaAdmin(settings, names, view)
  }

  static async open(settings: KafkaSettings): Promise<KafkaLog> {
    const { topicPrefix, topicNames, groupPrefix = topicPrefix, heartbeatIntervalMs, sessionTimeoutMs } = settings
    if (heartbeatIntervalMs >= sessionTimeoutMs) {
      const message = `heartbeats every ${heartbeatIntervalMs} ms cannot keep a session of ${sessionTimeoutMs} ms alive: use about a tenth of it`
      throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', message)
    }
    const names = new KafkaNames({ topicPrefix, topicNames, groupPrefix })
    registerCodecs()
    return new KafkaLog(settings, names, await KafkaView.connect(settings))
  }

  async producer({ transactionalId }: ProducerOptions = {}): Promise<LogProducer> {
    this.#refuseClosed()
    const options = {
      settings: this.#settings,
      names: this.#names,
      view: this.#view,
      onClose: () => this.#open.delete(producer),
    }
    const producer: LogProducer =
      transactionalId === undefined
        ? await KafkaProducer.open(options)
        : await KafkaTransactions.open({ ...options, transactionalId: this.#names.transactionalId(transactionalId) })
    this.#open.add(producer)
    return producer
  }

  async consumer(options: ConsumerOptions): Promise<LogConsumer> {
    this.#refuseClosed()
    const consumer = new KafkaConsumer({
      ...options,
      settings: this.#settings,
      names: this.#names,
      view: this.#view,
      places: this.#places,
      onEnd: () => this.#open.delete(part),
    })
    const part = { close: () => consumer.stop({ drainMs: 0 }) }
    this.#open.add(part)
    return consumer
  }

  async admin(): Promise<LogAdmin> {
    this.#refuseClosed()
    return this.#admin
  }

  async read(name: string, onBatch: (batch: LogBatch) => void | Promise<void>, options: ReadOptions = {}): Promise<bigint[]> {
    this.#refuseClosed()
    const topic = this.#names.topic(name)
    return readKafka({ view: this.#view, logger: this.#settings.logger, name, topic }, onBatch, options)
  }

  /** Stops consumers without a drain, flushes producers, then disconnects. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      await Promise.all([...this.#open].map((part) => part.close()))
      await this.#admin.close()
      await this.#view.close()
    })()
    return this.#closed
  }

  #refuseClosed(): void {
    if (this.#closed !== undefined) throw new SidestreamError('SIDESTREAM_CLOSED', 'the kafka log is closed')
  }
}
