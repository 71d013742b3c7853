/**
 * The log on local files, the embedded default: no broker, one process, durable acknowledgments.
 * Invariant: what `send` has acknowledged is there after a crash (with `sync` `always` or `group` also after a power cut);
 * a batch that was not is there whole or not at all; damage is told, never skipped.
 */
import { lockDirectory } from '../directory-lock.ts'
import { EmbeddedLog } from './embedded.ts'
import type { EmbeddedOptions } from './embedded.ts'
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
}

export const fileLogDefaults: Readonly<Required<Omit<FileLogOptions, 'directory' | keyof EmbeddedOptions>>> = {
  sync: 'group',
  groupCommitMs: 5,
  groupCommitBytes: 1_048_576,
  segmentBytes: 67_108_864,
  tailBytes: 2_097_152,
}

/** A file log; `torn` names what was cut from the ends of partitions when it was opened. */
export interface FileLog extends LogDriver {
  readonly torn: readonly TornTail[]
}

/**
 * Opens the log in `directory`: takes its lock, then scans the last segment of each partition.
 * @throws SIDESTREAM_DIRECTORY_IN_USE, SIDESTREAM_LOG_CORRUPT
 */
export async function openFileLog(options: FileLogOptions): Promise<FileLog> {
  const { sync, groupCommitMs, groupCommitBytes, segmentBytes, tailBytes } = { ...fileLogDefaults, ...options }
  const lock = lockDirectory(options.directory)
  try {
    const commit = new GroupCommit(groupCommitMs, groupCommitBytes)
    const storage = await FileStorage.open({ directory: lock.path, sync, segmentBytes, tailBytes, commit, wallClock: Date.now })
    return new LockedLog(storage, options, lock.release)
  } catch (error) {
    lock.release()
    throw error
  }
}

class LockedLog extends EmbeddedLog implements FileLog {
  readonly torn: readonly TornTail[]
  readonly #release: () => void

  constructor(storage: FileStorage, options: FileLogOptions, release: () => void) {
    super('file', storage, options)
    this.torn = storage.torn
    this.#release = release
  }

  override async close(): Promise<void> {
    await super.close()
    this.#release()
  }
}
