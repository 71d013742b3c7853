/**
 * One segment file of a partition: its name, its length, and a sparse index from offset to byte.
 * Invariant: the index lives in memory only and is built from frames whose checksum was verified or just computed; it is
 * a place to start reading from, never the truth.
 */
import { closeFile, fileLength, openFile, readAt } from './file-io.ts'
import { allocateBlock, frameIsLast, frameIsSound, frameLength, frameOffset, framePosition } from './file-frame.ts'

/** One index entry per this many bytes. */
const indexStepBytes = 4096
/** Bytes read at once from a segment. */
export const readBlockBytes = 1 << 20

export interface Segment {
  /** Offset of its first record. */
  readonly base: number
  readonly path: string
  /** Bytes of whole batches; for the last segment also such that are not durable yet. */
  size: number
  /** Undefined: not built; `buildIndex` reads the file. */
  index: SegmentIndex | undefined
}

/** `00000000000000000042.log` for base 42. */
export function segmentName(base: number): string {
  return `${String(base).padStart(20, '0')}.log`
}

/** Base offset of a segment's file name; undefined for any other name. */
export function segmentBase(name: string): number | undefined {
  return /^\d{20}\.log$/.test(name) ? Number(name.slice(0, 20)) : undefined
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

export interface SegmentScan {
  /** Offset after the last whole batch. */
  readonly end: number
  /** Bytes up to there. */
  readonly size: number
  /** Bytes of the file behind that: a torn tail, or damage. */
  readonly rest: number
  readonly index: SegmentIndex
}

/**
 * Reads a segment from its start and stops at the first bad length, checksum, offset or batch position.
 * @param limit - bytes to look at; @default the whole file
 */
export async function scanSegment(path: string, base: number, limit = Number.POSITIVE_INFINITY): Promise<SegmentScan> {
  const fd = await openFile(path, 'r')
  try {
    const length = Math.min(await fileLength(fd), limit)
    const index = new SegmentIndex()
    let [position, next, inBatch] = [0, base, 0] // of the frame to read
    let [size, end] = [0, base] // after the last whole batch
    let blockBytes = readBlockBytes
    for (let bad = false; !bad && position < length;) {
      const block = allocateBlock(Math.min(blockBytes, length - position))
      const read = await readAt(fd, block.bytes, position)
      let at = 0
      for (;;) {
        const frame = frameLength(block, at, read)
        if (frame === 0 || (frame > 0 && at + frame > read)) {
          bad = read < block.bytes.length || position + at + Math.max(frame, 4) > length // ends inside a frame: torn
          blockBytes = Math.max(readBlockBytes, frame)
          break
        }
        bad = frame < 0 || !frameIsSound(block, at, frame) || frameOffset(block, at) !== next || framePosition(block, at) !== inBatch
        if (bad) break
        index.note(next, position + at)
        next++
        inBatch++
        if (frameIsLast(block, at)) [size, end, inBatch] = [position + at + frame, next, 0]
        at += frame
      }
      position += at
    }
    index.truncate(size)
    return { end, size, rest: length - size, index }
  } finally {
    await closeFile(fd)
  }
}

/** Builds the index of a segment that has none. */
export async function buildIndex(segment: Segment): Promise<SegmentIndex> {
  const { index } = await scanSegment(segment.path, segment.base, segment.size)
  segment.index = index
  return index
}
