/**
 * The log in memory: same contract, nothing survives the process. For tests and examples.
 * Invariant: records are copied in, so that a caller may reuse its buffers once `send` has resolved.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { cleanEnd, horizonOf, noCompaction, noteRun } from './compaction-horizon.ts'
import type { CompactionHistory } from './compaction-horizon.ts'
import { EmbeddedLog } from './embedded.ts'
import type { EmbeddedOptions } from './embedded.ts'
import { frameBytes } from './file-frame.ts'
import type { LogDriver, LogRecord, ProducerRecord, TopicCleanup } from './log.ts'
import { Listeners } from './partition.ts'
import type { LogStorage, OffsetStore, Partition, PartitionReader, Topic } from './partition.ts'

export interface MemoryLogOptions extends EmbeddedOptions {
  /** Age at which a record of a topic with cleanup `delete` goes; Infinity: never. @default 604800000 */
  readonly retentionMs?: number
  /** How long a tombstone stays after all older records of its key are gone. @default 86400000 */
  readonly deleteRetentionMs?: number
  /** Age of records, milliseconds since epoch. @default Date.now */
  readonly wallClock?: () => number
}

export const memoryLogDefaults: Readonly<Required<Omit<MemoryLogOptions, keyof EmbeddedOptions>>> = {
  retentionMs: 604_800_000,
  deleteRetentionMs: 86_400_000,
  wallClock: Date.now,
}

export interface MemoryLog extends LogDriver {
  /** Does now what else is done while records come: retention, and compaction where half of the records are new. */
  maintain(): Promise<void>
  /**
   * Compacts all records of a topic.
   * @throws SIDESTREAM_TOPIC_UNKNOWN; SIDESTREAM_USAGE_INVALID when its cleanup is not `compact`
   */
  compact(topic: string): Promise<void>
}

/** Opens an empty log in memory. */
export async function openMemoryLog(options: MemoryLogOptions = {}): Promise<MemoryLog> {
  return new OpenMemoryLog(new MemoryStorage({ ...memoryLogDefaults, ...options }), options)
}

class OpenMemoryLog extends EmbeddedLog implements MemoryLog {
  readonly #storage: MemoryStorage

  constructor(storage: MemoryStorage, options: MemoryLogOptions) {
    super('memory', storage, options)
    this.#storage = storage
  }

  async maintain(): Promise<void> {
    for (const { partitions } of this.#storage.topics.values()) for (const partition of partitions) partition.tidy()
  }

  async compact(name: string): Promise<void> {
    const topic = this.#storage.topics.get(name)
    if (topic === undefined) throw new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', `there is no topic ${name}`, { topic: name })
    if (topic.cleanup !== 'compact') {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `topic ${name} has cleanup ${topic.cleanup}: it is never compacted`)
    }
    for (const partition of topic.partitions) partition.compact()
  }
}

type Retention = typeof memoryLogDefaults

interface MemoryTopic extends Topic {
  readonly partitions: readonly MemoryPartition[]
}

class MemoryStorage implements LogStorage {
  readonly offsets = new MemoryOffsets()
  readonly topics = new Map<string, MemoryTopic>()
  readonly #retention: Retention

  constructor(retention: Retention) {
    this.#retention = retention
  }

  async create(name: string, partitions: number, cleanup: TopicCleanup): Promise<Topic> {
    const all = Array.from({ length: partitions }, (_, index) => new MemoryPartition(name, index, cleanup, this.#retention))
    const topic = { name, cleanup, partitions: all }
    this.topics.set(name, topic)
    return topic
  }

  async remove(name: string): Promise<void> {
    for (const partition of this.topics.get(name)!.partitions) partition.close()
    this.topics.delete(name)
    await this.offsets.drop(name)
  }

  async close(): Promise<void> {
    for (const { partitions } of this.topics.values()) for (const partition of partitions) partition.close()
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

/** The newest records are left alone until somebody asks, as those of a segment that is still written to. */
const openRecords = 10_000
/** Old records that are not worth the copying. */
const fewRecords = 1000

class MemoryPartition implements Partition {
  readonly topic: string
  readonly index: number
  readonly #cleanup: TopicCleanup
  readonly #retention: Retention
  /** Ascending offsets, with holes after a compaction. */
  #records: LogRecord[] = []
  /** Append time of each. */
  #times: number[] = []
  #start = 0
  #end = 0
  #history: CompactionHistory = noCompaction
  readonly #listeners = new Listeners()
  #closed = false

  constructor(topic: string, index: number, cleanup: TopicCleanup, retention: Retention) {
    this.topic = topic
    this.index = index
    this.#cleanup = cleanup
    this.#retention = retention
  }

  get start(): number {
    return this.#start
  }

  get end(): number {
    return this.#end
  }

  watch(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  async append(records: readonly ProducerRecord[], now: number): Promise<number> {
    if (this.#closed) throw new SidestreamError('SIDESTREAM_CLOSED', `partition ${this.index} of topic ${this.topic} is closed`)
    const base = this.#end
    const appendTs = this.#retention.wallClock()
    for (const { key, value, headers = [], timestamp = now } of records) {
      this.#records.push({
        key: key === null ? null : Uint8Array.from(key),
        value: value === null ? null : Uint8Array.from(value),
        headers: headers.map(([name, content]) => [name, Uint8Array.from(content)] as const),
        timestamp: Math.trunc(timestamp),
        offset: BigInt(this.#end++),
      })
      this.#times.push(appendTs)
    }
    this.#listeners.call()
    this.tidy()
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
        const first = this.#indexOf(next)
        let [i, bytes] = [first, 0]
        for (; i < this.#records.length && i - first < most; i++) {
          bytes += frameBytes(this.#records[i]!)
          if (bytes > room && i > first) break
        }
        next = i < this.#records.length ? Number(this.#records[i]!.offset) : this.#end
        return { records: this.#records.slice(first, i), next }
      },
      close: () => {},
    }
  }

  /** Drops what is too old, or compacts when at least half of the older records are new. */
  tidy(): void {
    if (this.#cleanup === 'delete') {
      const until = this.#retention.wallClock() - this.#retention.retentionMs
      let old = 0
      while (old < this.#times.length && this.#times[old]! <= until) old++
      if (old === 0 || (old < fewRecords && old < this.#times.length)) return
      this.#records = this.#records.slice(old)
      this.#times = this.#times.slice(old)
      this.#start = Number(this.#records[0]?.offset ?? this.#end)
    } else if (this.#cleanup === 'compact') {
      const closed = this.#records.length - openRecords
      const fresh = closed - this.#indexOf(cleanEnd(this.#history))
      if (fresh >= Math.max(openRecords, closed / 2)) this.compact(Number(this.#records[closed]!.offset))
    }
  }

  /** As `compactSegments` does with files, over all records below `upTo`. */
  compact(upTo = this.#end): void {
    const last = new Map<string, bigint>()
    for (const { key, offset } of this.#records) if (key !== null && offset < upTo) last.set(keyText(key), offset)
    const horizon = horizonOf(this.#history, this.#retention)
    let tombstones = 0
    const keep = this.#records.map(({ key, value, offset }) => {
      if (key === null) return true
      if ((last.get(keyText(key)) ?? offset) > offset || (value === null && offset < horizon)) return false
      if (value === null) tombstones++
      return true
    })
    this.#records = this.#records.filter((_, i) => keep[i])
    this.#times = this.#times.filter((_, i) => keep[i])
    this.#history = { cleaned: noteRun(upTo, this.#history, this.#retention), horizon, tombstones }
  }

  close(): void {
    this.#closed = true
  }

  /** Index of the first record at or after the offset. */
  #indexOf(offset: number): number {
    let [low, high] = [0, this.#records.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#records[middle]!.offset < offset) low = middle + 1
      else high = middle
    }
    return low
  }
}

const keyText = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
