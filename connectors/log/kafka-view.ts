/**
 * What the driver looks up at the brokers: topics, positions, commits. All names here are physical.
 * Invariant: a look-up is tried again while waiting can help, for a bounded time; it changes nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { SidestreamError } from '../../schemas/index.ts'
import { openCluster } from './kafka-client.ts'
import type { ClusterHandle } from './kafka-client.ts'
import type { FetchedPartition, KafkaBroker, KafkaCluster, KafkaMetadata } from './kafka-cluster.ts'
import { isOfType, kafkaError } from './kafka-errors.ts'
import type { KafkaSettings } from './kafka.ts'

export interface TopicPartitionName {
  readonly topic: string
  readonly partition: number
}

export const placeName = ({ topic, partition }: TopicPartitionName): string => `${topic}/${partition}`

/** `stable`: the end as readers of committed records see it. */
export type OffsetPoint = 'earliest' | 'latest' | 'stable'

const points: Readonly<Record<OffsetPoint, { readonly timestamp: number; readonly isolationLevel: number }>> = {
  earliest: { timestamp: -2, isolationLevel: 0 },
  latest: { timestamp: -1, isolationLevel: 0 },
  stable: { timestamp: -1, isolationLevel: 1 },
}

export class KafkaView {
  readonly #settings: KafkaSettings
  readonly #handle: ClusterHandle
  readonly #closing = new AbortController()
  /** Leaders as they were looked up last, by topic: enough to know whom to ask, which answers when it is no leader any more. */
  readonly #leaders = new Map<string, number[]>()
  /** Nodes that coordinate groups, as they were looked up last. */
  readonly #coordinators = new Map<string, Promise<number>>()

  private constructor(settings: KafkaSettings, handle: ClusterHandle) {
    this.#settings = settings
    this.#handle = handle
  }

  static async connect(settings: KafkaSettings): Promise<KafkaView> {
    const handle = openCluster(settings)
    const view = new KafkaView(settings, handle)
    const stop = (): void => view.#closing.abort()
    settings.signal?.addEventListener('abort', stop)
    if (settings.signal?.aborted === true) stop()
    try {
      const doing = `cannot reach Kafka at ${settings.brokers.join(', ')}`
      const connect = async (): Promise<void> => {
        await handle.connect()
        await handle.cluster.metadata({ topics: ['never-there'] }).catch((error: unknown) => {
          // An answer is an answer; without a login where one is wanted there would be none.
          if (!isOfType(error, 'UNKNOWN_TOPIC_OR_PARTITION', 'TOPIC_AUTHORIZATION_FAILED')) throw error
        })
      }
      await view.#trying(doing, settings.connectTimeoutMs, connect, settings.onWaiting)
      return view
    } catch (error) {
      await handle.close()
      throw error
    } finally {
      settings.signal?.removeEventListener('abort', stop)
    }
  }

  /** Leader of every partition, by partition. @throws SIDESTREAM_TOPIC_UNKNOWN */
  async leaders(topic: string): Promise<number[]> {
    const found = await this.partitions([topic])
    return found.get(topic)!
  }

  /**
   * Leaders by partition, of the topics named, or of all there are.
   * @throws SIDESTREAM_TOPIC_UNKNOWN naming the topic
   */
  async partitions(topics: readonly string[]): Promise<Map<string, number[]>> {
    const what = topics.length === 0 ? 'the topics' : `topic ${topics.join(', ')}`
    const metadata = await this.#asking(`cannot look up ${what}`, async (cluster) => {
      try {
        return (await cluster.metadata({ topics })) ?? (await askedAnew(cluster, topics))
      } catch (error) {
        if (!isOfType(error, 'UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION') || topics.length === 0) throw error
        if (topics.length === 1) throw unknownTopic(topics[0]!, error)
        for (const topic of topics) await this.partitions([topic]) // says which one
        throw error
      }
    })
    const found = new Map<string, number[]>()
    for (const { topic, partitionMetadata } of metadata?.topicMetadata ?? []) {
      const leaders: number[] = []
      for (const { partitionId, leader } of partitionMetadata) leaders[partitionId] = leader
      found.set(topic, leaders)
      this.#leaders.set(topic, leaders)
    }
    return found
  }

  /** Of those topics that exist; one request when all of them do. */
  async partitionCounts(topics: readonly string[]): Promise<Map<string, number>> {
    const counts = new Map<string, number>()
    if (topics.length === 0) return counts
    const count = async (some: readonly string[]): Promise<void> => {
      for (const [topic, { length }] of await this.partitions(some)) counts.set(topic, length)
    }
    await count(topics).catch(async (error: unknown) => {
      if (!isTopicUnknown(error)) throw error
      await Promise.all(
        topics.map((topic) => count([topic]).catch((reason: unknown) => isTopicUnknown(reason) || Promise.reject(reason as Error))),
      )
    })
    return counts
  }

  /** True when the topic exists. */
  async exists(topic: string): Promise<boolean> {
    try {
      await this.partitions([topic])
      return true
    } catch (error) {
      if (isTopicUnknown(error)) return false
      throw error
    }
  }

  /** Offsets by `placeName`, asked in one request per broker. @throws SIDESTREAM_TOPIC_UNKNOWN */
  async offsets(places: readonly TopicPartitionName[], point: OffsetPoint): Promise<Map<string, bigint>> {
    const found = new Map<string, bigint>()
    if (places.length === 0) return found
    const { timestamp, isolationLevel } = points[point]
    await this.#asking(`cannot look up positions of ${listed(places)}`, (cluster) =>
      this.#perLeader(cluster, places, async (broker, mine) => {
        const topics = grouped(mine, ({ partition }) => ({ partition, timestamp }))
        const { responses } = await broker.listOffsets({ replicaId: -1, isolationLevel, topics })
        for (const { topic, partitions } of responses) {
          for (const { partition, offset } of partitions) found.set(placeName({ topic, partition }), BigInt(offset))
        }
      }),
    )
    return found
  }

  /** Commits of a group by `placeName`; left out where there is none. */
  async committed(group: string, places: readonly TopicPartitionName[]): Promise<Map<string, bigint>> {
    const found = new Map<string, bigint>()
    if (places.length === 0) return found
    await this.#asking(`cannot look up the commits of group ${group}`, async (cluster) => {
      const coordinator = await this.#coordinatorOf(cluster, group)
      const topics = grouped(places, ({ partition }) => ({ partition }))
      const { responses } = await coordinator.offsetFetch({ groupId: group, topics }).catch((error: unknown) => {
        this.#coordinators.delete(group) // the next try asks who it is now
        throw error
      })
      for (const { topic, partitions } of responses) {
        for (const { partition, offset } of partitions) if (BigInt(offset) >= 0n) found.set(placeName({ topic, partition }), BigInt(offset))
      }
    })
    return found
  }

  /**
   * Committed records of partitions from given offsets on, from all their brokers at once.
   * @throws SIDESTREAM_STATE_GAP for an offset outside of the log
   */
  async fetch(
    wanted: readonly (TopicPartitionName & { readonly offset: bigint })[],
    limits: { readonly waitMs: number; readonly bytes: number },
  ): Promise<Map<string, FetchedPartition>> {
    const found = new Map<string, FetchedPartition>()
    const doing = `cannot read ${listed(wanted)}`
    await this.#asking(doing, (cluster) =>
      this.#perLeader(cluster, wanted, async (broker, mine) => {
        const request = {
          isolationLevel: 1,
          maxWaitTime: limits.waitMs,
          minBytes: 1,
          maxBytes: limits.bytes * mine.length,
          topics: grouped(mine, ({ partition, offset }) => ({ partition, fetchOffset: String(offset), maxBytes: limits.bytes })),
        }
        const { responses } = await broker.fetch(request).catch((error: unknown) => {
          if (!isOfType(error, 'OFFSET_OUT_OF_RANGE')) throw error
          throw new SidestreamError('SIDESTREAM_STATE_GAP', `${doing}: the log no longer holds the records asked for`, { cause: error })
        })
        for (const { topicName, partitions } of responses) {
          for (const one of partitions) found.set(placeName({ topic: topicName, partition: one.partition }), one)
        }
      }),
    )
    return found
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#handle.close()
  }

  /** Asks the leaders that are known, and looks them up when one is not, or does not answer as one. */
  async #perLeader<P extends TopicPartitionName>(
    cluster: KafkaCluster,
    places: readonly P[],
    ask: (broker: KafkaBroker, mine: P[]) => Promise<void>,
  ): Promise<void> {
    const topics = [...new Set(places.map(({ topic }) => topic))]
    if (places.every(({ topic, partition }) => this.#leaders.get(topic)?.[partition] !== undefined)) {
      try {
        return await this.#askLeaders(cluster, this.#leaders, places, ask)
      } catch (error) {
        for (const topic of topics) this.#leaders.delete(topic)
        if (error instanceof SidestreamError) throw error // an answer
      }
    }
    await this.#askLeaders(cluster, await this.partitions(topics), places, ask)
  }

  async #askLeaders<P extends TopicPartitionName>(
    cluster: KafkaCluster,
    leaders: ReadonlyMap<string, readonly number[]>,
    places: readonly P[],
    ask: (broker: KafkaBroker, mine: P[]) => Promise<void>,
  ): Promise<void> {
    const byLeader = new Map<number, P[]>()
    for (const place of places) {
      const leader = leaders.get(place.topic)?.[place.partition]
      if (leader === undefined) throw unknownTopic(placeName(place))
      const mine = byLeader.get(leader)
      if (mine === undefined) byLeader.set(leader, [place])
      else mine.push(place)
    }
    await Promise.all([...byLeader].map(async ([nodeId, mine]) => ask(await cluster.findBroker({ nodeId }), mine)))
  }

  async #coordinatorOf(cluster: KafkaCluster, group: string): Promise<KafkaBroker> {
    let nodeId = this.#coordinators.get(group)
    if (nodeId === undefined) {
      nodeId = coordinatorOf(cluster, group)
      this.#coordinators.set(group, nodeId)
      nodeId.catch(() => this.#coordinators.delete(group))
    }
    return cluster.findBroker({ nodeId: await nodeId })
  }

  #asking<T>(doing: string, ask: (cluster: KafkaCluster) => Promise<T>): Promise<T> {
    return this.#trying(doing, this.#settings.requestTimeoutMs, () => ask(this.#handle.cluster))
  }

  /** Tries until it works, an error that stays, or the time is over. */
  async #trying<T>(
    doing: string,
    patienceMs: number,
    work: () => Promise<T>,
    onFailure: (reason: SidestreamError) => void = () => {},
  ): Promise<T> {
    const giveUpTs = Date.now() + patienceMs
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2000)) {
      if (this.#closing.signal.aborted) throw new SidestreamError('SIDESTREAM_CLOSED', 'the kafka log is closed')
      try {
        const answer = await work()
        if (answer === null) throw new Error('no broker answered')
        return answer
      } catch (error) {
        const told = kafkaError(error, doing)
        const leftMs = giveUpTs - Date.now()
        if (told.class !== 'retryable' || leftMs <= 0) throw told
        this.#settings.logger.debug({ error: told.message }, 'asking Kafka again')
        onFailure(told)
        await sleep(Math.min(pauseMs, leftMs), undefined, { signal: this.#closing.signal }).catch(() => {})
      }
    }
  }
}

/** kafkajs answers null, without the reason, for a topic that it knows and that is gone: then the brokers are asked anew. */
async function askedAnew(cluster: KafkaCluster, topics: readonly string[]): Promise<KafkaMetadata | null> {
  await cluster.brokerPool.refreshMetadata(topics)
  return cluster.metadata({ topics })
}

/** kafkajs's own way swallows the reason when the group may not be used. */
async function coordinatorOf(cluster: KafkaCluster, groupId: string): Promise<number> {
  if (cluster.getNodeIds().length === 0) await cluster.metadata({ topics: [] })
  const nodes = cluster.getNodeIds()
  const broker = await cluster.findBroker({ nodeId: Number(nodes[Math.floor(Math.random() * nodes.length)]) })
  const { coordinator } = await broker.findGroupCoordinator({ groupId, coordinatorType: 0 })
  return coordinator.nodeId
}

function isTopicUnknown(error: unknown): boolean {
  return error instanceof SidestreamError && error.code === 'SIDESTREAM_TOPIC_UNKNOWN'
}

function unknownTopic(topic: string, cause?: unknown): SidestreamError {
  const message = `there is no topic ${topic} in Kafka: create it (\`sidestream doctor --create-topics\`), or check its name and prefix`
  return new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', message, { cause, topic })
}

function listed(places: readonly TopicPartitionName[]): string {
  return places.length === 1 ? placeName(places[0]!) : [...new Set(places.map(({ topic }) => topic))].join(', ')
}

function grouped<P extends TopicPartitionName, T>(places: readonly P[], make: (place: P) => T): { topic: string; partitions: T[] }[] {
  const groups = new Map<string, T[]>()
  for (const place of places) {
    const group = groups.get(place.topic)
    if (group === undefined) groups.set(place.topic, [make(place)])
    else group.push(make(place))
  }
  return [...groups].map(([topic, partitions]) => ({ topic, partitions }))
}
