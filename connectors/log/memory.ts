/**
 * The log in memory: same contract, nothing survives the process. For tests and examples.
 * Invariant: records are copied in, so that a caller may reuse its buffers once `send` has resolved.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { EmbeddedLog } from './embedded.ts'
import type { EmbeddedOptions } from './embedded.ts'
import { frameBytes } from './file-frame.ts'
import type { LogDriver, LogRecord, ProducerRecord } from './log.ts'
import { Listeners } from './partition.ts'
import type { Cleanup, LogStorage, OffsetStore, Partition, PartitionReader, Topic } from './partition.ts'

/** Opens an empty log in memory. */
export async function openMemoryLog(options: EmbeddedOptions = {}): Promise<LogDriver> {
  return new EmbeddedLog('memory', new MemoryStorage(), options)
}

class MemoryStorage implements LogStorage {
  readonly offsets = new MemoryOffsets()
  readonly topics = new Map<string, Topic>()

  async create(name: string, partitions: number, cleanup: Cleanup): Promise<Topic> {
    const topic = { name, cleanup, partitions: Array.from({ length: partitions }, (_, index) => new MemoryPartition(name, index)) }
    this.topics.set(name, topic)
    return topic
  }

  async remove(name: string): Promise<void> {
    for (const partition of this.topics.get(name)!.partitions as MemoryPartition[]) partition.close()
    this.topics.delete(name)
    await this.offsets.drop(name)
  }

  async close(): Promise<void> {
    for (const topic of this.topics.values()) for (const partition of topic.partitions as MemoryPartition[]) partition.close()
  }
}

class MemoryOffsets implements OffsetStore {
  readonly #offsets = new Map<string, { topic: string; next: number }>()

  get(group: string, topic: string, partition: number): number | undefined {
    return this.#offsets.get(`${group}\n${topic}\n${partition}`)?.next
  }

  async set(group: string, topic: string, partition: number, next: number): Promise<void> {
    this.#offsets.set(`${group}\n${topic}\n${partition}`, { topic, next })
  }

  async drop(topic: string): Promise<void> {
    for (const [key, entry] of this.#offsets) if (entry.topic === topic) this.#offsets.delete(key)
  }

  async flush(): Promise<void> {}
}

class MemoryPartition implements Partition {
  readonly topic: string
  readonly index: number
  readonly start = 0
  readonly #records: LogRecord[] = []
  readonly #listeners = new Listeners()
  #closed = false

  constructor(topic: string, index: number) {
    this.topic = topic
    this.index = index
  }

  get end(): number {
    return this.#records.length
  }

  watch(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  async append(records: readonly ProducerRecord[], now: number): Promise<number> {
    if (this.#closed) throw new SidestreamError('SIDESTREAM_CLOSED', `partition ${this.index} of topic ${this.topic} is closed`)
    const base = this.#records.length
    for (const { key, value, headers = [], timestamp = now } of records) {
      this.#records.push({
        key: key === null ? null : Uint8Array.from(key),
        value: value === null ? null : Uint8Array.from(value),
        headers: headers.map(([name, content]) => [name, Uint8Array.from(content)] as const),
        timestamp: Math.trunc(timestamp),
        offset: BigInt(this.#records.length),
      })
    }
    this.#listeners.call()
    await new Promise((resolve) => setImmediate(resolve)) // as with files, a loop of sends leaves others their turn
    return base
  }

  reader(): PartitionReader {
    let next = 0
    return {
      seek: (offset) => {
        next = offset
      },
      read: async ({ records: most, bytes: room }) => {
        const start = next
        for (let bytes = 0; next < this.#records.length && next - start < most; next++) {
          bytes += frameBytes(this.#records[next]!)
          if (bytes > room && next > start) break
        }
        return { records: this.#records.slice(start, next), next }
      },
      close: () => {},
    }
  }

  close(): void {
    this.#closed = true
  }
}
