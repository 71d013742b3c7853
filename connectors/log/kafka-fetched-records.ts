/**
 * What a fetch brought, a batch of records at a time: kafkajs carries each through its consumer as one message, and its records are
 * made when the handler is about to get them. kafkajs would make all at once, with eight objects each, and hold them while they wait.
 * Invariants: records are views into the fetched bytes; a position passes the holes that compaction left at the end of a batch.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { VarintReader } from './kafka-varint.ts'
import type { LogHeader, LogRecord } from './log.ts'

/** What kafkajs looks at in a message on its way to the consumer. */
export interface FetchedMessage {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Record<string, Buffer>
  readonly timestamp: string
  readonly offset: string
  isControlRecord?: boolean
  /** Of record batches; message sets of before Kafka 0.11 have none. */
  readonly batchContext?: {
    readonly firstOffset: string
    readonly lastOffsetDelta: number
    readonly producerId: string
    readonly inTransaction: boolean
  }
  readonly attributes: number
}

/** As `take` counts them. */
export interface TakeLimits {
  readonly records: number
  readonly bytes: number
}

/** Records that wait, behind a face that kafkajs takes for one message. */
export interface FetchedRecords extends FetchedMessage {
  /** Bytes of the records that were not taken. */
  readonly heldBytes: number
  readonly isEmpty: boolean
  /** Passes over records before `offset`. */
  skipTo(offset: bigint): void
  /**
   * Moves records to `out`, in order, as long as it has fewer than `limits.records` and they have at most `limits.bytes` together;
   * into an empty `out` always one.
   * @returns bytes of what was moved
   */
  take(out: LogRecord[], limits: TakeLimits): number
}

/** Header of a record batch, as brokers send it. */
export interface BatchHead {
  readonly first: bigint
  readonly lastOffsetDelta: number
  readonly count: number
  readonly firstTs: number
  readonly maxTs: number
  readonly attributes: number
  readonly producerId: string
}

const appendTimeFlag = 8
const transactionFlag = 16
const controlFlag = 32
const noHeaders: readonly LogHeader[] = []
const nothing = Buffer.alloc(0)

/** The records of one batch (magic 2), decompressed. */
export class BatchRecords implements FetchedRecords {
  readonly key = null
  readonly value = null
  readonly headers = {}
  readonly attributes = 0
  /** Of the batch's end, whether or not a record is left there. */
  readonly offset: string
  readonly timestamp: string
  readonly batchContext: NonNullable<FetchedMessage['batchContext']>
  isControlRecord: boolean
  readonly #head: BatchHead
  readonly #reader: VarintReader
  /** Records that were not taken. */
  #left: number

  constructor(head: BatchHead, bytes: Uint8Array) {
    this.offset = String(head.first + BigInt(head.lastOffsetDelta))
    this.timestamp = String(head.maxTs)
    this.isControlRecord = (head.attributes & controlFlag) !== 0
    this.batchContext = {
      firstOffset: String(head.first),
      lastOffsetDelta: head.lastOffsetDelta,
      producerId: head.producerId,
      inTransaction: (head.attributes & transactionFlag) !== 0,
    }
    this.#head = head
    this.#reader = new VarintReader(bytes)
    this.#left = head.count
  }

  get heldBytes(): number {
    return this.#left === 0 ? 0 : this.#reader.bytes.length - this.#reader.at
  }

  get isEmpty(): boolean {
    return this.#left === 0
  }

  skipTo(offset: bigint): void {
    const reader = this.#reader
    const delta = Number(offset - this.#head.first)
    while (this.#left > 0 && delta > 0) {
      const start = reader.at
      const end = this.#bodyEnd()
      reader.at++
      reader.number() // time
      if (reader.number() >= delta) return void (reader.at = start)
      reader.at = end
      this.#left--
    }
  }

  take(out: LogRecord[], { records: most, bytes: room }: TakeLimits): number {
    const reader = this.#reader
    const start = reader.at
    while (this.#left > 0 && out.length < most) {
      const from = reader.at
      const end = this.#bodyEnd()
      if (end - start > room && out.length > 0) {
        reader.at = from
        break
      }
      out.push(this.#record())
      if (reader.at !== end)
        throw new SidestreamError('SIDESTREAM_LOG_CORRUPT', `a record before offset ${this.offset} has another length than it says`)
      this.#left--
    }
    return reader.at - start
  }

  /** Reads a record's length. @returns where it ends */
  #bodyEnd(): number {
    const length = this.#reader.number()
    return this.#reader.at + length
  }

  #record(): LogRecord {
    const reader = this.#reader
    const { first, firstTs, maxTs, attributes } = this.#head
    reader.at++ // attributes: none are given out yet
    const timeDelta = reader.number()
    const offsetDelta = reader.number()
    const key = reader.stretch()
    const value = reader.stretch()
    const count = reader.number()
    const timestamp = (attributes & appendTimeFlag) === 0 ? firstTs + timeDelta : maxTs
    return { key, value, headers: count === 0 ? noHeaders : this.#headers(count), timestamp, offset: first + BigInt(offsetDelta) }
  }

  #headers(count: number): LogHeader[] {
    const headers: LogHeader[] = []
    for (let i = 0; i < count; i++) {
      const name = this.#reader.stretch() ?? nothing
      headers.push([Buffer.from(name.buffer, name.byteOffset, name.length).toString(), this.#reader.stretch() ?? nothing])
    }
    return headers
  }
}

/** One message of a format of before Kafka 0.11, which knew no headers, as kafkajs decodes it. */
export class OldRecord implements FetchedRecords {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers = {}
  readonly attributes: number
  readonly offset: string
  readonly timestamp: string
  readonly isControlRecord = false
  #isTaken = false

  constructor({ key, value, attributes, offset, timestamp }: FetchedMessage) {
    this.key = key
    this.value = value
    this.attributes = attributes
    this.offset = offset
    this.timestamp = timestamp
  }

  get heldBytes(): number {
    return this.#isTaken ? 0 : (this.key?.length ?? 0) + (this.value?.length ?? 0)
  }

  get isEmpty(): boolean {
    return this.#isTaken
  }

  skipTo(offset: bigint): void {
    this.#isTaken ||= BigInt(this.offset) < offset
  }

  take(out: LogRecord[], limits: TakeLimits): number {
    const bytes = this.heldBytes
    if (this.#isTaken || out.length >= limits.records || (bytes > limits.bytes && out.length > 0)) return 0
    const { key, value, timestamp, offset } = this
    out.push({ key, value, headers: noHeaders, timestamp: Number(timestamp ?? -1), offset: BigInt(offset) })
    this.#isTaken = true
    return bytes
  }
}
