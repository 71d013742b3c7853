/**
 * One partition of the file log: segments on disk, the append queue, and what is durable.
 * Invariant: readers see whole batches up to `end` only, and `end` passes a batch after its fdatasync (unless `sync` is
 * `none`). A failed fsync is never retried: what it left on disk is unknown, so the partition takes no more.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { SidestreamError } from '../../schemas/index.ts'
import { allocateBlock, frameBytes, writeFrame } from './file-frame.ts'
import type { Block, FrameStamp } from './file-frame.ts'
import { closeFile, isDiskFull, openFile, syncData, truncateFile, writeAll } from './file-io.ts'
import { FileReader } from './file-reader.ts'
import { scanSegment, segmentFile } from './file-segment.ts'
import type { Segment } from './file-segment.ts'
import { Segments } from './file-segments.ts'
import { Tail } from './file-tail.ts'
import type { TailEntry } from './file-tail.ts'
import type { GroupCommit, Syncable } from './group-commit.ts'
import type { ProducerRecord } from './log.ts'
import { Listeners } from './partition.ts'
import type { Partition, PartitionReader } from './partition.ts'

export interface FilePartitionOptions {
  readonly directory: string
  readonly topic: string
  readonly index: number
  readonly sync: 'always' | 'group' | 'none'
  readonly segmentBytes: number
  readonly tailBytes: number
  readonly commit: GroupCommit
  /** Age of segments, milliseconds since epoch. */
  readonly wallClock: () => number
}

/** A tail that was cut when the log was opened: an append that never finished. */
export interface TornTail {
  readonly file: string
  /** Where the file ends now. */
  readonly byte: number
  /** Bytes cut away. */
  readonly bytes: number
}

interface Append {
  readonly records: readonly ProducerRecord[]
  readonly bytes: number
  readonly now: number
  base: number
  readonly resolve: (base: number) => void
  readonly reject: (error: unknown) => void
}

/** Appends written with one call, and the size of one write. */
const writeBytes = 1 << 20

export class FilePartition implements Partition, Syncable {
  readonly topic: string
  readonly index: number
  readonly torn: TornTail | undefined
  /** Compaction and retention work on them, one at a time. */
  readonly segments: Segments
  readonly #options: FilePartitionOptions
  readonly #tail: Tail
  readonly #listeners = new Listeners()
  #fd: number
  /** Offset of the next append. */
  #written: number
  /** One past the last durable record, and the active segment's length up to there. */
  #end: number
  #endBytes: number
  #queue: Append[] = []
  /** Those who wait for a new segment. */
  #rolls: { resolve: () => void; reject: (error: unknown) => void }[] = []
  #draining: Promise<void> | undefined
  #unsynced: Append[] = []
  #syncing: Promise<void> | undefined
  #failure: SidestreamError | undefined
  readonly #closing = new AbortController()
  #maintaining: Promise<unknown> = Promise.resolve()
  #closed = false

  /** Opens a partition or makes an empty one: scans the last segment and cuts its torn tail. */
  static async open(options: FilePartitionOptions): Promise<FilePartition> {
    await mkdir(options.directory, { recursive: true })
    const segments = await Segments.open(options.directory)
    if (segments.isEmpty) return new FilePartition(options, segments, await segments.begin(0, options.wallClock()), 0, undefined)
    const last = segments.active
    const scan = await scanSegment(last.path, last.base)
    last.size = scan.size
    last.index = scan.index
    const fd = await openFile(last.path, 'r+')
    if (scan.rest > 0) {
      await truncateFile(fd, scan.size)
      await syncData(fd)
    }
    const torn = scan.rest > 0 ? { file: last.path, byte: scan.size, bytes: scan.rest } : undefined
    return new FilePartition(options, segments, fd, scan.end, torn)
  }

  private constructor(options: FilePartitionOptions, segments: Segments, fd: number, end: number, torn: TornTail | undefined) {
    this.topic = options.topic
    this.index = options.index
    this.torn = torn
    this.segments = segments
    this.#options = options
    this.#tail = new Tail(options.tailBytes)
    this.#fd = fd
    this.#written = end
    this.#end = end
    this.#endBytes = segments.active.size
  }

  get start(): number {
    return this.segments.start
  }

  get end(): number {
    return this.#end
  }

  watch(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  reader(): PartitionReader {
    return new FileReader({
      start: () => this.start,
      end: () => this.#end,
      tail: (offset) => {
        const entry = this.#tail.find(offset)
        return entry?.segment.retired === false ? entry : undefined
      },
      find: (offset) => this.segments.find(offset),
      after: (segment) => this.segments.after(segment),
      readable: (segment) => (segment === this.segments.active ? this.#endBytes : segment.size),
    })
  }

  append(records: readonly ProducerRecord[], now: number): Promise<number> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    let bytes = 0
    for (const record of records) bytes += frameBytes(record)
    return new Promise((resolve, reject) => {
      this.#queue.push({ records, bytes, now, base: 0, resolve, reject })
      this.#draining ??= this.#drain()
    })
  }

  /** Begins a new segment, so that compaction and retention can take the last one; nothing is done while that is empty. */
  roll(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      this.#rolls.push({ resolve, reject })
      this.#draining ??= this.#drain()
    })
  }

  /** Makes all that is written so far durable, and readable. */
  sync(): Promise<void> {
    this.#syncing = (this.#syncing ?? Promise.resolve()).then(() => this.#syncNow())
    return this.#syncing
  }

  /** Runs `work`, which closed segments may change by, after what runs already. Its signal aborts when the partition closes. */
  maintain<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#closing
    const done = this.#maintaining.then(() => {
      if (signal.aborted) throw signal.reason
      return work(signal)
    })
    this.#maintaining = done.catch(() => {})
    return done
  }

  /** Ends maintenance, waits for what is queued, syncs, and takes no more. */
  async close(): Promise<void> {
    const closed = new SidestreamError('SIDESTREAM_CLOSED', `${this.#name()} is closed`)
    this.#closing.abort(closed)
    await this.#maintaining
    while (this.#draining !== undefined) await this.#draining
    const failed = this.#failure !== undefined
    this.#failure ??= closed
    if (!failed) await this.sync()
    await this.#syncing
    this.#closed = true
    await closeFile(this.#fd)
  }

  async #drain(): Promise<void> {
    await undefined // sends of the same turn share a write
    while (this.#queue.length + this.#rolls.length > 0) {
      await this.#rollAsked()
      const group = this.#takeGroup()
      if (group.length === 0) continue
      try {
        if (this.#failure !== undefined) throw this.#failure
        await this.#write(group)
      } catch (error) {
        for (const append of group) append.reject(error)
      }
    }
    this.#draining = undefined
  }

  async #rollAsked(): Promise<void> {
    const asked = this.#rolls
    if (asked.length === 0) return
    this.#rolls = []
    try {
      if (this.#failure !== undefined) throw this.#failure
      if (this.segments.active.size > 0) await this.#roll()
      for (const { resolve } of asked) resolve()
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }

  /** The oldest appends, together about one write. */
  #takeGroup(): Append[] {
    let count = 0
    let bytes = 0
    while (count < this.#queue.length && (count === 0 || bytes + this.#queue[count]!.bytes <= writeBytes))
      bytes += this.#queue[count++]!.bytes
    return this.#queue.splice(0, count)
  }

  async #write(group: readonly Append[]): Promise<void> {
    const bytes = group.reduce((sum, append) => sum + append.bytes, 0)
    if (this.segments.active.size > 0 && this.segments.active.size + bytes > this.#options.segmentBytes) await this.#roll()
    const segment = this.segments.active
    const entries: TailEntry[] = []
    try {
      for (const entry of this.#encode(group, segment, bytes)) {
        await writeAll(this.#fd, entry.block.bytes, entry.byte)
        entries.push(entry)
      }
    } catch (error) {
      segment.index?.truncate(segment.size)
      throw await this.#cutBack(segment, error)
    }
    for (const entry of entries) this.#tail.push(entry)
    segment.newestTs = this.#options.wallClock()
    if (segment.size === 0) segment.oldestTs = segment.newestTs
    segment.size += bytes
    this.#written += group.reduce((sum, append) => sum + append.records.length, 0)
    this.#unsynced.push(...group)
    if (this.#options.sync === 'none') this.#publish(this.#written, segment.size, this.#takeUnsynced())
    else if (this.#options.sync === 'always') await this.sync()
    else this.#options.commit.request(this, bytes)
  }

  /** The group's frames in blocks of about 1 MiB, encoded one block at a time. */
  *#encode(group: readonly Append[], segment: Segment, total: number): Generator<TailEntry> {
    const stamp: FrameStamp = { offset: this.#written, time: 0, position: 0, last: false }
    let byte = segment.size
    let left = total
    let block: Block | undefined
    let [at, base] = [0, stamp.offset]
    for (const append of group) {
      append.base = stamp.offset
      for (let i = 0; i < append.records.length; i++) {
        const record = append.records[i]!
        const size = left <= writeBytes && block !== undefined ? 0 : frameBytes(record)
        if (block !== undefined && at + size > block.bytes.length) {
          yield { block: { bytes: block.bytes.subarray(0, at), view: block.view }, base, next: stamp.offset, segment, byte }
          byte += at
          left -= at
          block = undefined
        }
        if (block === undefined) {
          block = allocateBlock(left <= writeBytes ? left : Math.max(writeBytes, size))
          at = 0
          base = stamp.offset
        }
        segment.index?.note(stamp.offset, byte + at)
        stamp.time = Math.trunc(record.timestamp ?? append.now)
        stamp.position = i
        stamp.last = i === append.records.length - 1
        at = writeFrame(block, at, record, stamp)
        stamp.offset++
      }
    }
    if (block !== undefined)
      yield { block: { bytes: block.bytes.subarray(0, at), view: block.view }, base, next: stamp.offset, segment, byte }
  }

  /** After a failed write: the file ends with the last whole batch again, or the partition is given up. */
  async #cutBack(segment: Segment, cause: unknown): Promise<SidestreamError> {
    try {
      await truncateFile(this.#fd, segment.size)
    } catch (error) {
      return this.#fail(`cannot cut ${segment.path} back after a failed write`, error)
    }
    if (!isDiskFull(cause)) return this.#fail(`cannot write ${segment.path}`, cause)
    return this.#diskFull(segment.path, cause)
  }

  #diskFull(path: string, cause: unknown): SidestreamError {
    const message = `no space left for ${path}: nothing of this send was kept; free space and send it again`
    return new SidestreamError('SIDESTREAM_DISK_FULL', message, { cause, file: path })
  }

  /** Starts the next segment; all before it is durable then. */
  async #roll(): Promise<void> {
    await this.sync()
    if (this.#failure !== undefined) throw this.#failure
    const old = this.#fd
    try {
      this.#fd = await this.segments.begin(this.#written, this.#options.wallClock())
    } catch (error) {
      const path = join(this.#options.directory, segmentFile({ base: this.#written, generation: 0 }))
      throw isDiskFull(error) ? this.#diskFull(path, error) : this.#fail(`cannot create ${path}`, error)
    }
    this.#endBytes = 0
    await this.#syncing // a round may still hold the old descriptor
    await closeFile(old)
  }

  async #syncNow(): Promise<void> {
    if (this.#closed) return
    const [written, size, appends] = [this.#written, this.segments.active.size, this.#takeUnsynced()]
    if (this.#failure !== undefined && this.#failure.code !== 'SIDESTREAM_CLOSED') {
      for (const append of appends) append.reject(this.#failure)
      return
    }
    try {
      await syncData(this.#fd)
    } catch (error) {
      const failure = this.#fail(`cannot sync ${this.segments.active.path}`, error)
      for (const append of [...appends, ...this.#takeUnsynced()]) append.reject(failure)
      return
    }
    this.#publish(written, size, appends)
  }

  #publish(end: number, bytes: number, appends: readonly Append[]): void {
    if (end > this.#end) {
      this.#end = end
      this.#endBytes = bytes
      this.#listeners.call()
    }
    for (const append of appends) append.resolve(append.base)
  }

  #takeUnsynced(): Append[] {
    const appends = this.#unsynced
    this.#unsynced = []
    return appends
  }

  #fail(what: string, cause: unknown): SidestreamError {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `${what} (${reason}): ${this.#name()} takes no more appends; check the disk, then restart`
    this.#failure = new SidestreamError('SIDESTREAM_LOG_WRITE_FAILED', message, { cause, topic: this.topic, partition: this.index })
    return this.#failure
  }

  #name(): string {
    return `partition ${this.index} of topic ${this.topic}`
  }
}
