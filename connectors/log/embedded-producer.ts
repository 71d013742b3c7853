/**
 * Sends records of this process to the embedded log.
 * Invariant: a call is checked whole before anything of it is written; per partition it is one batch, kept whole or not at
 * all, in call order.
 */
import { partitionForKey } from '../../compute/index.ts'
import { SidestreamError } from '../../schemas/index.ts'
import type { LogCore } from './embedded.ts'
import { frameHeaderLimit } from './file-frame.ts'
import type { LogProducer, ProducerRecord } from './log.ts'
import type { Topic } from './partition.ts'

export class EmbeddedProducer implements LogProducer {
  readonly #core: LogCore
  readonly #onClose: () => void
  readonly #pending = new Set<Promise<unknown>>()
  #rotation = 0
  #closed = false

  constructor(core: LogCore, onClose: () => void) {
    this.#core = core
    this.#onClose = onClose
  }

  async send(topicName: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>> {
    if (this.#closed) throw new SidestreamError('SIDESTREAM_CLOSED', 'this producer is closed')
    const topic = this.#core.topic(topicName)
    if (partition !== undefined && topic.partitions[partition] === undefined) {
      const message = `topic ${topicName} has partitions 0 to ${topic.partitions.length - 1}, not ${partition}`
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message, { topic: topicName, partition })
    }
    for (const record of records) this.#check(record, topicName)
    if (records.length === 0) return new Map()
    const now = this.#core.options.clock()
    const parts = partition === undefined ? this.#split(topic, records) : new Map([[partition, records]])
    const appends = [...parts].map(async ([index, part]) => [index, BigInt(await topic.partitions[index]!.append(part, now))] as const)
    const all = Promise.allSettled(appends)
    this.#pending.add(all)
    try {
      await all
      return new Map(await Promise.all(appends))
    } finally {
      this.#pending.delete(all)
    }
  }

  async flush(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.flush()
    this.#onClose()
  }

  #check({ key, value, headers = [] }: ProducerRecord, topic: string): void {
    let bytes = (key === null ? 0 : key.length) + (value === null ? 0 : value.length)
    for (const [name, content] of headers) {
      const named = Buffer.byteLength(name)
      if (named > frameHeaderLimit)
        throw new SidestreamError('SIDESTREAM_RECORD_INVALID', `a header name for topic ${topic} has ${named} bytes`)
      bytes += named + content.length
    }
    if (headers.length > frameHeaderLimit) {
      throw new SidestreamError('SIDESTREAM_RECORD_INVALID', `a record for topic ${topic} has ${headers.length} headers`, { topic })
    }
    const limit = this.#core.options.recordLimitBytes
    if (bytes > limit) {
      const message = `a record for topic ${topic} has ${bytes} bytes, more than the ${limit} allowed: make it smaller, or raise the limit`
      throw new SidestreamError('SIDESTREAM_RECORD_TOO_LARGE', message, { topic, bytes, limit })
    }
  }

  /** By key as Kafka's Java client does; records without a key go round. */
  #split({ partitions }: Topic, records: readonly ProducerRecord[]): Map<number, ProducerRecord[]> {
    const parts = new Map<number, ProducerRecord[]>()
    for (const record of records) {
      const index = record.key === null ? this.#rotation++ % partitions.length : partitionForKey(record.key, partitions.length)
      const part = parts.get(index)
      if (part === undefined) parts.set(index, [record])
      else part.push(record)
    }
    return parts
  }
}
