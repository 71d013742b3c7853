/**
 * One life of an idempotent kafkajs producer. kafkajs counts sequence numbers per partition; when an outcome is unknown they no
 * longer say what the broker has, so such a producer is given up and the next batch goes out under a new producer id. One with
 * transactions is of no use either after an error: a new one with its transactional id ends what it left open.
 * Invariant: once `retire` has resolved nothing more of this producer reaches a broker through a new connection or try.
 */
import kafkajs from 'kafkajs'
import type { Message, Producer, RetryOptions, Transaction } from 'kafkajs'
import { closeMs, createClient } from './kafka-client.ts'
import type { KafkaSettings } from './kafka.ts'
import { withTimeout } from './waiting.ts'

/** The caller's deadline ends it. */
const retry: RetryOptions = { initialRetryTime: 100, maxRetryTime: 1000, multiplier: 2, retries: Number.MAX_SAFE_INTEGER }
/** While the brokers still write the end of the last transaction the next is told to wait: a few milliseconds. */
const transactionRetry: RetryOptions = { ...retry, initialRetryTime: 5, multiplier: 1.5 }

export class KafkaSender {
  readonly #producer: Producer
  readonly #kill: () => void
  readonly #compression: number
  readonly #timeoutMs: number
  readonly #sending = new Set<Promise<unknown>>()
  /** Topics it has sent to: kafkajs asks for all of them together, and fails for all when one is gone. */
  readonly topics = new Set<string>()
  #connected: Promise<void> | undefined
  #retired: Promise<void> | undefined

  /** Begun and not yet handed out. */
  #transaction: Transaction | undefined

  /** @param transactionalId - as the brokers know it */
  constructor(settings: KafkaSettings, transactionalId?: string) {
    const { kafka, kill } = createClient(settings)
    this.#kill = kill
    this.#compression = settings.compression === 'gzip' ? kafkajs.CompressionTypes.GZIP : kafkajs.CompressionTypes.None
    this.#timeoutMs = settings.requestTimeoutMs
    this.#producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      metadataMaxAge: settings.metadataMaxAgeMs,
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition!,
      retry: transactionalId === undefined ? retry : transactionRetry,
      ...(transactionalId !== undefined && { transactionalId, transactionTimeout: settings.transactionTimeoutMs }),
    })
  }

  get isRetired(): boolean {
    return this.#retired !== undefined
  }

  connect(): Promise<void> {
    this.#connected ??= this.#producer.connect().catch((error: unknown) => {
      this.#connected = undefined // the next send tries anew
      throw error
    })
    return this.#connected
  }

  /** Fences other producers of the transactional id; resolves when what they left open has ended, one way or the other. */
  async takeOver(): Promise<void> {
    await this.connect()
    this.#transaction = await this.#producer.transaction() // the first one asks the brokers, the others do not
  }

  /** A transaction, of which the brokers hear with its first batch. */
  async begin(): Promise<Transaction> {
    const transaction = this.#transaction ?? (await this.#producer.transaction())
    this.#transaction = undefined
    return transaction
  }

  /**
   * Appends one batch to one partition, in a transaction where one is given.
   * @returns offset of its first record; undefined when the answer speaks of something else
   */
  async send(topic: string, partition: number, messages: Message[], transaction?: Transaction): Promise<bigint | undefined> {
    this.topics.add(topic)
    const work = this.#send(topic, partition, messages, transaction ?? this.#producer)
    this.#sending.add(work)
    try {
      return await work
    } finally {
      this.#sending.delete(work)
    }
  }

  /** Gives it up: other batches may end for a moment, then its connections are cut. */
  retire(): Promise<void> {
    this.#retired ??= (async () => {
      await withTimeout(Promise.allSettled(this.#sending), closeMs)
      this.#kill()
      void this.#producer.disconnect().catch(() => {})
    })()
    return this.#retired
  }

  /** Ends in order; what is still sent is not waited for longer than a moment. */
  async close(): Promise<void> {
    this.#retired ??= Promise.resolve()
    await withTimeout(
      this.#producer.disconnect().catch(() => {}),
      closeMs,
    )
    this.#kill()
  }

  async #send(topic: string, partition: number, messages: Message[], via: Pick<Producer, 'send'>): Promise<bigint | undefined> {
    await this.connect()
    const answer = await via.send({ topic, messages, acks: -1, timeout: this.#timeoutMs, compression: this.#compression })
    const [one, ...others] = answer // kafkajs may answer for fewer partitions than it was given (its issue 1303)
    if (one?.topicName !== topic || one.partition !== partition || others.length > 0) return undefined
    return BigInt(one.baseOffset ?? one.offset ?? -1)
  }
}
