/**
 * What a file log does in the background: begins new segments for old ones, drops what is too old, compacts.
 * Invariants: one partition at a time; nothing here moves the end of a log or touches a topic kept `forever`; what goes wrong
 * is told and tried again later, and appends and reads go on.
 */
import { isSidestreamError, SidestreamError } from '../../schemas/index.ts'
import { compactSegments, isCompactionDue } from './file-compaction.ts'
import type { CompactionOptions, CompactionResult } from './file-compaction.ts'
import type { FilePartition } from './file-partition.ts'
import type { TopicCleanup } from './log.ts'

export interface MaintenanceOptions extends CompactionOptions {
  readonly maintenanceMs: number
  readonly segmentMs: number
  readonly retentionMs: number
  readonly retentionBytes: number
  readonly onMaintenance: (report: MaintenanceReport) => void
}

/** What was done to a partition, or could not be. */
export type MaintenanceReport = { readonly topic: string; readonly partition: number } & (
  | ({ readonly kind: 'compacted' } & CompactionResult)
  /** The log of the partition begins at `start` now. */
  | { readonly kind: 'expired'; readonly start: bigint; readonly bytes: number }
  | { readonly kind: 'failed'; readonly error: Error }
)

export interface MaintainedTopic {
  readonly cleanup: TopicCleanup
  readonly partitions: readonly FilePartition[]
}

/** A partition that could not be maintained is left alone for so long. */
const failurePauseMs = 600_000

export class Maintenance {
  readonly #topics: () => Iterable<MaintainedTopic>
  readonly #options: MaintenanceOptions
  readonly #pausedUntil = new WeakMap<FilePartition, number>()
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(topics: () => Iterable<MaintainedTopic>, options: MaintenanceOptions) {
    this.#topics = topics
    this.#options = options
    this.#schedule()
  }

  /** Does what is due now, in all topics. Failures are told, not thrown. */
  async run(): Promise<void> {
    for (const { cleanup, partitions } of [...this.#topics()]) {
      if (cleanup === 'forever') continue
      for (const partition of partitions) {
        if (this.#stopped) return
        if ((this.#pausedUntil.get(partition) ?? 0) <= this.#options.wallClock()) await this.#maintain(partition, cleanup)
      }
    }
  }

  /** Compacts all that a topic holds, whether it is due or not. */
  async compact({ cleanup, partitions }: MaintainedTopic): Promise<void> {
    if (cleanup !== 'compact') {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `topic ${partitions[0]!.topic} has cleanup ${cleanup}: it is never compacted`)
    }
    for (const partition of partitions) {
      await partition.maintain(async (signal) => {
        await partition.roll()
        await this.#compact(partition, signal)
      })
    }
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #schedule(): void {
    this.#timer = setTimeout(() => void this.run().finally(() => this.#stopped || this.#schedule()), this.#options.maintenanceMs)
    this.#timer.unref()
  }

  async #maintain(partition: FilePartition, cleanup: 'compact' | 'delete'): Promise<void> {
    const { wallClock, onMaintenance } = this.#options
    try {
      await partition.maintain(async (signal) => {
        if (this.#isOld(partition, cleanup)) await partition.roll()
        if (cleanup === 'delete') await this.#expire(partition)
        else if (isCompactionDue(partition.segments, this.#options)) await this.#compact(partition, signal)
      })
    } catch (error) {
      if (isSidestreamError(error) && error.code === 'SIDESTREAM_CLOSED') return
      this.#pausedUntil.set(partition, wallClock() + failurePauseMs)
      onMaintenance({ kind: 'failed', topic: partition.topic, partition: partition.index, error: error as Error })
    }
  }

  /** True when the last segment should make place for a new one: else a quiet topic would never lose anything. */
  #isOld({ segments }: FilePartition, cleanup: 'compact' | 'delete'): boolean {
    const { wallClock, segmentMs, retentionMs } = this.#options
    const { size, oldestTs, newestTs } = segments.active
    const now = wallClock()
    return size > 0 && (now - oldestTs >= segmentMs || (cleanup === 'delete' && now - newestTs >= retentionMs))
  }

  async #expire({ segments, topic, index }: FilePartition): Promise<void> {
    const { wallClock, retentionMs, retentionBytes, onMaintenance } = this.#options
    const { closed, active } = segments
    const total = closed.reduce((sum, { size }) => sum + size, active.size)
    let [count, bytes] = [0, 0]
    for (const { newestTs, size } of closed) {
      if (wallClock() - newestTs < retentionMs && total - bytes - size < retentionBytes) break
      count++
      bytes += size
    }
    if (count === 0) return
    await segments.drop(count)
    onMaintenance({ kind: 'expired', topic, partition: index, start: BigInt(segments.start), bytes })
  }

  async #compact({ segments, topic, index }: FilePartition, signal: AbortSignal): Promise<void> {
    const result = await compactSegments(segments, this.#options, signal)
    this.#options.onMaintenance({ kind: 'compacted', topic, partition: index, ...result })
  }
}
