/**
 * Reads one partition forward: from memory at the head, in big blocks from the segments behind it. Records are views into
 * the block they were read with.
 * Invariant: every frame from disk is verified; offsets ascend without holes; nothing at or past `end` is given.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { allocateBlock, frameIsSound, frameLength, frameOffset, frameRecord } from './file-frame.ts'
import type { Block } from './file-frame.ts'
import { closeFile, openFile, readAt } from './file-io.ts'
import { buildIndex, readBlockBytes } from './file-segment.ts'
import type { Segment } from './file-segment.ts'
import type { TailEntry } from './file-tail.ts'
import type { LogRecord } from './log.ts'
import type { PartitionReader, ReadLimits } from './partition.ts'

/** What a reader sees of its partition. */
export interface ReadSource {
  end(): number
  tail(offset: number): TailEntry | undefined
  segmentOf(offset: number): Segment
  after(segment: Segment): Segment | undefined
  /** Bytes of the segment that hold readable frames. */
  readable(segment: Segment): number
}

export class FileReader implements PartitionReader {
  readonly #source: ReadSource
  #next = 0
  /** Where the frame of `#next` stands; undefined after a seek. */
  #segment: Segment | undefined
  #byte = 0
  #block: Block | undefined
  #at = 0
  #blockEnd = 0
  #verified = false
  /** Length of a frame that did not fit the last block. */
  #wanted = 0
  #file: { readonly segment: Segment; readonly fd: number } | undefined
  #closed = false
  #reading = false

  constructor(source: ReadSource) {
    this.#source = source
  }

  seek(offset: number): void {
    this.#next = offset
    this.#segment = undefined
    this.#block = undefined
  }

  async read(limits: ReadLimits): Promise<LogRecord[]> {
    const records: LogRecord[] = []
    let room = limits.bytes
    this.#reading = true
    try {
      while (!this.#closed && records.length < limits.records && this.#next < this.#source.end()) {
        if (this.#block === undefined && !this.#fromTail()) await this.#fromFile()
        const used = this.#take(records, limits.records, room)
        if (used === room) break
        room -= used
      }
    } finally {
      this.#reading = false
      if (this.#closed) await this.#closeFile()
    }
    return records
  }

  close(): void {
    this.#closed = true
    this.#block = undefined
    if (!this.#reading) this.#closeFile().catch(() => {}) // nothing was written: nothing can be lost
  }

  /** Moves records of the block into `records`. @returns bytes used; all of `room` when the next one does not fit */
  #take(records: LogRecord[], most: number, room: number): number {
    const end = this.#source.end()
    let used = 0
    while (this.#block !== undefined && records.length < most && this.#next < end) {
      const length = frameLength(this.#block, this.#at, this.#blockEnd)
      if (length <= 0 || this.#at + length > this.#blockEnd) {
        this.#leaveBlock(length)
        break
      }
      const sound = this.#verified || frameIsSound(this.#block, this.#at, length)
      const offset = sound ? frameOffset(this.#block, this.#at) : -1
      if (!sound || offset > this.#next) throw this.#corrupt()
      if (offset === this.#next) {
        if (records.length > 0 && used + length > room) return room
        records.push(frameRecord(this.#block, this.#at))
        used += length
        this.#next++
      }
      this.#at += length
      this.#byte += length
    }
    return Math.min(used, room)
  }

  /** The block is used up; what is left of it is a cut frame, which only the last block of the readable bytes may not have. */
  #leaveBlock(length: number): void {
    if (length < 0) throw this.#corrupt()
    const left = this.#blockEnd - this.#at
    if (left > 0 && this.#byte + Math.max(length, 4) > this.#source.readable(this.#segment!)) throw this.#corrupt()
    if (left > 0 && this.#at === 0) this.#wanted = length
    this.#block = undefined
  }

  #fromTail(): boolean {
    const entry = this.#source.tail(this.#next)
    if (entry === undefined) return false
    this.#block = entry.block
    this.#blockEnd = entry.block.bytes.length
    this.#verified = true
    this.#segment = entry.segment
    this.#byte = entry.byte
    this.#at = 0
    return true
  }

  async #fromFile(): Promise<void> {
    const segment = await this.#locate()
    const readable = this.#source.readable(segment)
    const file = await this.#open(segment)
    const block = allocateBlock(Math.min(Math.max(readBlockBytes, this.#wanted), readable - this.#byte))
    const read = await readAt(file, block.bytes, this.#byte).catch((cause: unknown) => {
      throw new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `cannot read ${segment.path} at byte ${this.#byte}`, { cause })
    })
    if (read < block.bytes.length) throw this.#corrupt(this.#byte + read)
    this.#wanted = 0
    this.#block = block
    this.#blockEnd = read
    this.#verified = false
    this.#at = 0
  }

  /** The segment with the frame of `#next`, and in `#byte` a frame at or before it. */
  async #locate(): Promise<Segment> {
    if (this.#segment === undefined) {
      this.#segment = this.#source.segmentOf(this.#next)
      this.#byte = (this.#segment.index ?? (await buildIndex(this.#segment))).byteBefore(this.#next)
    }
    if (this.#byte < this.#source.readable(this.#segment)) return this.#segment
    const after = this.#source.after(this.#segment)
    if (after === undefined || after.base !== this.#next) throw this.#corrupt()
    this.#segment = after
    this.#byte = 0
    return after
  }

  async #open(segment: Segment): Promise<number> {
    if (this.#file?.segment === segment) return this.#file.fd
    await this.#closeFile()
    const fd = await openFile(segment.path, 'r').catch((cause: unknown) => {
      throw new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `cannot open ${segment.path}`, { cause })
    })
    this.#file = { segment, fd }
    return fd
  }

  async #closeFile(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    if (file !== undefined) await closeFile(file.fd)
  }

  #corrupt(byte = this.#byte): SidestreamError {
    const file = this.#segment?.path ?? ''
    const message = `${file} is damaged at byte ${byte}: the frame of offset ${this.#next} is not whole; restore the file from a copy, or move the directory away and import again`
    return new SidestreamError('SIDESTREAM_LOG_CORRUPT', message, { file, byte, offset: this.#next })
  }
}
