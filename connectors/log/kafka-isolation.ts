/**
 * Hides records of aborted transactions. kafkajs does too, but lets some through: the first record of the second when a fetch
 * begins inside of two that overlap, and all that follow a record whose key is four zero bytes, which it takes for an abort mark.
 * Invariant: offsets stay, so that positions pass what is hidden.
 */
import type { Cluster } from 'kafkajs'
import type { FetchedPartition, KafkaBroker, KafkaCluster } from './kafka-client.ts'

/** Makes records of aborted transactions look like control records, which readers leave out. */
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

const isolated = new WeakSet<KafkaBroker>()

/** Has every fetch of a kafkajs consumer go through `hideAborted`; kafkajs gives its cluster to the partition assigner. */
export function isolate(cluster: Cluster): void {
  const patched = cluster as unknown as KafkaCluster
  const findBroker = patched.findBroker.bind(cluster)
  patched.findBroker = async (options) => {
    const broker = await findBroker(options)
    if (isolated.has(broker)) return broker
    isolated.add(broker)
    const fetch = broker.fetch.bind(broker)
    broker.fetch = async (request) => {
      const answer = await fetch(request)
      for (const { partitions } of answer.responses) for (const one of partitions) hideAborted(one)
      return answer
    }
    return broker
  }
}
