/**
 * Aborted transactions are not left to kafkajs: it shows records of those that began before the first record of the fetch, when
 * another began inside of it, and all that follow a record whose key is four zero bytes, which it takes for an abort mark.
 * Invariant: no record is added, moved or changed; positions pass what is hidden.
 */
import type { FetchedPartition } from './kafka-cluster.ts'

/** Makes batches of aborted transactions look like control records, which readers leave out. */
export function hideAborted(fetched: FetchedPartition): void {
  const aborted = fetched.abortedTransactions
  if (aborted === undefined || aborted.length === 0) return
  const waiting = aborted.map(({ producerId, firstOffset }) => ({ producerId, first: BigInt(firstOffset) }))
  waiting.sort((a, b) => (a.first < b.first ? -1 : 1))
  const aborting = new Set<string>()
  for (const message of fetched.messages) {
    while (waiting.length > 0 && waiting[0]!.first <= BigInt(message.offset)) aborting.add(waiting.shift()!.producerId)
    const { producerId = '', inTransaction = false } = message.batchContext ?? {}
    if (message.isControlRecord === true) aborting.delete(producerId)
    else if (inTransaction && aborting.has(producerId)) message.isControlRecord = true
  }
  fetched.abortedTransactions = []
}
