/**
 * The log on local files, the embedded default: no broker, one process, durable acknowledgments.
 * Invariant: what `send` has acknowledged is there after a crash (with `sync` `always` or `group` also after a power cut);
 * a batch that was not is there whole or not at all; damage is told, never skipped.
 */
import { lockDirectory } from '../directory-lock.ts'
import { SidestreamError } from '../../schemas/index.ts'
import { EmbeddedLog } from './embedded.ts'
import type { EmbeddedOptions } from './embedded.ts'
import type { MaintenanceReport } from './file-maintenance.ts'
import { FileStorage } from './file-storage.ts'
import type { TornTail } from './file-partition.ts'
import { GroupCommit } from './group-commit.ts'
import type { LogDriver } from './log.ts'

export interface FileLogOptions extends EmbeddedOptions {
  /** Created when missing; owned by one process at a time. */
  readonly directory: string
  /**
   * When `send` resolves. `always`: after an fdatasync of its own; `group`: after one shared with other sends; `none`: when
   * the operating system has it, which a power cut can undo.
   * @default 'group'
   */
  readonly sync?: 'always' | 'group' | 'none'
  /** Longest wait for others to share an fdatasync. Higher: fewer syncs, later acknowledgments. @default 5 */
  readonly groupCommitMs?: number
  /** Waiting bytes that start an fdatasync early. Higher: fewer syncs under load. @default 1048576 */
  readonly groupCommitBytes?: number
  /** Size at which a partition begins a new file. Higher: fewer files, slower opening. @default 67108864 */
  readonly segmentBytes?: number
  /** Newest bytes of each partition kept in memory for consumers at the head. @default 2097152 */
  readonly tailBytes?: number
  /**
   * Age at which a partition begins a new file, however small the last one is: only files that are no longer written to are
   * compacted or deleted. Lower: more files, and quiet topics are cleaned up sooner. @default 86400000
   */
  readonly segmentMs?: number
  /** Age of its newest record at which a file of a topic with cleanup `delete` goes; Infinity: never. @default 604800000 */
  readonly retentionMs?: number
  /** Bytes of a partition with cleanup `delete` beyond which its oldest files go. @default Infinity */
  readonly retentionBytes?: number
  /**
   * Part of the bytes of a partition with cleanup `compact` that compaction has not seen, from which it runs. Higher: less
   * work, more disk. @default 0.5
   */
  readonly compactionDirtyShare?: number
  /** Memory for keys while a partition is compacted; what does not fit waits for the next run. @default 67108864 */
  readonly compactionMemoryBytes?: number
  /**
   * How long a tombstone stays after all older records of its key are gone: the time a reader may take from the start of the
   * log to its end and still hear of every deletion. @default 86400000
   */
  readonly deleteRetentionMs?: number
  /** Time between two looks at what is due. @default 30000 */
  readonly maintenanceMs?: number
  /** Age of files, milliseconds since epoch. @default Date.now */
  readonly wallClock?: () => number
  /** Told of compactions, of records that were dropped for their age, and of failures. @default ignored */
  readonly onMaintenance?: (report: MaintenanceReport) => void
}

export const fileLogDefaults: Readonly<Required<Omit<FileLogOptions, 'directory' | keyof EmbeddedOptions>>> = {
  sync: 'group',
  groupCommitMs: 5,
  groupCommitBytes: 1_048_576,
  segmentBytes: 67_108_864,
  tailBytes: 2_097_152,
  segmentMs: 86_400_000,
  retentionMs: 604_800_000,
  retentionBytes: Infinity,
  compactionDirtyShare: 0.5,
  compactionMemoryBytes: 67_108_864,
  deleteRetentionMs: 86_400_000,
  maintenanceMs: 30_000,
  wallClock: Date.now,
  onMaintenance: () => {},
}

/** A file log; `torn` names what was cut from the ends of partitions when it was opened. */
export interface FileLog extends LogDriver {
  readonly torn: readonly TornTail[]
  /** Does now what else is done every `maintenanceMs`: new files for old ones, retention, compaction where it is due. */
  maintain(): Promise<void>
  /**
   * Compacts all records of a topic, due or not.
   * @throws SIDESTREAM_TOPIC_UNKNOWN; SIDESTREAM_USAGE_INVALID when its cleanup is not `compact`; SIDESTREAM_LOG_CORRUPT,
   * SIDESTREAM_DISK_FULL, SIDESTREAM_LOG_WRITE_FAILED: the log is as it was
   */
  compact(topic: string): Promise<void>
}

/**
 * Opens the log in `directory`: takes its lock, then scans the last segment of each partition.
 * @throws SIDESTREAM_DIRECTORY_IN_USE, SIDESTREAM_LOG_CORRUPT
 */
export async function openFileLog(options: FileLogOptions): Promise<FileLog> {
  const { groupCommitMs, groupCommitBytes, ...others } = { ...fileLogDefaults, ...options }
  const lock = lockDirectory(options.directory)
  try {
    const commit = new GroupCommit(groupCommitMs, groupCommitBytes)
    const storage = await FileStorage.open({ ...others, directory: lock.path, commit })
    return new LockedLog(storage, options, lock.release)
  } catch (error) {
    lock.release()
    throw error
  }
}

class LockedLog extends EmbeddedLog implements FileLog {
  readonly torn: readonly TornTail[]
  readonly #storage: FileStorage
  readonly #release: () => void

  constructor(storage: FileStorage, options: FileLogOptions, release: () => void) {
    super('file', storage, options)
    this.torn = storage.torn
    this.#storage = storage
    this.#release = release
  }

  maintain(): Promise<void> {
    return this.#storage.maintenance.run()
  }

  async compact(name: string): Promise<void> {
    const topic = this.#storage.topics.get(name)
    if (topic === undefined) throw new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', `there is no topic ${name}`, { topic: name })
    await this.#storage.maintenance.compact(topic)
  }

  override async close(): Promise<void> {
    await super.close()
    this.#release()
  }
}
