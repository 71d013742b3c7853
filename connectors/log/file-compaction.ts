/**
 * Compaction of one partition: of each key the last record stays, with its offset; of a tombstone not even that, once every
 * reader had time to see it. Closed segments only, so a batch that is still being written is never touched.
 * Invariants: a frame is copied byte for byte or left out, and verified before; a crash leaves the old segments or the new
 * one; a tombstone goes only after `deleteRetentionMs` in which nothing older of its key was there to be read.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { cleanEnd, horizonOf, noteRun } from './compaction-horizon.ts'
import { frameIsTombstone, frameKey, frameOffset } from './file-frame.ts'
import type { Block } from './file-frame.ts'
import { cannotWrite, closeFile, draftEnding, openFile, readAt, syncData, writeAll } from './file-io.ts'
import { KeyMap } from './file-key-map.ts'
import { damaged, walkFrames } from './file-segment.ts'
import type { Segment } from './file-segment.ts'
import type { Segments } from './file-segments.ts'

export interface CompactionOptions {
  /** Adjoining segments that are smaller together become one. */
  readonly segmentBytes: number
  /** Memory for the keys of one run; what does not fit is left to the next. */
  readonly compactionMemoryBytes: number
  readonly deleteRetentionMs: number
  /** Share of the closed bytes that no run has seen, from which one is due. */
  readonly compactionDirtyShare: number
  /** Milliseconds since epoch. */
  readonly wallClock: () => number
}

export interface CompactionResult {
  /** Bytes of the closed segments. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly recordsDropped: number
}

/** Bytes gathered for one write. */
const writeBytes = 1 << 20
/** Bytes written between two syncs: one big sync would hold up the appends. */
const syncBytes = 16 << 20

/** True when enough is new since the last run, or tombstones have served their time. */
export function isCompactionDue({ closed, state }: Segments, options: CompactionOptions): boolean {
  const clean = cleanEnd(state)
  const bytes = sizeOf(closed)
  const dirty = sizeOf(closed.filter(({ next }) => next! > clean))
  if (dirty > 0 && dirty >= options.compactionDirtyShare * bytes) return true
  return state.tombstones > 0 && horizonOf(state, options) > state.horizon
}

/**
 * Runs once over the closed segments.
 * @throws SIDESTREAM_LOG_CORRUPT, SIDESTREAM_DISK_FULL, SIDESTREAM_LOG_WRITE_FAILED, the signal's reason: what was done stays
 */
export async function compactSegments(segments: Segments, options: CompactionOptions, signal: AbortSignal): Promise<CompactionResult> {
  const { closed, state } = segments
  if (closed.length === 0) return { bytesBefore: 0, bytesAfter: 0, recordsDropped: 0 }
  const keys = new KeyMap(options.compactionMemoryBytes)
  const upTo = await noteKeys(closed, cleanEnd(state), keys, signal)
  const horizon = horizonOf(state, options)
  const counts = { tombstones: 0, dropped: 0 }
  const keeps = (block: Block, at: number, offset: number): boolean => {
    const key = frameKey(block, at)
    if (key === null) return true
    const isTombstone = frameIsTombstone(block, at)
    const keep = (keys.last(key) ?? offset) <= offset && !(isTombstone && offset < horizon)
    if (!keep) counts.dropped++
    else if (isTombstone) counts.tombstones++
    return keep
  }
  let bytesAfter = 0
  for (const group of groupsOf(closed, options.segmentBytes)) bytesAfter += await rewrite(segments, group, keeps, signal)
  await segments.save({ ...segments.state, cleaned: noteRun(upTo, state, options), horizon, tombstones: counts.tombstones })
  return { bytesBefore: sizeOf(closed), bytesAfter, recordsDropped: counts.dropped }
}

const sizeOf = (segments: readonly Segment[]): number => segments.reduce((sum, { size }) => sum + size, 0)

/** Notes the last offset per key from `clean` on. @returns how far: memory ends, or the closed segments do */
async function noteKeys(closed: readonly Segment[], clean: number, keys: KeyMap, signal: AbortSignal): Promise<number> {
  let upTo = clean
  for (const segment of closed) {
    if (segment.next! <= clean) continue
    let full = false
    const visit = (block: Block, at: number, offset: number): boolean => {
      const key = offset < clean ? null : frameKey(block, at)
      full = key !== null && !keys.note(key, offset)
      if (full) upTo = offset
      return !full
    }
    await eachFrame(segment, visit, signal)
    if (full) return upTo
    upTo = segment.next!
  }
  return upTo
}

/** Adjoining segments that fit into one, together; others alone. */
function groupsOf(closed: readonly Segment[], segmentBytes: number): Segment[][] {
  const groups: Segment[][] = []
  let bytes = 0
  for (const segment of closed) {
    const group = groups.at(-1)
    if (group === undefined || bytes + segment.size > segmentBytes) {
      groups.push([segment])
      bytes = segment.size
    } else {
      group.push(segment)
      bytes += segment.size
    }
  }
  return groups
}

/** Writes the group anew, as one segment. A segment that stays alone and loses nothing is left as it is. @returns bytes now */
async function rewrite(
  segments: Segments,
  group: readonly Segment[],
  keeps: (block: Block, at: number, offset: number) => boolean,
  signal: AbortSignal,
): Promise<number> {
  let draft = group.length > 1 ? await Draft.create(segments.directory) : undefined
  try {
    for (const source of group) {
      /** Stretches of the block that are kept: from, to. */
      let runs: number[] = []
      let [drops, blockStart] = [false, 0]
      const visit = (block: Block, at: number, offset: number, frame: number): boolean => {
        if (!keeps(block, at, offset)) drops = true
        else if (runs.at(-1) === at) runs[runs.length - 1] = at + frame
        else runs.push(at, at + frame)
        return true
      }
      await eachFrame(source, visit, signal, async (block, bytes) => {
        if (draft === undefined && drops) {
          draft = await Draft.create(segments.directory)
          await draft.copy(source, blockStart)
        }
        for (let i = 0; i < runs.length; i += 2) await draft?.write(block.bytes.subarray(runs[i]!, runs[i + 1]!))
        runs = []
        blockStart += bytes
      })
    }
    if (draft === undefined) return sizeOf(group)
    await draft.finish()
    await segments.replace(group, draft.path, draft.bytes)
    return draft.bytes
  } catch (error) {
    await draft?.discard()
    throw error
  }
}

/** A segment in the making. */
class Draft {
  readonly path: string
  readonly #fd: number
  readonly #buffer = Buffer.allocUnsafeSlow(writeBytes)
  #buffered = 0
  #written = 0
  #synced = 0
  #open = true

  static async create(directory: string): Promise<Draft> {
    const path = join(directory, `compaction${draftEnding}`)
    return new Draft(path, await openFile(path, 'w').catch((cause: unknown) => cannotWrite(path, cause)))
  }

  private constructor(path: string, fd: number) {
    this.path = path
    this.#fd = fd
  }

  get bytes(): number {
    return this.#written + this.#buffered
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#buffered + bytes.length > writeBytes) await this.#flush()
    if (bytes.length > writeBytes) return this.#put(bytes)
    this.#buffer.set(bytes, this.#buffered)
    this.#buffered += bytes.length
  }

  /** Takes the first bytes of a segment as they stand. */
  async copy({ path }: Segment, length: number): Promise<void> {
    const block = Buffer.allocUnsafeSlow(Math.min(writeBytes, length))
    const source = await openFile(path, 'r')
    try {
      for (let at = 0; at < length; at += block.length) {
        const bytes = block.subarray(0, Math.min(block.length, length - at))
        await readAt(source, bytes, at)
        await this.write(bytes)
      }
    } finally {
      await closeFile(source)
    }
  }

  async finish(): Promise<void> {
    await this.#flush()
    await syncData(this.#fd).catch((cause: unknown) => cannotWrite(this.path, cause))
    await this.#close()
  }

  async discard(): Promise<void> {
    await this.#close()
    await rm(this.path, { force: true })
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#buffered)
    this.#buffered = 0
    await this.#put(bytes)
  }

  async #put(bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#fd, bytes, this.#written)
      this.#written += bytes.length
      if (this.#written - this.#synced < syncBytes) return
      await syncData(this.#fd)
      this.#synced = this.#written
    } catch (cause) {
      cannotWrite(this.path, cause)
    }
  }

  async #close(): Promise<void> {
    if (this.#open) await closeFile(this.#fd)
    this.#open = false
  }
}

/**
 * Every frame of a closed segment, in order, until `visit` says false.
 * @throws SIDESTREAM_LOG_CORRUPT where a frame is not whole, or not the one that belongs there
 */
async function eachFrame(
  segment: Segment,
  visit: (block: Block, at: number, offset: number, frame: number) => boolean,
  signal: AbortSignal,
  afterBlock: (block: Block, bytes: number) => Promise<void> = async () => {},
): Promise<void> {
  const isSparse = segment.generation > 0
  let [next, stopped] = [segment.base, false]
  const taken = await walkFrames(
    segment.path,
    segment.size,
    (block, at, _byte, frame) => {
      const offset = frameOffset(block, at)
      if (isSparse ? offset < next || offset >= segment.next! : offset !== next) return false
      next = offset + 1
      stopped = !visit(block, at, offset, frame)
      return !stopped
    },
    async (block, bytes) => {
      signal.throwIfAborted()
      await afterBlock(block, bytes)
    },
  )
  if (stopped || (taken === segment.size && (isSparse || next === segment.next))) return
  throw damaged(segment.path, taken, next, `the frame of offset ${next} is not whole`)
}
