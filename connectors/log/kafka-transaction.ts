/**
 * One transaction. Positions are kept here and sent with the commit, after all records: brokers that still write the end of the
 * transaction before refuse them as the first thing of a transaction, and kafkajs does not ask again.
 * Invariants: nothing of it is sent once it has ended or failed; only what the brokers have acknowledged counts as committed.
 */
import type { Message, Transaction } from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import { isOfType, kafkaError, refusal } from './kafka-errors.ts'
import { KafkaLane } from './kafka-lane.ts'
import type { SendOutcome } from './kafka-send-queue.ts'
import { watched } from './kafka-send-watch.ts'
import type { KafkaSender } from './kafka-sender.ts'
import type { KafkaSends } from './kafka-sends.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { Lane, LogTransaction, ProducerRecord } from './log.ts'

export interface KafkaTransactionOptions {
  readonly settings: KafkaSettings
  readonly view: KafkaView
  readonly transactionalId: string
  readonly sender: KafkaSender
  readonly sends: KafkaSends
  readonly begun: Transaction
  readonly closing: AbortSignal
  /** kafkajs's producer is of no use any more. */
  readonly onBroken: (error: SidestreamError) => void
  /** Resolves when a producer has taken over, and so this transaction has ended at the brokers. */
  readonly settled: () => Promise<unknown>
  readonly onEnd: () => void
}

const offsetsBackoffMs = 5
const offsetsBackoffLimitMs = 1000

export class KafkaTransaction implements LogTransaction {
  readonly #options: KafkaTransactionOptions
  readonly #consumed = new Map<KafkaLane, bigint>()
  /** `ending`: nothing more is sent; it can be aborted. */
  #state: 'open' | 'ending' | 'ended' = 'open'
  #broken: SidestreamError | undefined
  /** When the brokers heard of it first: their time-out runs from there. */
  #firstTs: number | undefined

  constructor(options: KafkaTransactionOptions) {
    this.#options = options
  }

  async send(topic: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
    this.#refuseEnded()
    return this.#options.sends.send(topic, partition, records)
  }

  consumed(lane: Lane, next: bigint): void {
    this.#refuseEnded()
    if (!(lane instanceof KafkaLane) || lane.home.settings !== this.#options.settings)
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'the lane is of another log: its position cannot be in this transaction')
    if (lane.home.commits !== 'handler') {
      const message = `a consumer of group ${lane.home.group} commits by itself beside the transaction: open it with commits: 'handler'`
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
    }
    if (next < 0n) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `there is no offset ${next} to have consumed up to`)
    this.#consumed.set(lane, next)
  }

  async commit(): Promise<void> {
    this.#refuseEnded()
    this.#state = 'ending'
    await this.#options.sends.flush()
    if (this.#broken !== undefined) throw this.#broken
    for (const { topic, partition, signal } of this.#consumed.keys()) {
      if (!signal.aborted) continue
      const message = `cannot commit ${this.#options.transactionalId}: ${topic}/${partition} is not this member's any more`
      throw new SidestreamError('SIDESTREAM_EPOCH_FENCED', message, { topic, partition, cause: signal.reason })
    }
    await this.#sendPositions()
    try {
      await this.#inTime(this.#options.begun.commit())
    } catch (error) {
      throw this.#break(error, 'cannot commit', 'unknown')
    }
    this.#end()
  }

  async abort(): Promise<void> {
    if (this.#state === 'ended') throw ended()
    this.#state = 'ending'
    await this.#options.sends.flush()
    try {
      if (this.#broken === undefined)
        await this.#inTime(this.#options.begun.abort()).catch((error: unknown) => this.#break(error, 'cannot abort'))
      if (this.#broken !== undefined && this.#broken.class !== 'fenced') await this.#options.settled()
    } finally {
      this.#end()
    }
  }

  /** Sends one batch; for the producer's queues. */
  async append(topic: string, partition: number, messages: Message[]): Promise<SendOutcome> {
    this.#firstTs ??= Date.now()
    if (this.#broken !== undefined) return { kind: 'unknown', error: this.#broken }
    const { sender, begun } = this.#options
    const doing = `cannot send to ${topic}/${partition}`
    try {
      const base = await this.#inTime(sender.send(topic, partition, messages, begun), topic)
      if (base !== undefined) return { kind: 'done', base }
      throw new Error('the brokers answered for another partition')
    } catch (error) {
      const refused = refusal(error, doing)
      return refused === undefined ? { kind: 'unknown', error: this.#break(error, doing) } : { kind: 'refused', error: refused }
    }
  }

  /** Before this the transaction may be the first thing that the brokers hear of, which they refuse while they end the last one. */
  async #sendPositions(): Promise<void> {
    const { settings, begun, closing } = this.#options
    this.#firstTs ??= Date.now()
    for (const [consumerGroupId, topics] of this.#positions()) {
      for (let pauseMs = offsetsBackoffMs; ; pauseMs = Math.min(pauseMs * 1.5, offsetsBackoffLimitMs)) {
        try {
          await this.#inTime(begun.sendOffsets({ consumerGroupId, topics }))
          break
        } catch (error) {
          const late = this.#openMs > settings.transactionTimeoutMs
          if (late || !isOfType(error, 'CONCURRENT_TRANSACTIONS')) throw this.#break(error, 'cannot store positions')
        }
        await settings.wait(pauseMs, closing)
      }
    }
  }

  /** Of the lanes, by group. */
  #positions(): Map<string, { topic: string; partitions: { partition: number; offset: string }[] }[]> {
    const groups = new Map<string, { topic: string; partitions: { partition: number; offset: string }[] }[]>()
    for (const [lane, next] of this.#consumed) {
      const entry = { topic: lane.physicalTopic, partitions: [{ partition: lane.partition, offset: String(next) }] }
      const known = groups.get(lane.home.group)
      if (known === undefined) groups.set(lane.home.group, [entry])
      else known.push(entry)
    }
    return groups
  }

  /** The brokers end the transaction after its time-out, so nothing of it is waited for longer. */
  #inTime<T>(work: Promise<T>, topic?: string): Promise<T> {
    const { view, sender, settings } = this.#options
    return watched(work, { view, topic, known: sender.topics, limitMs: settings.transactionTimeoutMs })
  }

  /** What kafkajs says after which its producer cannot be used; the first error of a transaction is the one that is told. */
  #break(error: unknown, doing: string, outcome?: 'unknown'): SidestreamError {
    if (this.#broken !== undefined) return this.#broken
    this.#broken = this.#fencing(error) ?? told(kafkaError(error, `${doing} in a transaction of ${this.#options.transactionalId}`), outcome)
    this.#options.onBroken(this.#broken)
    return this.#broken
  }

  /** The brokers do not say whether it was another producer or the time-out; either way the epoch is not ours. */
  #fencing(error: unknown): SidestreamError | undefined {
    if (!isOfType(error, 'INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED')) return undefined
    const { settings, transactionalId } = this.#options
    const openMs = this.#openMs
    const message =
      openMs < settings.transactionTimeoutMs
        ? `another producer has the transactional id ${transactionalId}: this one is given up`
        : `a transaction of ${transactionalId} was open for ${openMs} ms, longer than transactionTimeoutMs (${settings.transactionTimeoutMs}), or another producer has its id: this one is given up`
    return new SidestreamError('SIDESTREAM_EPOCH_FENCED', message, { transactionalId, cause: error })
  }

  get #openMs(): number {
    return this.#firstTs === undefined ? 0 : Date.now() - this.#firstTs
  }

  #refuseEnded(): void {
    if (this.#state !== 'open') throw ended()
  }

  #end(): void {
    this.#state = 'ended'
    this.#options.onEnd()
  }
}

function told(error: SidestreamError, outcome: 'unknown' | undefined): SidestreamError {
  if (outcome === undefined) return error
  const message = `${error.message}; it may have been committed: abort, read the committed offset and seek there`
  return new SidestreamError(error.code, message, { ...error.details, outcome, cause: error.cause })
}

function ended(): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', 'this transaction has ended: begin another')
}
