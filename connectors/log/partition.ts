/**
 * What the embedded drivers (file, memory) keep per partition, and the little that producers and consumers ask of it.
 * Invariant: offsets are dense numbers given in append order, and stay when records between them are compacted away; `end`
 * moves only over whole batches that are as durable as the driver promises, and only those are ever read.
 */
import type { LogRecord, ProducerRecord, TopicCleanup } from './log.ts'

export interface Partition {
  readonly topic: string
  readonly index: number
  /** Oldest readable offset. */
  readonly start: number
  /** One past the newest readable offset. */
  readonly end: number
  /**
   * Appends one batch, in call order, and resolves with its first offset when it is durable.
   * @param now - time for records without one, milliseconds since epoch
   * @throws SIDESTREAM_DISK_FULL (nothing of the batch stays; later appends may work), SIDESTREAM_LOG_WRITE_FAILED (the
   * partition takes no more), SIDESTREAM_CLOSED
   */
  append(records: readonly ProducerRecord[], now: number): Promise<number>
  reader(): PartitionReader
  /** Calls `listener` whenever `end` has moved. @returns ends it */
  watch(listener: () => void): () => void
}

export interface ReadLimits {
  /** Most records of one answer. */
  readonly records: number
  /** Most bytes of one answer, counted as stored; one record is always given. */
  readonly bytes: number
}

export interface Read {
  /** Empty when there is nothing new, or nothing but holes. */
  readonly records: LogRecord[]
  /** Where the next read goes on: past the records, and past holes behind them as far as they are known. */
  readonly next: number
}

/** A place in one partition; one read at a time. */
export interface PartitionReader {
  seek(offset: number): void
  /**
   * The records after the last ones. Below the end, `next` always moves.
   * @throws SIDESTREAM_LOG_CORRUPT naming file and byte
   */
  read(limits: ReadLimits): Promise<Read>
  close(): void
}

export interface Topic {
  readonly name: string
  readonly cleanup: Cleanup
  readonly partitions: readonly Partition[]
}

export type Cleanup = TopicCleanup

/** Committed offsets: hints, one per group, topic and partition. */
export interface OffsetStore {
  get(group: string, topic: string, partition: number): number | undefined
  set(group: string, topic: string, partition: number, next: number): Promise<void>
  /** Forgets a deleted topic. */
  drop(topic: string): Promise<void>
  /** Makes what was set durable. */
  flush(): Promise<void>
}

/** Where an embedded log keeps its topics and offsets. */
export interface LogStorage {
  readonly topics: ReadonlyMap<string, Topic>
  readonly offsets: OffsetStore
  create(name: string, partitions: number, cleanup: Cleanup): Promise<Topic>
  /** The topic is gone from `topics` before anything is deleted. */
  remove(name: string): Promise<void>
  close(): Promise<void>
}

/** Calls every listener; a listener may end itself meanwhile. */
export class Listeners {
  readonly #listeners = new Set<() => void>()

  add(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  call(): void {
    for (const listener of this.#listeners) listener()
  }
}
