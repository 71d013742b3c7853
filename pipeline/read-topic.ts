/** Reads a topic from its start to a fixed end: for what must be known before work starts. */

import type { LogBatch, LogDriver } from '../connectors/index.ts'

let readers = 0

/**
 * Calls `onBatch` for every batch below `upTo` (default: the end of each partition at the call), in order per partition.
 * The last batch of a partition may reach past `upTo`; records at or past it are cut off.
 */
export async function readTopic(
  log: LogDriver,
  topic: string,
  onBatch: (batch: LogBatch) => void | Promise<void>,
  upTo?: readonly bigint[],
): Promise<void> {
  const described = await (await log.admin()).describe(topic)
  const ends = upTo ?? described.end
  const open = new Set<number>()
  for (let p = 0; p < described.partitions; p++) if ((ends[p] ?? 0n) > (described.start[p] ?? 0n)) open.add(p)
  if (open.size === 0) return
  const consumer = await log.consumer({ group: `read-${process.pid}-${readers++}`, topics: [topic], start: 'earliest' })
  try {
    await new Promise<void>((resolve, reject) => {
      consumer
        .run({
          onBatch: async (batch) => {
            if (!open.has(batch.partition)) return
            const end = ends[batch.partition]!
            const records = batch.next > end ? batch.records.filter((record) => record.offset < end) : batch.records
            if (records.length > 0) await onBatch({ ...batch, records, next: batch.next > end ? end : batch.next })
            if (batch.next >= end) {
              open.delete(batch.partition)
              if (open.size === 0) resolve()
            }
          },
          onFatal: reject,
        })
        .catch(reject)
    })
  } finally {
    await consumer.stop({ drainMs: 0 })
  }
}
