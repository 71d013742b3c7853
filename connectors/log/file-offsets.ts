/**
 * Committed offsets of all groups in one append log: per entry u32 length, u32 CRC-32C, then JSON.
 * Invariant: a torn or damaged end only forgets the newest hints; the file is written anew, whole, when it is opened and
 * when it has grown far beyond what it holds.
 */
import { readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

import { crc32c } from '../../compute/index.ts'
import { SidestreamError } from '../../schemas/index.ts'
import { closeFile, isDiskFull, openFile, syncData, syncDirectory, truncateFile, writeAll } from './file-io.ts'
import type { OffsetStore } from './partition.ts'

type Entry = readonly [group: string, topic: string, partition: number, next: number | null]

/** The file is written anew beyond this. */
const compactBytes = 1 << 20

export class FileOffsets implements OffsetStore {
  readonly #path: string
  readonly #offsets: Map<string, Entry>
  #fd: number
  #size: number
  #compactAt: number
  #work: Promise<void> = Promise.resolve()
  #pending: Entry[] = []
  /** The write that will take `#pending` along. */
  #next: Promise<void> | undefined

  /** Reads the log up to its first bad entry, keeps the newest hint of each partition, and writes it anew. */
  static async open(path: string): Promise<FileOffsets> {
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return Buffer.alloc(0)
      throw error
    })
    const offsets = new Map<string, Entry>()
    for (let at = 0; at + 8 <= bytes.length;) {
      const end = at + 8 + bytes.readUInt32LE(at)
      if (end > bytes.length || bytes.readUInt32LE(at + 4) !== crc32c(bytes, 0, at + 8, end)) break
      remember(offsets, JSON.parse(bytes.toString('utf8', at + 8, end)) as Entry)
      at = end
    }
    const written = await writeAnew(path, offsets)
    await syncDirectory(dirname(path))
    return new FileOffsets(path, offsets, written)
  }

  private constructor(path: string, offsets: Map<string, Entry>, { fd, size }: { fd: number; size: number }) {
    this.#path = path
    this.#offsets = offsets
    this.#fd = fd
    this.#size = size
    this.#compactAt = size + compactBytes
  }

  get(group: string, topic: string, partition: number): number | undefined {
    return this.#offsets.get(keyOf(group, topic, partition))?.[3] ?? undefined
  }

  /** @throws SIDESTREAM_DISK_FULL: the old hint stays */
  set(group: string, topic: string, partition: number, next: number): Promise<void> {
    return this.#append([[group, topic, partition, next]])
  }

  drop(topic: string): Promise<void> {
    const entries = [...this.#offsets.values()].filter((entry) => entry[1] === topic)
    return this.#append(entries.map(([group, , partition]) => [group, topic, partition, null]))
  }

  flush(): Promise<void> {
    return this.#queue(() => this.#sync())
  }

  close(): Promise<void> {
    return this.#queue(async () => {
      await this.#sync()
      await closeFile(this.#fd)
    })
  }

  /** Entries that wait for the same turn share a write. */
  #append(entries: readonly Entry[]): Promise<void> {
    this.#pending.push(...entries)
    this.#next ??= this.#queue(() => this.#write())
    return this.#next
  }

  async #write(): Promise<void> {
    const entries = this.#pending
    this.#pending = []
    this.#next = undefined
    const bytes = Buffer.concat(entries.map(encode))
    try {
      await writeAll(this.#fd, bytes, this.#size)
    } catch (cause) {
      await truncateFile(this.#fd, this.#size)
      if (!isDiskFull(cause)) throw new SidestreamError('SIDESTREAM_LOG_WRITE_FAILED', `cannot write ${this.#path}`, { cause })
      throw new SidestreamError('SIDESTREAM_DISK_FULL', `no space left for ${this.#path}: free space and commit again`, { cause })
    }
    this.#size += bytes.length
    for (const entry of entries) remember(this.#offsets, entry)
    if (this.#size > this.#compactAt) await this.#compact()
  }

  async #sync(): Promise<void> {
    await syncData(this.#fd).catch((cause: unknown) => {
      throw new SidestreamError('SIDESTREAM_LOG_WRITE_FAILED', `cannot sync ${this.#path}: check the disk, then restart`, { cause })
    })
  }

  /** No space for a fresh file is no reason to refuse a hint: the old one goes on, and is tried again later. */
  async #compact(): Promise<void> {
    this.#compactAt = this.#size + compactBytes
    const written = await writeAnew(this.#path, this.#offsets).catch((error: unknown) => {
      if (isDiskFull(error)) return undefined
      throw new SidestreamError('SIDESTREAM_LOG_WRITE_FAILED', `cannot write ${this.#path} anew`, { cause: error })
    })
    if (written === undefined) return
    const old = this.#fd
    this.#fd = written.fd
    this.#size = written.size
    this.#compactAt = written.size + compactBytes
    await closeFile(old)
    await syncDirectory(dirname(this.#path))
  }

  #queue(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work)
    this.#work = done.catch(() => {})
    return done
  }
}

function keyOf(group: string, topic: string, partition: number): string {
  return `${group}\n${topic}\n${partition}`
}

function remember(offsets: Map<string, Entry>, entry: Entry): void {
  const key = keyOf(entry[0], entry[1], entry[2])
  if (entry[3] === null) offsets.delete(key)
  else offsets.set(key, entry)
}

function encode(entry: Entry): Buffer {
  const body = Buffer.from(JSON.stringify(entry))
  const head = Buffer.alloc(8)
  head.writeUInt32LE(body.length, 0)
  head.writeUInt32LE(crc32c(body), 4)
  return Buffer.concat([head, body])
}

/** Writes a fresh file beside the old one and puts it in its place; the directory is still to be synced. */
async function writeAnew(path: string, offsets: ReadonlyMap<string, Entry>): Promise<{ fd: number; size: number }> {
  const bytes = Buffer.concat([...offsets.values()].map(encode))
  const fd = await openFile(`${path}.new`, 'w+')
  try {
    await writeAll(fd, bytes, 0)
    await syncData(fd)
    await rename(`${path}.new`, path)
  } catch (error) {
    await closeFile(fd)
    throw error
  }
  return { fd, size: bytes.length }
}
