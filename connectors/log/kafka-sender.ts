/**
 * One life of an idempotent kafkajs producer. kafkajs counts sequence numbers per partition; when an outcome is unknown they no
 * longer say what the broker has, so such a producer is given up and the next batch goes out under a new producer id.
 * Invariant: once `retire` has resolved nothing more of this producer reaches a broker through a new connection or try.
 */
import kafkajs from 'kafkajs'
import type { Message, Producer } from 'kafkajs'
import { closeMs, createClient } from './kafka-client.ts'
import type { KafkaSettings } from './kafka.ts'
import { withTimeout } from './waiting.ts'

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

  constructor(settings: KafkaSettings) {
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
      retry: { initialRetryTime: 100, maxRetryTime: 1000, multiplier: 2, retries: Number.MAX_SAFE_INTEGER }, // the caller's deadline ends it
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

  /** Appends one batch to one partition. @returns offset of its first record; undefined when the answer speaks of something else */
  async send(topic: string, partition: number, messages: Message[]): Promise<bigint | undefined> {
    this.topics.add(topic)
    const work = this.#send(topic, partition, messages)
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

  async #send(topic: string, partition: number, messages: Message[]): Promise<bigint | undefined> {
    await this.connect()
    const answer = await this.#producer.send({ topic, messages, acks: -1, timeout: this.#timeoutMs, compression: this.#compression })
    const [one, ...others] = answer // kafkajs may answer for fewer partitions than it was given (its issue 1303)
    if (one?.topicName !== topic || one.partition !== partition || others.length > 0) return undefined
    return BigInt(one.baseOffset ?? one.offset ?? -1)
  }
}
