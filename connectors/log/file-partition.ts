/**
 * One partition of the file log: segments on disk, the append queue, and what is durable.
 * Invariant: readers see whole batches up to `end` only, and `end` passes a batch after its fdatasync (unless `sync` is
 * `none`). A failed fsync is never retried: what it left on disk is unknown, so the partition takes no more.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { SidestreamError } from '../../schemas/index.ts'
import { allocateBlock, frameBytes, writeFrame } from './file-frame.ts'
import type { Block, FrameStamp } from './file-frame.ts'
import { closeFile, isDiskFull, openFile, syncData, syncDirectory, truncateFile, writeAll } from './file-io.ts'
import { FileReader } from './file-reader.ts'
import { scanSegment, segmentBase, SegmentIndex, segmentName } from './file-segment.ts'
import type { Segment } from './file-segment.ts'
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
/** Segments that keep their index in memory. */
const indexedSegments = 4

export class FilePartition implements Partition, Syncable {
  readonly topic: string
  readonly index: number
  readonly torn: TornTail | undefined
  readonly #options: FilePartitionOptions
  readonly #segments: Segment[]
  readonly #tail: Tail
  readonly #listeners = new Listeners()
  #fd: number
  /** Offset of the next append. */
  #written: number
  /** One past the last durable record, and the active segment's length up to there. */
  #end: number
  #endBytes: number
  #queue: Append[] = []
  #draining: Promise<void> | undefined
  #unsynced: Append[] = []
  #syncing: Promise<void> | undefined
  #failure: SidestreamError | undefined
  #closed = false

  /** Opens a partition or makes an empty one: scans the last segment and cuts its torn tail. */
  static async open(options: FilePartitionOptions): Promise<FilePartition> {
    const { directory } = options
    await mkdir(directory, { recursive: true })
    const bases = (await readdir(directory)).map(segmentBase).filter((base) => base !== undefined)
    const segments: Segment[] = []
    for (const base of bases.sort((a, b) => a - b)) {
      const path = join(directory, segmentName(base))
      segments.push({ base, path, size: (await stat(path)).size, index: undefined })
    }
    const last = segments.at(-1)
    if (last === undefined) {
      const created = await createSegment(directory, 0)
      return new FilePartition(options, [created.segment], created.fd, 0, undefined)
    }
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

  private constructor(options: FilePartitionOptions, segments: Segment[], fd: number, end: number, torn: TornTail | undefined) {
    this.topic = options.topic
    this.index = options.index
    this.torn = torn
    this.#options = options
    this.#segments = segments
    this.#tail = new Tail(options.tailBytes)
    this.#fd = fd
    this.#written = end
    this.#end = end
    this.#endBytes = segments.at(-1)!.size
  }

  get start(): number {
    return this.#segments[0]!.base
  }

  get end(): number {
    return this.#end
  }

  watch(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  reader(): PartitionReader {
    return new FileReader({
      end: () => this.#end,
      tail: (offset) => this.#tail.find(offset),
      segmentOf: (offset) => this.#segments.findLast((segment) => segment.base <= offset) ?? this.#segments[0]!,
      after: (segment) => this.#segments[this.#segments.indexOf(segment) + 1],
      readable: (segment) => (segment === this.#segments.at(-1) ? this.#endBytes : segment.size),
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

  /** Makes all that is written so far durable, and readable. */
  sync(): Promise<void> {
    this.#syncing = (this.#syncing ?? Promise.resolve()).then(() => this.#syncNow())
    return this.#syncing
  }

  /** Waits for what is queued, syncs, and takes no more. */
  async close(): Promise<void> {
    const closed = new SidestreamError('SIDESTREAM_CLOSED', `${this.#name()} is closed`)
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
    while (this.#queue.length > 0) {
      const group = this.#takeGroup()
      try {
        if (this.#failure !== undefined) throw this.#failure
        await this.#write(group)
      } catch (error) {
        for (const append of group) append.reject(error)
      }
    }
    this.#draining = undefined
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
    if (this.#active().size > 0 && this.#active().size + bytes > this.#options.segmentBytes) await this.#roll()
    const segment = this.#active()
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
    const { directory } = this.#options
    const old = this.#fd
    let created: { segment: Segment; fd: number }
    try {
      created = await createSegment(directory, this.#written)
    } catch (error) {
      const path = join(directory, segmentName(this.#written))
      throw isDiskFull(error) ? this.#diskFull(path, error) : this.#fail(`cannot create ${path}`, error)
    }
    this.#fd = created.fd
    this.#endBytes = 0
    this.#segments.push(created.segment)
    for (const segment of this.#segments.slice(0, -indexedSegments)) segment.index = undefined
    await this.#syncing // a round may still hold the old descriptor
    await closeFile(old)
  }

  async #syncNow(): Promise<void> {
    if (this.#closed) return
    const [written, size, appends] = [this.#written, this.#active().size, this.#takeUnsynced()]
    if (this.#failure !== undefined && this.#failure.code !== 'SIDESTREAM_CLOSED') {
      for (const append of appends) append.reject(this.#failure)
      return
    }
    try {
      await syncData(this.#fd)
    } catch (error) {
      const failure = this.#fail(`cannot sync ${this.#active().path}`, error)
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

  #active(): Segment {
    return this.#segments.at(-1)!
  }

  #name(): string {
    return `partition ${this.index} of topic ${this.topic}`
  }
}

/** Makes an empty segment whose name survives a power cut. */
async function createSegment(directory: string, base: number): Promise<{ segment: Segment; fd: number }> {
  const path = join(directory, segmentName(base))
  const fd = await openFile(path, 'w+')
  try {
    await syncData(fd)
    await syncDirectory(directory)
  } catch (error) {
    await closeFile(fd)
    await rm(path, { force: true }) // else it would end the log here after a restart, while appends go on in the old one
    throw error
  }
  return { segment: { base, path, size: 0, index: new SegmentIndex() }, fd }
}
