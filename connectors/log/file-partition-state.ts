/**
 * What a partition remembers besides its segments: where the log begins, and how far compaction has come.
 * Invariant: the file is replaced whole; without it (no retention or compaction yet) the segments alone tell the truth.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { SidestreamError } from '../../schemas/index.ts'
import { noCompaction } from './compaction-horizon.ts'
import type { CompactionHistory } from './compaction-horizon.ts'
import { cannotWrite, replaceFile } from './file-io.ts'

export interface PartitionState extends CompactionHistory {
  /** The log begins here: what stands before is gone, or about to go. */
  readonly start: number
}

const stateFile = 'partition.json'
const format = 1
const fresh: PartitionState = { start: 0, ...noCompaction }

/** @throws SIDESTREAM_LOG_CORRUPT for a file that is not what `writePartitionState` wrote */
export async function readPartitionState(directory: string): Promise<PartitionState> {
  const file = join(directory, stateFile)
  try {
    const stored = JSON.parse(await readFile(file, 'utf8')) as PartitionState & { format: number }
    if (stored.format !== format) throw new Error(`format ${String(stored.format)} instead of ${format}`)
    return { start: stored.start, cleaned: stored.cleaned, horizon: stored.horizon, tombstones: stored.tombstones }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return fresh
    throw new SidestreamError('SIDESTREAM_LOG_CORRUPT', `${file} cannot be read: restore it from a copy`, { cause, file })
  }
}

/**
 * Durable when it resolves.
 * @throws SIDESTREAM_DISK_FULL, SIDESTREAM_LOG_WRITE_FAILED: the old state stays
 */
export async function writePartitionState(directory: string, state: PartitionState): Promise<void> {
  const file = join(directory, stateFile)
  await replaceFile(file, Buffer.from(JSON.stringify({ format, ...state }))).catch((cause: unknown) => cannotWrite(file, cause))
}
