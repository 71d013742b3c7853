/**
 * Calls of `send` for one partition, as batches: one in flight, the next made of what has come meanwhile.
 * Invariants: records leave in call order; a call's records follow one another; when a batch's outcome is unknown, the calls in it
 * and behind it fail together, so that no later call overtakes one that its caller will send again.
 */
import type { SidestreamError } from '../../schemas/index.ts'
import { BatchMessages } from './kafka-batch-messages.ts'
import { framedBytes } from './kafka-records.ts'
import type { ProducerRecord } from './log.ts'

/** Below what brokers take by default, 1048588, before compression. */
const mostBatchBytes = 921_600
const mostBatchRecords = 1000

/** What became of a batch. `refused`: nothing of it was appended; `unknown`: it may have been. */
export type SendOutcome =
  | { readonly kind: 'done'; readonly base: bigint }
  | { readonly kind: 'refused' | 'unknown'; readonly error: SidestreamError }

interface Call {
  readonly records: readonly ProducerRecord[]
  /** Bytes of all its records. */
  readonly bytes: number
  /** Records that were appended. */
  sent: number
  base: bigint
  readonly resolve: (base: bigint) => void
  readonly reject: (error: unknown) => void
}

interface Part {
  readonly call: Call
  readonly count: number
}

export class KafkaSendQueue {
  readonly #partition: number
  readonly #append: (messages: BatchMessages) => Promise<SendOutcome>
  readonly #calls: Call[] = []
  #pumping = false
  /** Less than the most once a broker has refused a batch as too large. */
  #batchBytes = mostBatchBytes
  /** A batch of several calls was refused: these many calls go one by one, so that only the bad one fails. */
  #alone = 0

  constructor(partition: number, append: (messages: BatchMessages) => Promise<SendOutcome>) {
    this.#partition = partition
    this.#append = append
  }

  /** @param bytes - of all records, framed @returns offset of the first record */
  push(records: readonly ProducerRecord[], bytes: number): Promise<bigint> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ records, bytes, sent: 0, base: -1n, resolve, reject })
      if (!this.#pumping) void this.#pump()
    })
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    while (this.#calls.length > 0) {
      const records: ProducerRecord[] = []
      const parts = this.#take(records)
      const outcome = await this.#append(new BatchMessages(records, this.#partition))
      if (outcome.kind === 'done') this.#accept(parts, outcome.base)
      else if (outcome.kind === 'unknown') for (const call of this.#calls.splice(0)) call.reject(outcome.error)
      else if (outcome.error.code === 'SIDESTREAM_RECORD_TOO_LARGE' && records.length > 1) this.#shrink(parts)
      else if (parts.length > 1) this.#alone = parts.length
      else this.#calls.shift()!.reject(outcome.error)
      if (outcome.kind !== 'refused' || parts.length === 1) this.#alone = Math.max(0, this.#alone - 1)
    }
    this.#pumping = false
  }

  /** As many records of the first calls as one batch holds, at least one. */
  #take(batch: ProducerRecord[]): Part[] {
    const parts: Part[] = []
    let room = this.#batchBytes
    const most = this.#alone > 0 ? 1 : this.#calls.length
    for (let i = 0; i < most && batch.length < mostBatchRecords && room > 0; i++) {
      const call = this.#calls[i]!
      const { records, sent } = call
      const wholeFits = sent === 0 && call.bytes <= room && batch.length + records.length <= mostBatchRecords
      let at = sent
      for (; at < records.length; at++) {
        if (!wholeFits) {
          const bytes = framedBytes(records[at]!)
          if (batch.length === mostBatchRecords || (bytes > room && batch.length > 0)) break
          room -= bytes
        }
        batch.push(records[at]!)
      }
      if (wholeFits) room -= call.bytes
      if (at > sent) parts.push({ call, count: at - sent })
      if (at < records.length) break
    }
    return parts
  }

  /** The topic takes smaller batches than most: halve them, until one record alone is too large. */
  #shrink(parts: readonly Part[]): void {
    let bytes = 0
    for (const { call, count } of parts) for (let i = 0; i < count; i++) bytes += framedBytes(call.records[call.sent + i]!)
    this.#batchBytes = Math.ceil(Math.min(this.#batchBytes, bytes) / 2)
  }

  #accept(parts: readonly Part[], base: bigint): void {
    let offset = base
    for (const { call, count } of parts) {
      if (call.sent === 0) call.base = offset
      call.sent += count
      offset += BigInt(count)
      if (call.sent < call.records.length) continue
      this.#calls.shift()
      call.resolve(call.base)
    }
  }
}
