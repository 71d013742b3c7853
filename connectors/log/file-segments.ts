/**
 * The segments of one partition in order: found on open, begun by appends, replaced by compaction, dropped by retention.
 * Invariants: only the last one grows; a file is published by its rename and deleted after what makes it needless is
 * durable, so a crash leaves the old or the new, and `open` removes the other; the list changes within one turn.
 */
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { closeFile, draftEnding, openFile, syncData, syncDirectory } from './file-io.ts'
import { readPartitionState, writePartitionState } from './file-partition-state.ts'
import type { PartitionState } from './file-partition-state.ts'
import { damaged, parseSegmentFile, segmentFile, SegmentIndex } from './file-segment.ts'
import type { Segment, SegmentName } from './file-segment.ts'

/** Segments that keep their index in memory when another begins. */
const indexedSegments = 4

export class Segments {
  readonly directory: string
  #list: Segment[]
  #state: PartitionState

  /** Finds the segments of an existing directory; empty for a new partition. Removes what a crash has left of changes. */
  static async open(directory: string): Promise<Segments> {
    const state = await readPartitionState(directory)
    const names: SegmentName[] = []
    for (const name of await readdir(directory)) {
      const parsed = parseSegmentFile(name)
      if (parsed !== undefined) names.push(parsed)
      else if (name.endsWith(draftEnding)) await rm(join(directory, name))
    }
    const { kept, replaced } = sortOut(directory, names)
    const list: Segment[] = []
    for (const [i, name] of kept.entries()) list.push(await describe(directory, name, kept[i + 1]?.base))
    const old = list.findIndex(({ next }) => next === undefined || next > state.start)
    for (const name of replaced) await rm(join(directory, segmentFile(name)))
    for (const { path } of list.splice(0, Math.max(old, 0))) await rm(path)
    const [first, last] = [list[0], list.at(-1)]
    if (first !== undefined ? first.base > state.start && state.start > 0 : state.start > 0) {
      throw damaged(join(directory, segmentFile({ base: state.start, generation: 0 })), 0, state.start, 'the first segment is missing')
    }
    if (last !== undefined && last.generation > 0) {
      throw damaged(join(directory, segmentFile({ base: last.next!, generation: 0 })), 0, last.next!, 'the last segment is missing')
    }
    return new Segments(directory, list, state)
  }

  private constructor(directory: string, list: Segment[], state: PartitionState) {
    this.directory = directory
    this.#list = list
    this.#state = state
  }

  get isEmpty(): boolean {
    return this.#list.length === 0
  }

  get state(): PartitionState {
    return this.#state
  }

  /** Oldest offset still there; the first offset of a partition when nothing has ever been removed. */
  get start(): number {
    return this.#list[0]!.base
  }

  /** The one that grows. */
  get active(): Segment {
    return this.#list.at(-1)!
  }

  /** All before the active one. */
  get closed(): readonly Segment[] {
    return this.#list.slice(0, -1)
  }

  /** The segment with the offset, or where it would be; the first one for offsets before the start. */
  find(offset: number): Segment {
    return this.#list.findLast((segment) => segment.base <= offset) ?? this.#list[0]!
  }

  after(segment: Segment): Segment | undefined {
    const at = this.#list.indexOf(segment)
    return at < 0 ? undefined : this.#list[at + 1]
  }

  /** Makes an empty segment, whose name survives a power cut, the active one. @returns its descriptor, for writing */
  async begin(base: number, now: number): Promise<number> {
    const path = join(this.directory, segmentFile({ base, generation: 0 }))
    const fd = await openFile(path, 'w+')
    try {
      await syncData(fd)
      await syncDirectory(this.directory)
    } catch (error) {
      await closeFile(fd)
      await rm(path, { force: true }) // else it would end the log here after a restart, while appends go on in the old one
      throw error
    }
    const last = this.#list.at(-1)
    if (last !== undefined) last.next = base
    const index = new SegmentIndex()
    this.#list.push({ base, next: undefined, path, generation: 0, size: 0, oldestTs: now, newestTs: now, index, retired: false })
    for (const segment of this.#list.slice(0, -indexedSegments)) segment.index = undefined
    return fd
  }

  /**
   * Publishes the draft as the segment in the place of adjoining closed ones, then deletes those.
   * @param draft - path of the finished, synced file
   */
  async replace(sources: readonly Segment[], draft: string, bytes: number): Promise<void> {
    const [first, last] = [sources[0]!, sources.at(-1)!]
    const generation = Math.max(...sources.map((source) => source.generation)) + 1
    const name = { base: first.base, next: last.next!, generation, bytes }
    const path = join(this.directory, segmentFile(name))
    await rename(draft, path)
    await syncDirectory(this.directory)
    const { oldestTs } = first
    const newestTs = Math.max(...sources.map((source) => source.newestTs))
    const { base, next } = name
    const made = { base, next, path, generation, size: bytes, oldestTs, newestTs, index: undefined, retired: false }
    this.#list.splice(this.#list.indexOf(first), sources.length, made)
    await this.#delete(sources)
  }

  /** Removes the `count` oldest segments, never the active one; the log then begins after them, for ever. */
  async drop(count: number): Promise<void> {
    const doomed = this.#list.slice(0, count)
    await this.save({ ...this.#state, start: this.#list[count]!.base })
    this.#list.splice(0, count)
    await this.#delete(doomed)
  }

  /** Durable when it resolves. */
  async save(state: PartitionState): Promise<void> {
    await writePartitionState(this.directory, state)
    this.#state = state
  }

  async #delete(segments: readonly Segment[]): Promise<void> {
    for (const segment of segments) segment.retired = true
    for (const { path } of segments) await rm(path, { force: true })
  }
}

/** Which files count, in order: one of a higher generation has taken the place of those inside its range. */
function sortOut(directory: string, names: readonly SegmentName[]): { kept: SegmentName[]; replaced: SegmentName[] } {
  const kept: SegmentName[] = []
  const replaced: SegmentName[] = []
  for (const name of names.toSorted((a, b) => b.generation - a.generation)) {
    const over = kept.find(({ base, next = 0 }) => name.base < next && (name.next ?? name.base + 1) > base)
    if (over === undefined) kept.push(name)
    else if (name.base >= over.base && (name.next ?? 0) <= over.next!) replaced.push(name)
    else throw damaged(join(directory, segmentFile(name)), 0, name.base, `it overlaps ${segmentFile(over)}`)
  }
  return { kept: kept.sort((a, b) => a.base - b.base), replaced }
}

async function describe(directory: string, name: SegmentName, following: number | undefined): Promise<Segment> {
  const path = join(directory, segmentFile(name))
  const { size, birthtimeMs, mtimeMs } = await stat(path)
  if (name.bytes !== undefined && name.bytes !== size) throw damaged(path, Math.min(size, name.bytes), name.base, `it has ${size} bytes`)
  return {
    base: name.base,
    next: name.next ?? following,
    path,
    generation: name.generation,
    size,
    oldestTs: birthtimeMs > 0 ? Math.min(birthtimeMs, mtimeMs) : mtimeMs,
    newestTs: mtimeMs,
    index: undefined,
    retired: false,
  }
}
