/**
 * A producer of transactions, one at a time, under one transactional id.
 * Invariants: no transaction begins before the one before it has ended at the brokers; after any error kafkajs's producer is replaced,
 * since it can go on from none of them; once fenced, nothing is taken over again, for the id has another owner.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { kafkaError } from './kafka-errors.ts'
import type { KafkaNames } from './kafka-names.ts'
import { KafkaSender } from './kafka-sender.ts'
import { KafkaSends } from './kafka-sends.ts'
import { KafkaTransaction } from './kafka-transaction.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { LogProducer, LogTransaction, ProducerRecord } from './log.ts'

export interface KafkaTransactionsOptions {
  readonly settings: KafkaSettings
  readonly names: KafkaNames
  readonly view: KafkaView
  /** As the brokers know it. */
  readonly transactionalId: string
  readonly onClose: () => void
}

const backoffMs = 100
const backoffLimitMs = 2000

export class KafkaTransactions implements LogProducer {
  readonly #options: KafkaTransactionsOptions
  readonly #sends: KafkaSends
  readonly #closing = new AbortController()
  /** The producer in use; undefined after an error, until a new one has taken over. */
  #sender: KafkaSender | undefined
  #open: KafkaTransaction | 'beginning' | undefined
  #fenced: SidestreamError | undefined
  /** Transactions of `send`, one after the other. */
  #alone: Promise<unknown> = Promise.resolve()

  private constructor(options: KafkaTransactionsOptions) {
    this.#options = options
    this.#sends = new KafkaSends({ ...options, append: (...batch) => (this.#open as KafkaTransaction).append(...batch) })
  }

  /** Fences other producers of the id, and waits for the end of what they left open. */
  static async open(options: KafkaTransactionsOptions): Promise<KafkaTransactions> {
    const producer = new KafkaTransactions(options)
    await producer.#settled()
    return producer
  }

  async begin(): Promise<LogTransaction> {
    this.#refuse()
    if (this.#open !== undefined) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'a transaction is open: commit or abort it first')
    this.#open = 'beginning'
    try {
      const sender = await this.#settled()
      const transaction = new KafkaTransaction({
        ...this.#options,
        sender,
        sends: this.#sends,
        begun: await sender.begin(),
        closing: this.#closing.signal,
        onBroken: (error) => this.#giveUp(error),
        settled: () => this.#settled(),
        onEnd: () => (this.#open = undefined),
      })
      this.#open = transaction
      return transaction
    } catch (error) {
      this.#open = undefined
      throw error
    }
  }

  /** A transaction of its own. */
  send(topic: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
    const work = this.#alone.then(async () => {
      const transaction = await this.begin()
      try {
        const bases = await transaction.send(topic, partition, records)
        await transaction.commit()
        return bases
      } catch (error) {
        await transaction.abort().catch(() => {}) // the first error is the one to tell; the next transaction waits for the end
        throw error
      }
    })
    this.#alone = work.catch(() => {})
    return work
  }

  async flush(): Promise<void> {
    await this.#alone
    await this.#sends.flush()
  }

  /** An open transaction is taken back. */
  async close(): Promise<void> {
    await this.flush()
    this.#closing.abort()
    if (this.#open instanceof KafkaTransaction) await this.#open.abort().catch(() => {}) // else the time-out ends it
    await this.#sender?.close()
    this.#options.onClose()
  }

  #refuse(): void {
    if (this.#closing.signal.aborted) throw new SidestreamError('SIDESTREAM_CLOSED', 'this producer is closed')
    if (this.#fenced !== undefined) throw this.#fenced
  }

  #giveUp(error: SidestreamError): void {
    void this.#sender?.retire()
    this.#sender = undefined
    if (error.class === 'fenced') this.#fenced = error
  }

  /** A producer under which nothing is open: the one in use, or a new one that ends what was left. */
  async #settled(): Promise<KafkaSender> {
    const { settings, transactionalId } = this.#options
    const giveUpTs = Date.now() + settings.requestTimeoutMs
    for (let pauseMs = backoffMs; this.#sender === undefined; pauseMs = Math.min(pauseMs * 2, backoffLimitMs)) {
      this.#refuse()
      const sender = new KafkaSender(settings, transactionalId)
      try {
        await sender.takeOver()
        this.#sender = sender
      } catch (error) {
        void sender.retire()
        const told = kafkaError(error, `cannot begin transactions of ${transactionalId}`)
        if (told.class !== 'retryable' || Date.now() + pauseMs > giveUpTs) throw told
        await settings.wait(pauseMs, this.#closing.signal)
      }
    }
    return this.#sender
  }
}
