/**
 * What kafkajs makes of a fetch, mended before it goes on.
 * Aborted transactions: kafkajs hides their records, but lets some through: the first of the second transaction when a fetch begins
 * inside of two that overlap, and all that follow a record whose key is four zero bytes, which it takes for an abort mark.
 * Compaction: kafkajs goes on after the last record, so that a batch whose last records were compacted away comes again for every
 * offset of the hole.
 * Invariant: no record is added, moved or changed; positions pass what is hidden.
 */
import type { Cluster } from 'kafkajs'
import type { FetchedMessage, FetchedPartition, KafkaBroker, KafkaCluster } from './kafka-client.ts'

/** Makes what readers may not see look like control records, which they leave out. */
export function mendFetched(fetched: FetchedPartition): void {
  hideAborted(fetched)
  passHole(fetched.messages)
}

function hideAborted(fetched: FetchedPartition): void {
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

/** Ends a fetch with the last offset of its last batch, where there is no record any more. */
function passHole(messages: FetchedMessage[]): void {
  const last = messages.at(-1)
  if (last?.batchContext === undefined) return
  const end = BigInt(last.batchContext.firstOffset) + BigInt(last.batchContext.lastOffsetDelta)
  if (end > BigInt(last.offset)) messages.push({ ...last, offset: String(end), key: null, value: null, headers: {}, isControlRecord: true })
}

const mended = new WeakSet<KafkaBroker>()

/** Has every fetch of a kafkajs consumer mended; kafkajs gives its cluster to the partition assigner. */
export function mendFetches(cluster: Cluster): void {
  const patched = cluster as unknown as KafkaCluster
  const findBroker = patched.findBroker.bind(cluster)
  patched.findBroker = async (options) => {
    const broker = await findBroker(options)
    if (mended.has(broker)) return broker
    mended.add(broker)
    const fetch = broker.fetch.bind(broker)
    broker.fetch = async (request) => {
      const answer = await fetch(request)
      for (const { partitions } of answer.responses) for (const one of partitions) mendFetched(one)
      return answer
    }
    return broker
  }
}
