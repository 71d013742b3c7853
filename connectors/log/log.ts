/**
 * The log port: partitioned, ordered, replayable records. Order is (partition, offset); event time is payload.
 * Invariants: a committed offset is only a hint, the sink owns the position; at most one handler of a partition runs
 * at a time; a lane's signal aborts before another lane of the same partition starts.
 */

export type LogHeader = readonly [name: string, value: Uint8Array]

/** Bytes are views into a larger block that lives as long as any of them: copy what outlives the batch. */
export interface LogRecord {
  readonly key: Uint8Array | null
  /** null is a tombstone. */
  readonly value: Uint8Array | null
  readonly headers: readonly LogHeader[]
  /** Append time, milliseconds since epoch. */
  readonly timestamp: number
  readonly offset: bigint
}

export interface ProducerRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers?: readonly LogHeader[]
  /** Milliseconds since epoch. @default the append time */
  readonly timestamp?: number
}

export interface LogBatch {
  readonly topic: string
  readonly partition: number
  /**
   * Ascending offsets, not always dense. Empty when only the position moved: nothing but compacted holes or control records
   * stands between it and `next`. So a reader that waits for `next >= end` always ends.
   */
  readonly records: readonly LogRecord[]
  /** Offset of the first record; of an empty batch, the position before it. */
  readonly first: bigint
  /** Position after this batch; past control records and compacted holes. No record stands between two batches of a lane. */
  readonly next: bigint
}

/** One assigned partition, for as long as it is ours. */
export interface Lane {
  readonly topic: string
  readonly partition: number
  /** Grows with every assignment of this consumer. */
  readonly epoch: number
  /** Aborted on revoke, stop and fatal error. */
  readonly signal: AbortSignal
  /** Next batch starts at `offset`. */
  seek(offset: bigint): void
  /** Stores the hint. `lost`: the lane is no longer ours; nothing was stored. */
  commit(next: bigint): Promise<'ok' | 'lost'>
  pause(): void
  resume(): void
}

export interface LogHandlers {
  /**
   * Answer = where to start (the sink's position), 0n = at the oldest record there is; undefined = the group's commit, else the
   * consumer's `start` rule.
   */
  onAssigned?(lane: Lane): Promise<bigint | undefined>
  /**
   * Told before the next batch: the lane was to go on at `expected`, but the log begins at `first` now (retention was faster,
   * or somebody deleted records). Never told for a start at 0n, nor for holes that compaction made. An error is fatal.
   */
  onGap?(lane: Lane, expected: bigint, first: bigint): void
  /** One at a time per partition. May throw a retryable error to get the batch again after a backoff. */
  onBatch(batch: LogBatch, lane: Lane): Promise<void>
  onRevoked?(lane: Lane): Promise<void>
  /** The consumer has stopped for good. */
  onFatal(error: Error): void
}

export interface ConsumerOptions {
  readonly group: string
  readonly topics: readonly (string | RegExp)[]
  /** Used where neither the sink (`onAssigned`) nor a commit gives a position. */
  readonly start: 'earliest' | 'latest'
  /** Most bytes of records held per lane before fetching pauses. @default 8388608 */
  readonly laneBytes?: number
  /** Most records in one batch. @default 2000 */
  readonly batchRecords?: number
  /**
   * Who stores positions as the group's hint. `consumer`: by itself, what handlers have taken, now and then and before a lane ends;
   * `handler`: only `lane.commit` does.
   * @default 'consumer'
   */
  readonly commits?: 'consumer' | 'handler'
}

export interface LogConsumer {
  /** Resolves when the first assignment is done; batches then arrive until `stop`. */
  run(handlers: LogHandlers): Promise<void>
  /** Records behind the end, per `topic/partition`. */
  lag(): Promise<Map<string, bigint>>
  /** Time of the last batch or caught-up moment, milliseconds since epoch. */
  lastProgress(): number
  /** Drains lanes up to `drainMs`, commits, then aborts what is left. */
  stop(options: { drainMs: number }): Promise<void>
}

export interface LogProducer {
  /**
   * Appends all records to one partition as one unit and resolves when they are durable.
   * `partition` undefined: every record goes where its key's murmur2 hash says (as the Java client); null keys rotate.
   * @returns offset of the first record, per partition touched
   * @throws SIDESTREAM_RECORD_TOO_LARGE for a record above the driver's limit: nothing of the call was written
   */
  send(topic: string, partition: number | undefined, records: readonly ProducerRecord[]): Promise<ReadonlyMap<number, bigint>>
  /** Begins a transaction; on a producer with a `transactionalId` only. `send` is then a transaction of its own. */
  begin?(): Promise<LogTransaction>
  flush(): Promise<void>
  close(): Promise<void>
}

export interface ProducerOptions {
  /**
   * Makes the producer one of transactions, where `caps.transactions` says that there are any: readers of committed records see all
   * of a transaction or nothing, over any topics and partitions. What has the store as its reader gains nothing by it.
   *
   * One producer of an id writes at a time: opening another ends what the former left open and fences it. So the id is that of the
   * partition which is read (`transactionalIdOf`): whoever is assigned it opens its producer in `onAssigned` and answers with the
   * offset that `LogAdmin.committed` gives after that. The consumer needs `commits: 'handler'`.
   * @default no transactions
   */
  readonly transactionalId?: string
}

/**
 * Records that are seen together, and the position they were made from. One is open at a time; it ends by `commit`, by `abort` or,
 * with the process, after the driver's time-out, which is for how long it holds readers of committed records back.
 *
 * An error that is `fenced` ends the producer: another one has the id, or the transaction was open for longer than the time-out.
 * Open it anew only while the lane is still yours. After any other error `abort`, and the producer is as good as new.
 */
export interface LogTransaction {
  /** As the producer's. A record that is refused as poison leaves the transaction open, with what of its call was sent before it. */
  readonly send: LogProducer['send']
  /**
   * Has `commit` store `next` for the lane's group in the same step. The last one of a lane counts; `next` may not be committed in
   * another way beside it.
   */
  consumed(lane: Lane, next: bigint): void
  /**
   * Decided when it resolves; readers, and `LogAdmin.committed`, see it a moment later.
   * @throws SIDESTREAM_EPOCH_FENCED when the id, or the lane, has another owner: nothing was committed. SIDESTREAM_LOG_UNAVAILABLE
   * for anything else; with `outcome: 'unknown'` among its details it may have been committed. Then `abort`, which waits for the
   * end, whichever it is; read the committed offset; and `seek` there before anything is sent again.
   */
  commit(): Promise<void>
  /**
   * Takes all back; also after a failed `commit`, when nothing can be taken back any more if it was committed. Then have the lane
   * give the same records again: `seek` to the first of them, or throw a retryable error from `onBatch`.
   * @throws SIDESTREAM_LOG_UNAVAILABLE when the brokers cannot be reached: the next `begin` waits for the end
   */
  abort(): Promise<void>
}

export interface TopicDescription {
  readonly name: string
  readonly partitions: number
  /** Oldest offset still readable, per partition. */
  readonly start: readonly bigint[]
  /** Offset of the next append, per partition. */
  readonly end: readonly bigint[]
}

/** `compact` keeps the last record per key, `delete` drops old records, `forever` keeps all. */
export type TopicCleanup = 'compact' | 'delete' | 'forever'

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** @default 'delete' */
  readonly cleanup?: TopicCleanup
}

/** What `createTopics` would do about one topic. */
export interface TopicPlan {
  readonly name: string
  /** `mismatch`: it exists with another partition count, which `createTopics` refuses. */
  readonly action: 'create' | 'keep' | 'mismatch'
  readonly wantedPartitions: number
  readonly wantedCleanup: TopicCleanup
  /** Of the existing topic. */
  readonly partitions?: number
  /** Of the existing topic; `other`: a mixture. Left out where it may not be looked at. It is told, never changed. */
  readonly cleanup?: TopicCleanup | 'other'
  /** Most bytes of a batch that the existing topic takes, where there is such a limit and it may be looked at. */
  readonly takesBytes?: number
  /** Why cleanup and limit of the existing topic could not be looked at. */
  readonly notCompared?: string
}

export interface LogAdmin {
  /** Creates what is missing; an existing topic with another partition count is SIDESTREAM_TOPIC_MISMATCH. */
  createTopics(topics: readonly NewTopic[]): Promise<void>
  /** Says what `createTopics` would do, and does nothing. One plan per topic, in order. */
  planTopics(topics: readonly NewTopic[]): Promise<TopicPlan[]>
  /** @throws SIDESTREAM_TOPIC_UNKNOWN */
  describe(topic: string): Promise<TopicDescription>
  list(): Promise<string[]>
  committed(group: string, topic: string): Promise<(bigint | undefined)[]>
  deleteTopic(topic: string): Promise<void>
  /** Deletes the groups whose names begin so and that have no members. Where groups live with the log's own files there is no need. */
  deleteGroups?(beginning: string): Promise<void>
}

export interface ReadOptions {
  /** First offset wanted, per partition; one below the oldest readable offset means that one. @default the oldest readable */
  readonly from?: readonly (bigint | undefined)[]
  /** End, exclusive, per partition; what is not there yet is waited for. @default the end of what can be read at the call */
  readonly upTo?: readonly (bigint | undefined)[]
  /** Most records in one batch. @default 2000 */
  readonly batchRecords?: number
  /** Ends the reading with its reason. */
  readonly signal?: AbortSignal
}

export interface LogDriver {
  readonly name: string
  readonly caps: { readonly transactions: boolean; readonly compaction: boolean; readonly groups: 'process' | 'cluster' }
  /** @throws SIDESTREAM_USAGE_INVALID for a `transactionalId` where `caps.transactions` is false */
  producer(options?: ProducerOptions): Promise<LogProducer>
  consumer(options: ConsumerOptions): Promise<LogConsumer>
  admin(): Promise<LogAdmin>
  /**
   * Reads a topic up to a fixed end: for what must be known before work starts. It has no group and leaves nothing behind.
   * `onBatch` is called for one batch at a time, in order per partition, with at least one record; an error of it ends the reading.
   * @returns per partition, where a next reading goes on
   * @throws SIDESTREAM_TOPIC_UNKNOWN; SIDESTREAM_STATE_GAP when `from` is past the log's end (records that were read are gone)
   */
  read(topic: string, onBatch: (batch: LogBatch) => void | Promise<void>, options?: ReadOptions): Promise<bigint[]>
  close(): Promise<void>
}
