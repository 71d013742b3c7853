/**
 * Reads a topic of the embedded log up to a fixed end, partition by partition, without a group.
 * Invariant: nothing at or past the end is given; a reading ends at its end, or with an error.
 */
import { SidestreamError } from '../../schemas/index.ts'
import type { LogBatch, LogRecord, ReadOptions } from './log.ts'
import type { Partition, Topic } from './partition.ts'

/** Most bytes of one batch; one record is always given. */
const batchBytes = 8_388_608

/** @returns per partition, where a next reading goes on */
export async function readEmbedded(
  { name, partitions }: Topic,
  onBatch: (batch: LogBatch) => void | Promise<void>,
  { from = [], upTo = [], batchRecords = 2000, signal }: ReadOptions,
): Promise<bigint[]> {
  const ends = partitions.map(({ index, end }) => Number(upTo[index] ?? end))
  const reached: bigint[] = []
  for (const partition of partitions) {
    const start = startOf(partition, from[partition.index])
    reached.push(BigInt(Math.max(start, ends[partition.index]!)))
    await readPartition(partition, { start, end: ends[partition.index]!, batchRecords, signal }, async (records, next) => {
      await onBatch({ topic: name, partition: partition.index, records, first: records[0]!.offset, next: BigInt(next) })
    })
  }
  return reached
}

interface Stretch {
  readonly start: number
  readonly end: number
  readonly batchRecords: number
  readonly signal: AbortSignal | undefined
}

async function readPartition(
  partition: Partition,
  { start, end, batchRecords, signal }: Stretch,
  give: (records: LogRecord[], next: number) => Promise<void>,
): Promise<void> {
  const reader = partition.reader()
  try {
    reader.seek(start)
    for (let position = start; position < end;) {
      signal?.throwIfAborted()
      if (position >= partition.end) {
        await grown(partition, position, signal)
        continue
      }
      const { records, next } = await reader.read({ records: batchRecords, bytes: batchBytes })
      position = Math.min(next, end)
      const wanted = next <= end ? records : records.filter(({ offset }) => offset < end)
      if (wanted.length > 0) await give(wanted, position)
    }
  } finally {
    reader.close()
  }
}

function startOf({ topic, index, start, end }: Partition, wanted: bigint | undefined): number {
  if (wanted === undefined || wanted <= BigInt(end)) return Math.max(Number(wanted ?? 0n), start)
  const message = `offset ${wanted} of ${topic}/${index} was read, but the log ends at ${end}: records are gone; restore the log, or start anew`
  throw new SidestreamError('SIDESTREAM_STATE_GAP', message, { topic, partition: index })
}

/** Resolves when the partition has a record at `position`, or the signal aborts. */
function grown(partition: Partition, position: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      unwatch()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const unwatch = partition.watch(() => {
      if (partition.end > position) done()
    })
    signal?.addEventListener('abort', done)
    if (signal?.aborted === true || partition.end > position) done()
  })
}
