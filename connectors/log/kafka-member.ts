/**
 * One life of a kafkajs consumer in its group: joins, fetches, commits, and ends once, by a crash or when told to.
 * Invariant: nothing throws out of `eachBatch`, which only hands over and returns, so the fetch loop never waits for a handler and
 * heartbeats go on; kafkajs never restarts it by itself.
 */
import type { Batch, Consumer, EachBatchPayload, Offsets, PartitionAssigner } from 'kafkajs'
import { createClient, patientRetry } from './kafka-client.ts'
import type { TopicPartitionName } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import { handle, withTimeout } from './waiting.ts'

export interface MemberEvents {
  /** Partitions were assigned; they are paused. Called inside of the join, before any fetch. */
  joined(member: KafkaMember, places: readonly TopicPartitionName[]): void
  /** The group is about to assign anew; commits still count for a moment. */
  rebalancing(): void
  /** @returns true when the records were taken */
  fetched(batch: Batch): boolean
  /** A fetch had only control records, or such as were taken back. */
  passed(place: TopicPartitionName, next: bigint, end: bigint): void
}

export interface MemberOptions {
  readonly settings: KafkaSettings
  readonly group: string
  readonly topics: readonly string[]
  /** Most bytes of one partition in one fetch. */
  readonly fetchBytes: number
  readonly assigner: PartitionAssigner
  readonly events: MemberEvents
}

/** How long it may take to leave the group in order. */
const leaveMs = 5000

export class KafkaMember {
  /** Resolves when it has ended: with the error of a crash, or undefined. */
  readonly ended: Promise<unknown>
  readonly #options: MemberOptions
  readonly #consumer: Consumer
  readonly #kill: () => void
  #end!: (error: unknown) => void
  #hasEnded = false
  #stopped: Promise<void> | undefined
  #isMember = false
  readonly #fetching = handle()
  #fetchedTs: number | undefined
  /** kafkajs's commit without tries of its own; known from the first batch on. */
  #commitNow: ((offsets: Offsets) => Promise<void>) | undefined

  constructor(options: MemberOptions) {
    this.#options = options
    const { settings, group, fetchBytes, assigner } = options
    const { kafka, kill } = createClient(settings)
    this.#kill = kill
    this.ended = new Promise((resolve) => {
      this.#end = (error) => {
        this.#hasEnded = true
        resolve(error)
      }
    })
    this.#consumer = kafka.consumer({
      groupId: group,
      partitionAssigners: [assigner],
      sessionTimeout: settings.sessionTimeoutMs,
      heartbeatInterval: settings.heartbeatIntervalMs,
      maxWaitTimeInMs: settings.fetchWaitMs,
      maxBytesPerPartition: fetchBytes,
      metadataMaxAge: settings.metadataMaxAgeMs,
      allowAutoTopicCreation: false,
      retry: { ...patientRetry, restartOnFailure: async () => false },
    })
    this.#listen()
  }

  /** When the last fetch came back; undefined before the first. */
  get fetchedTs(): number | undefined {
    return this.#isMember && !this.#hasEnded ? this.#fetchedTs : undefined
  }

  /** Joins the group; a first assignment follows by `joined`, a failure of the join by `ended`. */
  async start(): Promise<void> {
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topics: [...this.#options.topics], fromBeginning: true })
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async (payload) => this.#fetched(payload),
    })
  }

  seek({ topic, partition }: TopicPartitionName, offset: bigint): void {
    this.#tell(() => this.#consumer.seek({ topic, partition, offset: String(offset) }))
  }

  pause({ topic, partition }: TopicPartitionName): void {
    this.#tell(() => this.#consumer.pause([{ topic, partitions: [partition] }]))
  }

  resume({ topic, partition }: TopicPartitionName): void {
    this.#tell(() => this.#consumer.resume([{ topic, partitions: [partition] }]))
  }

  /**
   * Stores positions in one request, under the generation of now.
   * @returns false when nothing was stored: the member is not, or no longer, in its group
   * @throws what kafkajs throws
   */
  async commit(positions: readonly (TopicPartitionName & { readonly next: bigint })[]): Promise<boolean> {
    const topics = new Map<string, { partition: number; offset: string }[]>()
    for (const { topic, partition, next } of positions) {
      const entry = { partition, offset: String(next) }
      if (topics.get(topic)?.push(entry) === undefined) topics.set(topic, [entry])
    }
    const offsets = { topics: [...topics].map(([topic, partitions]) => ({ topic, partitions })) }
    if (this.#commitNow === undefined) return this.#commitEarly(offsets)
    await this.#commitNow(offsets)
    return true
  }

  /** Leaves the group, in order when the brokers answer in time. */
  stop(): Promise<void> {
    this.#stopped ??= (async () => {
      this.#end(undefined)
      await withTimeout(
        this.#consumer.disconnect().catch(() => {}),
        leaveMs,
      )
      this.#kill()
    })()
    return this.#stopped
  }

  /** Before the first batch there is only a way that stores nothing, and says nothing, while the consumer is not fetching. */
  async #commitEarly({ topics }: Offsets): Promise<boolean> {
    await Promise.race([this.#fetching.promise, this.ended])
    let stored = false
    const unwatch = this.#consumer.on(this.#consumer.events.COMMIT_OFFSETS, ({ payload }) => {
      stored ||= JSON.stringify(payload.topics.map(({ topic }) => topic)) === JSON.stringify(topics.map(({ topic }) => topic))
    })
    try {
      await this.#consumer.commitOffsets(topics.flatMap(({ topic, partitions }) => partitions.map((one) => ({ topic, ...one }))))
      return stored
    } finally {
      unwatch()
    }
  }

  #listen(): void {
    const { events } = this.#consumer
    const { settings, events: told } = this.#options
    this.#consumer.on(events.GROUP_JOIN, ({ payload }) => {
      const places = Object.entries(payload.memberAssignment).flatMap(([topic, partitions]) =>
        partitions.map((partition) => ({ topic, partition })),
      )
      this.#isMember = true
      this.#fetchedTs = settings.clock()
      for (const place of places) this.pause(place) // until it is known where to begin; a pause outlives a rebalance
      told.joined(this, places)
    })
    this.#consumer.on(events.REBALANCING, () => told.rebalancing())
    this.#consumer.on(events.FETCH_START, () => this.#fetching.resolve())
    this.#consumer.on(events.FETCH, () => {
      this.#fetchedTs = settings.clock()
    })
    this.#consumer.on(events.END_BATCH_PROCESS, ({ payload: { topic, partition, batchSize, lastOffset, highWatermark } }) => {
      if (batchSize === 0) told.passed({ topic, partition }, BigInt(lastOffset) + 1n, BigInt(highWatermark))
    })
    this.#consumer.on(events.CRASH, ({ payload }) => this.#end(payload.error))
  }

  #fetched({ batch, resolveOffset, commitOffsetsIfNecessary, isStale }: EachBatchPayload): void {
    this.#commitNow = commitOffsetsIfNecessary
    if (isStale()) return
    if (this.#options.events.fetched(batch)) resolveOffset(batch.messages.at(-1)!.offset)
    else this.pause(batch) // or the same would be fetched over and over
  }

  /** kafkajs refuses these while it is not running; then there is nobody to tell. */
  #tell(what: () => void): void {
    if (this.#hasEnded) return
    try {
      what()
    } catch (error) {
      this.#options.settings.logger.debug({ error: (error as Error).message }, 'the Kafka consumer is not running')
    }
  }
}
