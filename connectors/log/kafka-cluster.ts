/** What the driver uses of kafkajs's clusters and brokers, which kafkajs does not declare. */
import type { FetchedRecords } from './kafka-fetched-records.ts'

/** What the driver asks of brokers directly; kafkajs gives its cluster to whoever brings a partition assigner. */
export interface KafkaCluster {
  /** From what it knows where it can; null when no broker gave an answer, or none but an error. */
  metadata(options: { topics: readonly string[] }): Promise<KafkaMetadata | null>
  /** Asks a broker, whatever is known. */
  readonly brokerPool: { refreshMetadata(topics: readonly string[]): Promise<void> }
  findBroker(options: { nodeId: number }): Promise<KafkaBroker>
  getNodeIds(): readonly (number | string)[]
}

export interface KafkaMetadata {
  readonly topicMetadata: readonly {
    readonly topic: string
    readonly partitionMetadata: readonly { readonly partitionId: number; readonly leader: number }[]
  }[]
}

interface TopicAnswer<P> {
  readonly topic: string
  readonly partitions: readonly P[]
}

export interface KafkaBroker {
  findGroupCoordinator(request: { groupId: string; coordinatorType: 0 }): Promise<{ coordinator: { nodeId: number } }>
  listOffsets(request: {
    replicaId: -1
    isolationLevel: number
    topics: readonly TopicAnswer<{ partition: number; timestamp: number }>[]
  }): Promise<{ responses: readonly TopicAnswer<{ partition: number; offset: string }>[] }>
  offsetFetch(request: {
    groupId: string
    topics: readonly TopicAnswer<{ partition: number }>[]
  }): Promise<{ responses: readonly TopicAnswer<{ partition: number; offset: string }>[] }>
  fetch(request: {
    isolationLevel: number
    maxWaitTime: number
    minBytes: number
    maxBytes: number
    topics: readonly TopicAnswer<{ partition: number; fetchOffset: string; maxBytes: number }>[]
  }): Promise<FetchAnswer>
}

export interface FetchAnswer {
  readonly throttleTime: number
  readonly clientSideThrottleTime?: number
  readonly errorCode: number
  readonly sessionId: number
  readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[]
}

export interface FetchedPartition {
  readonly partition: number
  readonly errorCode: number
  readonly highWatermark: string
  readonly lastStableOffset: string
  readonly lastStartOffset?: string
  readonly preferredReadReplica?: number
  abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[]
  messages: readonly FetchedRecords[]
}
