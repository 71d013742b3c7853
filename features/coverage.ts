/**
 * Counted readiness of a version: every record up to its cut is accounted for, and the end of the log is near.
 * Invariant: ready is a sum that adds up, per partition; nothing is assumed done because time has passed.
 */

/** How far the writer of one partition is. Every offset that it has passed is counted once; one without a record is `absent`. */
export interface PartitionProgress {
  readonly topic: string
  readonly partition: number
  /** Where counting began. */
  readonly start: bigint
  /** End offset of the cut: the version must account for every offset in [start, cut). */
  readonly cut: bigint
  /** Next offset the writer will read. */
  readonly position: bigint
  /** Next offset to be appended. */
  readonly end: bigint
  /** What became of the records in [start, position). */
  readonly rows: number
  readonly tombstones: number
  readonly deadLetters: number
  /** Offsets without an item: control records, end marks, compacted holes. @default 0 */
  readonly absent?: number
  /** Records appended to this partition in the last second. */
  readonly appendsPerSecond: number
}

export interface Readiness {
  readonly ready: boolean
  /** What is missing, one sentence per partition and reason; empty when ready. */
  readonly missing: readonly string[]
}

/** Judges all partitions of a cut. A version without partitions is not ready: nothing was counted. */
export function judgeReadiness(partitions: readonly PartitionProgress[]): Readiness {
  const missing = partitions.length === 0 ? ['no partition was counted'] : partitions.flatMap(missingOf)
  return { ready: missing.length === 0, missing }
}

function missingOf(progress: PartitionProgress): string[] {
  const { topic, partition, start, cut, position, end, rows, tombstones, deadLetters, absent = 0, appendsPerSecond } = progress
  const name = `${topic}/${partition}`
  const missing: string[] = []
  if (position < cut) missing.push(`${name} is at ${position}, the cut is ${cut}`)
  const accounted = rows + tombstones + deadLetters + absent
  const passed = Number(position - start)
  if (accounted !== passed) {
    missing.push(
      `${name}: ${rows} rows + ${tombstones} tombstones + ${deadLetters} dead letters + ${absent} without an item = ${accounted}, ` +
        `but ${passed} offsets were passed`,
    )
  }
  const lag = Number(end - position)
  if (lag > 0 && lag >= appendsPerSecond) missing.push(`${name} is ${lag} records behind its end, a second of appends or more`)
  return missing
}
