/**
 * One segment file of a partition: its name, its length, and a sparse index from offset to byte.
 * Invariants: the index lives in memory only and is built from frames whose checksum was verified or just computed; it is
 * a place to start reading from, never the truth. A file's name says what must be in it: an appended segment is dense from
 * its base on; a compacted one covers [base, next) with holes, and has the bytes its name says.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { closeFile, fileLength, openFile, readAt } from './file-io.ts'
import { allocateBlock, frameIsLast, frameIsSound, frameLength, frameOffset, framePosition } from './file-frame.ts'
import type { Block } from './file-frame.ts'

/** One index entry per this many bytes. */
const indexStepBytes = 4096
/** Bytes read at once from a segment. */
export const readBlockBytes = 1 << 20

export interface Segment {
  /** Offset of its first record, or of the hole it begins with. */
  readonly base: number
  /** Offset after its last record, or after the hole it ends with. Undefined: it is the last one and grows. */
  next: number | undefined
  readonly path: string
  /** Compactions that its bytes have been through; 0 for what was appended. A segment above 0 may have holes. */
  readonly generation: number
  /** Bytes of whole batches; for the last segment also such that are not durable yet. */
  size: number
  /** Wall clock of its first and of its newest append, milliseconds since epoch. */
  oldestTs: number
  newestTs: number
  /** Undefined: not built; `buildIndex` reads the file. */
  index: SegmentIndex | undefined
  /** Another has taken its place, or it is too old: its file goes. Who has it open may read on. */
  retired: boolean
}

/** What a segment's file name says. */
export interface SegmentName {
  readonly base: number
  readonly generation: number
  /** Of a compacted one. */
  readonly next?: number
  readonly bytes?: number
}

/** `00000000000000000042.log` for base 42; `<base>-<next>.<generation>.<bytes>.log` when compacted. */
export function segmentFile({ base, generation, next = 0, bytes }: SegmentName): string {
  return generation === 0 ? `${digits(base)}.log` : `${digits(base)}-${digits(next)}.${generation}.${bytes}.log`
}

/** Undefined for names that are no segment's. */
export function parseSegmentFile(name: string): SegmentName | undefined {
  const match = /^(\d{20})(?:-(\d{20})\.([1-9]\d*)\.(\d+))?\.log$/.exec(name)
  if (match === null) return undefined
  const base = Number(match[1])
  return match[2] === undefined
    ? { base, generation: 0 }
    : { base, next: Number(match[2]), generation: Number(match[3]), bytes: Number(match[4]) }
}

const digits = (offset: number): string => String(offset).padStart(20, '0')

/** Damage that nobody may skip. */
export function damaged(file: string, byte: number, offset: number, what: string): SidestreamError {
  const message = `${file} is damaged at byte ${byte}: ${what}; restore the file from a copy, or move the directory away and import again`
  return new SidestreamError('SIDESTREAM_LOG_CORRUPT', message, { file, byte, offset })
}

/** Every 4 KiB one (offset, byte) pair, ascending in both. */
export class SegmentIndex {
  readonly #offsets: number[] = []
  readonly #bytes: number[] = []

  /** Tells of a frame; kept when it is far enough from the last one kept. */
  note(offset: number, byte: number): void {
    const last = this.#bytes.at(-1)
    if (last !== undefined && byte - last < indexStepBytes) return
    this.#offsets.push(offset)
    this.#bytes.push(byte)
  }

  /** Forgets frames at or after `byte`. */
  truncate(byte: number): void {
    while (this.#bytes.length > 0 && this.#bytes.at(-1)! >= byte) {
      this.#bytes.pop()
      this.#offsets.pop()
    }
  }

  /** Byte of a frame at or before `offset`, as near as the index knows. */
  byteBefore(offset: number): number {
    let low = 0
    let high = this.#offsets.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#offsets[middle]! <= offset) low = middle + 1
      else high = middle
    }
    return low === 0 ? 0 : this.#bytes[low - 1]!
  }
}

/**
 * Hands over frames in order, from the start of the file, while their lengths and checksums are right and `visit` says true.
 * The block is used again once `afterBlock` has resolved, which hears how many of its bytes were taken.
 * @param length - bytes of the file to look at
 * @returns bytes of the frames that `visit` has taken
 */
export async function walkFrames(
  path: string,
  length: number,
  visit: (block: Block, at: number, byte: number, frame: number) => boolean,
  afterBlock: (block: Block, bytes: number) => Promise<void> | void = () => {},
): Promise<number> {
  const fd = await openFile(path, 'r')
  try {
    let block = allocateBlock(Math.min(readBlockBytes, length))
    let [position, wanted] = [0, 0]
    while (position < length) {
      const size = Math.min(Math.max(readBlockBytes, wanted), length - position)
      if (size > block.bytes.length) block = allocateBlock(size)
      const read = await readAt(fd, block.bytes.subarray(0, size), position)
      let at = 0
      let frame = 0
      for (;;) {
        frame = frameLength(block, at, read)
        if (frame <= 0 || at + frame > read) break
        if (!frameIsSound(block, at, frame) || !visit(block, at, position + at, frame)) return position + at
        at += frame
      }
      await afterBlock(block, at)
      position += at
      wanted = at === 0 ? frame : 0
      const endsInside = read < size || position + Math.max(frame, 4) > length // torn, unless the block just ends here
      if (frame < 0 || endsInside) return position
    }
    return position
  } finally {
    await closeFile(fd)
  }
}

export interface SegmentScan {
  /** Offset after the last whole batch. */
  readonly end: number
  /** Bytes up to there. */
  readonly size: number
  /** Bytes of the file behind that: a torn tail, or damage. */
  readonly rest: number
  readonly index: SegmentIndex
}

/** Reads an appended segment from its start and stops at the first bad length, checksum, offset or batch position. */
export async function scanSegment(path: string, base: number): Promise<SegmentScan> {
  const fd = await openFile(path, 'r')
  const length = await fileLength(fd).finally(() => closeFile(fd))
  const index = new SegmentIndex()
  let [next, inBatch] = [base, 0] // of the frame to come
  let [size, end] = [0, base] // after the last whole batch
  await walkFrames(path, length, (block, at, byte, frame) => {
    if (frameOffset(block, at) !== next || framePosition(block, at) !== inBatch) return false
    index.note(next, byte)
    next++
    inBatch++
    if (frameIsLast(block, at)) [size, end, inBatch] = [byte + frame, next, 0]
    return true
  })
  index.truncate(size)
  return { end, size, rest: length - size, index }
}

/** Builds the index of a segment that has none. */
export async function buildIndex(segment: Segment): Promise<SegmentIndex> {
  const index = new SegmentIndex()
  await walkFrames(segment.path, segment.size, (block, at, byte) => {
    index.note(frameOffset(block, at), byte)
    return true
  })
  segment.index = index
  return index
}
