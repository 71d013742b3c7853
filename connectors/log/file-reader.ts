/**
 * Reads one partition forward: from memory at the head, in big blocks from the segments behind it. Records are views into
 * the block they were read with.
 * Invariants: every frame from disk is verified; offsets ascend, without holes but where compaction was; nothing at or past
 * `end` is given. A segment that was replaced meanwhile is read on while it is open, and left for its successor after.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { allocateBlock, frameIsSound, frameLength, frameOffset, frameRecord } from './file-frame.ts'
import type { Block } from './file-frame.ts'
import { closeFile, openFile, readAt } from './file-io.ts'
import { buildIndex, damaged, readBlockBytes } from './file-segment.ts'
import type { Segment } from './file-segment.ts'
import type { TailEntry } from './file-tail.ts'
import type { LogRecord } from './log.ts'
import type { PartitionReader, Read, ReadLimits } from './partition.ts'

/** What a reader sees of its partition. */
export interface ReadSource {
  start(): number
  end(): number
  tail(offset: number): TailEntry | undefined
  find(offset: number): Segment
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

  async read(limits: ReadLimits): Promise<Read> {
    const records: LogRecord[] = []
    let room = limits.bytes
    this.#reading = true
    try {
      while (!this.#closed && records.length < limits.records && !this.#isOver(records.length)) {
        if (this.#block === undefined && !this.#fromTail()) await this.#fromFile(records.length)
        const used = this.#take(records, limits.records, room)
        if (used === room) break
        room -= used
      }
    } finally {
      this.#reading = false
      if (this.#closed) await this.#closeFile()
    }
    return { records, next: this.#next }
  }

  close(): void {
    this.#closed = true
    this.#block = undefined
    if (!this.#reading) this.#closeFile().catch(() => {}) // nothing was written: nothing can be lost
  }

  /** Nothing more to read, or none that adjoins what was read: retention has passed by. */
  #isOver(taken: number): boolean {
    return this.#next >= this.#source.end() || (taken > 0 && this.#next < this.#source.start())
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
      if (!sound || (offset > this.#next && this.#segment!.generation === 0)) throw this.#corrupt()
      if (offset >= this.#next) {
        this.#next = offset // past a hole
        if (records.length > 0 && used + length > room) return room
        records.push(frameRecord(this.#block, this.#at))
        used += length
        this.#next++
      }
      this.#at += length
      this.#byte += length
    }
    if (this.#block !== undefined && this.#segment!.generation > 0) this.#passHole(this.#block)
    return Math.min(used, room)
  }

  /** Moves on to the next frame of the block, if that is whole: damage is told when its record is asked for. */
  #passHole(block: Block): void {
    const length = frameLength(block, this.#at, this.#blockEnd)
    if (length <= 0 || this.#at + length > this.#blockEnd || !frameIsSound(block, this.#at, length)) return
    this.#next = Math.max(this.#next, frameOffset(block, this.#at))
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
    if (this.#file?.segment.retired) this.#closeFile().catch(() => {}) // its disk space waits for us
    return true
  }

  /** Reads a block; none when only holes were left, which are passed then. */
  async #fromFile(taken: number): Promise<void> {
    const found = await this.#locate(taken)
    if (found === undefined) return
    const { segment, fd } = found
    const block = allocateBlock(Math.min(Math.max(readBlockBytes, this.#wanted), this.#source.readable(segment) - this.#byte))
    const read = await readAt(fd, block.bytes, this.#byte).catch((cause: unknown) => {
      throw new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `cannot read ${segment.path} at byte ${this.#byte}`, { cause })
    })
    if (read < block.bytes.length) throw this.#corrupt(this.#byte + read)
    this.#wanted = 0
    this.#block = block
    this.#blockEnd = read
    this.#verified = false
    this.#at = 0
  }

  /** The open segment with the frame of `#next`, and in `#byte` a frame at or before it; undefined when there is none. */
  async #locate(taken: number): Promise<{ segment: Segment; fd: number } | undefined> {
    while (!this.#isOver(taken)) {
      const segment = this.#segment
      if (segment === undefined || (segment.retired && this.#file?.segment !== segment)) {
        await this.#find()
      } else if (this.#byte < this.#source.readable(segment)) {
        const fd = await this.#open(segment)
        if (fd !== undefined) return { segment, fd }
      } else {
        this.#leaveSegment(segment)
      }
    }
    return undefined
  }

  /** Looks the offset up anew; one that retention has passed becomes the first there is. */
  async #find(): Promise<void> {
    this.#segment = undefined
    this.#next = Math.max(this.#next, this.#source.start())
    const segment = this.#source.find(this.#next)
    const index = segment.index ?? (await buildIndex(segment).catch((cause: unknown) => this.#unreadable(segment, cause)))
    if (index === undefined || segment.retired) return
    this.#segment = segment
    this.#byte = index.byteBefore(this.#next)
  }

  /** All frames of the segment are read: on to the next one, past a hole at its end. */
  #leaveSegment(segment: Segment): void {
    const { next } = segment
    if (next === undefined || (next > this.#next && segment.generation === 0)) throw this.#corrupt()
    this.#next = Math.max(this.#next, next)
    const after = this.#source.after(segment)
    if (after !== undefined && after.base !== this.#next) throw this.#corrupt()
    this.#segment = after
    this.#byte = 0
  }

  /** Undefined: the segment was replaced before it could be opened. */
  async #open(segment: Segment): Promise<number | undefined> {
    if (this.#file?.segment === segment) return this.#file.fd
    await this.#closeFile()
    const fd = await openFile(segment.path, 'r').catch((cause: unknown) => this.#unreadable(segment, cause))
    if (fd === undefined) return undefined
    this.#file = { segment, fd }
    return fd
  }

  /** The file of a segment that was replaced may be gone; any other must be there. */
  #unreadable(segment: Segment, cause: unknown): undefined {
    if (segment.retired) return undefined
    throw new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `cannot open ${segment.path}`, { cause })
  }

  async #closeFile(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    if (file !== undefined) await closeFile(file.fd)
  }

  #corrupt(byte = this.#byte): SidestreamError {
    return damaged(this.#segment?.path ?? '', byte, this.#next, `the frame of offset ${this.#next} is not whole`)
  }
}
