/** Reads one partition between two positions: for what must be known before work goes on. */

import { randomUUID } from 'node:crypto'

import type { LogBatch, LogDriver } from './log.ts'

export interface LogRange {
  readonly topic: string
  readonly partition: number
  /** First offset that is read; what is no longer there is passed over. */
  readonly from: bigint
  /** Where reading ends; at most the partition's end. */
  readonly to: bigint
}

/**
 * Calls `onBatch` for the records of a range, in order, one batch at a time. Leaves no committed offset.
 * @throws SIDESTREAM_TOPIC_UNKNOWN, whatever the log or `onBatch` throws
 */
export async function readRange(log: LogDriver, range: LogRange, onBatch: (batch: LogBatch) => void | Promise<void>): Promise<void> {
  const { topic, partition, from, to } = range
  if (from >= to) return
  const consumer = await log.consumer({ group: `read-${randomUUID()}`, topics: [topic], start: 'earliest' })
  try {
    await new Promise<void>((resolve, reject) => {
      const take = async (batch: LogBatch): Promise<void> => {
        const records = batch.next > to ? batch.records.filter(({ offset }) => offset < to) : batch.records
        if (records.length > 0) await onBatch({ ...batch, records, next: batch.next > to ? to : batch.next })
        if (batch.next >= to) resolve()
      }
      consumer
        .run({
          onAssigned: async (lane) => {
            if (lane.partition !== partition) lane.pause()
            return lane.partition === partition ? from : undefined
          },
          onBatch: async (batch) => {
            // What fails here is for the caller, not for the lane to try again.
            if (batch.partition === partition) await take(batch).catch(reject)
          },
          onFatal: reject,
        })
        .catch(reject)
    })
  } finally {
    await consumer.stop({ drainMs: 0 })
  }
}
