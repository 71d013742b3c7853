/**
 * The directory of a file log: `topics/<topic>/topic.json`, `topics/<topic>/<partition>/<base>.log`, `offsets.log`, `LOCK`.
 * Invariant: a topic exists whole or not at all: it is made under another name and renamed, and renamed before it is
 * deleted. A leading dot marks what a crash left half done; it is removed on open.
 */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { SidestreamError } from '../../schemas/index.ts'
import { closeFile, openFile, syncData, syncDirectory, writeAll } from './file-io.ts'
import { FileOffsets } from './file-offsets.ts'
import { Maintenance } from './file-maintenance.ts'
import type { MaintenanceOptions } from './file-maintenance.ts'
import { FilePartition } from './file-partition.ts'
import type { FilePartitionOptions, TornTail } from './file-partition.ts'
import type { Cleanup, LogStorage } from './partition.ts'

const topicFile = 'topic.json'
const format = 1

interface FileTopic {
  readonly name: string
  readonly cleanup: Cleanup
  readonly partitions: readonly FilePartition[]
}

export type FileStorageOptions = Omit<FilePartitionOptions, 'topic' | 'index'> & MaintenanceOptions

export class FileStorage implements LogStorage {
  readonly offsets: FileOffsets
  readonly maintenance: Maintenance
  readonly #options: FileStorageOptions
  readonly #root: string
  readonly #topics: Map<string, FileTopic>
  #serial = 0

  static async open(options: FileStorageOptions): Promise<FileStorage> {
    const root = join(options.directory, 'topics')
    await mkdir(root, { recursive: true })
    const offsets = await FileOffsets.open(join(options.directory, 'offsets.log'))
    const topics = new Map<string, FileTopic>()
    for (const name of (await readdir(root)).sort()) {
      if (name.startsWith('.')) await rm(join(root, name), { recursive: true, force: true })
      else topics.set(name, await openTopic(options, root, name))
    }
    return new FileStorage(options, root, topics, offsets)
  }

  private constructor(options: FileStorageOptions, root: string, topics: Map<string, FileTopic>, offsets: FileOffsets) {
    this.#options = options
    this.#root = root
    this.#topics = topics
    this.offsets = offsets
    this.maintenance = new Maintenance(() => topics.values(), options)
  }

  get topics(): ReadonlyMap<string, FileTopic> {
    return this.#topics
  }

  /** What was cut from the ends of partitions on open. */
  get torn(): TornTail[] {
    return [...this.#topics.values()].flatMap(({ partitions }) => partitions.flatMap(({ torn }) => (torn === undefined ? [] : [torn])))
  }

  async create(name: string, partitions: number, cleanup: Cleanup): Promise<FileTopic> {
    const draft = join(this.#root, `.new-${name}`)
    await rm(draft, { recursive: true, force: true })
    await mkdir(draft)
    const fd = await openFile(join(draft, topicFile), 'wx')
    try {
      await writeAll(fd, Buffer.from(JSON.stringify({ format, partitions, cleanup })), 0)
      await syncData(fd)
    } finally {
      await closeFile(fd)
    }
    await syncDirectory(draft)
    await rename(draft, join(this.#root, name))
    await syncDirectory(this.#root)
    const topic = await openTopic(this.#options, this.#root, name)
    this.#topics.set(name, topic)
    return topic
  }

  async remove(name: string): Promise<void> {
    const topic = this.#topics.get(name)!
    this.#topics.delete(name)
    await Promise.all(topic.partitions.map((partition) => partition.close()))
    const doomed = join(this.#root, `.deleted-${this.#serial++}-${name}`)
    await rename(join(this.#root, name), doomed)
    await syncDirectory(this.#root)
    await this.offsets.drop(name)
    await rm(doomed, { recursive: true, force: true })
  }

  async close(): Promise<void> {
    this.maintenance.stop()
    await Promise.all([...this.#topics.values()].flatMap(({ partitions }) => partitions.map((partition) => partition.close())))
    await this.offsets.close()
  }
}

async function openTopic(options: FileStorageOptions, root: string, name: string): Promise<FileTopic> {
  const file = join(root, name, topicFile)
  let description: { format?: unknown; partitions?: unknown; cleanup?: unknown }
  try {
    description = JSON.parse(await readFile(file, 'utf8')) as typeof description
  } catch (cause) {
    throw new SidestreamError('SIDESTREAM_LOG_CORRUPT', `${file} cannot be read: restore it from a copy`, { cause, file })
  }
  if (description.format !== format || !Number.isInteger(description.partitions)) {
    const message = `${file} has format ${String(description.format)}; this release reads format ${format}: use the release that wrote it`
    throw new SidestreamError('SIDESTREAM_LOG_CORRUPT', message, { file })
  }
  const partitions = await Promise.all(
    Array.from({ length: description.partitions as number }, (_, index) =>
      FilePartition.open({ ...options, directory: join(root, name, String(index)), topic: name, index }),
    ),
  )
  await syncDirectory(join(root, name))
  return { name, cleanup: description.cleanup as Cleanup, partitions }
}
