/**
 * A consumer of Kafka: keeps one member of the group alive for as long as waiting can help.
 * Invariants: a crash is mended with a new member after a pause; a fatal error ends all lanes, moves nothing and is told once; a
 * planned change of the topics lets handlers end and commits before it.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { stickyAssigner } from './kafka-assigner.ts'
import { kafkaError } from './kafka-errors.ts'
import { KafkaLanes } from './kafka-lanes.ts'
import { KafkaMember } from './kafka-member.ts'
import type { KafkaNames } from './kafka-names.ts'
import type { KafkaPlaces } from './kafka-places.ts'
import { KafkaTopics } from './kafka-topics.ts'
import { placeName } from './kafka-view.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { ConsumerOptions, LogConsumer, LogHandlers } from './log.ts'
import { handle, pause } from './waiting.ts'

export interface KafkaConsumerOptions extends ConsumerOptions {
  readonly settings: KafkaSettings
  readonly names: KafkaNames
  readonly view: KafkaView
  readonly places: KafkaPlaces
  readonly onEnd: () => void
}

/** How long handlers may take to end before a planned change of the topics. */
const changeDrainMs = 10_000
const commitIntervalMs = 1000
const backoffMs = 100
const backoffLimitMs = 5000
/** A member that lived so long has been well: the next crash is waited for shortly again. */
const healthyMs = 30_000
/** Without a fetch for so long the consumer makes no progress. */
const silenceMs = 5000
const defaultLaneBytes = 8_388_608

export class KafkaConsumer implements LogConsumer {
  readonly #options: KafkaConsumerOptions
  readonly #group: string
  readonly #topics: KafkaTopics
  readonly #stopping = new AbortController()
  /** Settles when the lanes of the first assignment have started. */
  readonly #ready = handle()
  #isReady = false
  #handlers: LogHandlers | undefined
  #lanes: KafkaLanes | undefined
  #member: KafkaMember | undefined
  #stopped: Promise<void> | undefined
  #lastProgressTs: number

  constructor(options: KafkaConsumerOptions) {
    this.#options = options
    this.#group = options.names.group(options.group)
    this.#topics = new KafkaTopics(options.topics, options)
    this.#lastProgressTs = options.settings.clock()
  }

  /**
   * Waits for brokers that are away.
   * @throws SIDESTREAM_TOPIC_UNKNOWN for a topic named in full that does not exist; SIDESTREAM_STATE_GAP when `onAssigned`
   * answers a position past the log's end; SIDESTREAM_LOG_ACCESS_DENIED; whatever else `onAssigned` throws
   */
  async run(handlers: LogHandlers): Promise<void> {
    if (this.#handlers !== undefined || this.#stopped !== undefined)
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'a consumer runs once: make a new one')
    this.#handlers = handlers
    const { settings, view, places, start, batchRecords = 2000, laneBytes = defaultLaneBytes, commits = 'consumer' } = this.#options
    this.#lanes = new KafkaLanes({
      settings,
      view,
      places,
      group: this.#group,
      start,
      limits: { records: batchRecords, bytes: laneBytes },
      commits,
      handlers,
      nameOf: (topic) => this.#topics.nameOf(topic),
      member: () => this.#member,
      onFailure: (error) => this.#fail(error),
    })
    try {
      await this.#topics.resolve()
      void this.#supervise()
      void this.#every(commitIntervalMs, () => this.#lanes!.commitPositions())
      void this.#every(settings.metadataMaxAgeMs, () => this.#lookForTopics())
      void this.#every(silenceMs / 2, () => this.#lookWhenSilent())
      await this.#ready.promise
      this.#isReady = true
    } catch (error) {
      this.#stopped ??= this.#end(0)
      await this.#stopped
      throw error
    }
  }

  async lag(): Promise<Map<string, bigint>> {
    const lanes = this.#lanes?.all ?? []
    const places = lanes.map(({ physicalTopic, partition }) => ({ topic: physicalTopic, partition }))
    const ends = await this.#options.view.offsets(places, 'stable')
    return new Map(
      lanes.map(({ topic, partition, position }, i) => {
        const behind = ends.get(placeName(places[i]!))! - position
        return [`${topic}/${partition}`, behind > 0n ? behind : 0n]
      }),
    )
  }

  /** The oldest of its lanes': one stuck lane stands out. A lane with nothing to do is at now, while fetches come back. */
  lastProgress(): number {
    const { clock, fetchWaitMs } = this.#options.settings
    const fetchedTs = this.#member?.fetchedTs
    if (fetchedTs === undefined || this.#stopping.signal.aborted) return this.#lastProgressTs
    const now = clock()
    let oldest = now - fetchedTs < silenceMs + fetchWaitMs ? now : fetchedTs
    for (const lane of this.#lanes!.all) if (!lane.isIdle) oldest = Math.min(oldest, lane.progressTs)
    this.#lastProgressTs = oldest
    return oldest
  }

  stop({ drainMs }: { drainMs: number }): Promise<void> {
    this.#stopped ??= this.#end(drainMs)
    return this.#stopped
  }

  /** Keeps a member alive until the consumer ends. */
  async #supervise(): Promise<void> {
    const { settings } = this.#options
    const { signal } = this.#stopping
    for (let pauseMs = backoffMs; !signal.aborted;) {
      const bornTs = Date.now()
      const error = await this.#live()
      if (signal.aborted) return
      this.#lanes!.endAll('the member of the group has ended').catch((reason: unknown) => this.#fail(reason as Error))
      if (error !== undefined) {
        const told = await this.#explain(error)
        if (told.class !== 'retryable') return this.#fail(told)
        if (Date.now() - bornTs > healthyMs) pauseMs = backoffMs
        settings.logger.warn({ code: told.code, error: told.message, group: this.#group, pauseMs }, 'a Kafka consumer is started anew')
        await settings.wait(pauseMs, signal)
        pauseMs = Math.min(pauseMs * 2, backoffLimitMs)
      }
      if (!signal.aborted) await this.#topics.resolve().catch((reason: unknown) => this.#weigh(reason))
    }
  }

  /** One member, from its start to its end. @returns why it ended; undefined when it was told to */
  async #live(): Promise<unknown> {
    const { settings, view, laneBytes = defaultLaneBytes } = this.#options
    if (this.#topics.physical.length === 0) {
      this.#ready.resolve()
      return void (await pause(settings.metadataMaxAgeMs, this.#stopping.signal))
    }
    const lanes = this.#lanes!
    const member = new KafkaMember({
      settings,
      group: this.#group,
      topics: this.#topics.physical,
      fetchBytes: Math.min(1_048_576, Math.max(65_536, Math.floor(laneBytes / 2))),
      assigner: stickyAssigner(
        () => lanes.owned,
        (topics) => view.partitionCounts(topics),
      ),
      events: {
        joined: (from, places) => {
          if (from !== this.#member || this.#stopping.signal.aborted) return
          void lanes.assign(places).then((all) => all && this.#ready.resolve())
        },
        rebalancing: () => void lanes.commitPositions(),
        fetched: (batch) => lanes.push(batch),
        passed: (place, next, end) => lanes.pass(place, next, end),
      },
    })
    this.#member = member
    try {
      await member.start()
      return await member.ended
    } catch (error) {
      return error
    } finally {
      this.lastProgress()
      await member.stop()
    }
  }

  /** An error of a member as ours; a topic that is gone, or a group that may not be used, explains many of them. */
  async #explain(error: unknown): Promise<SidestreamError> {
    const told = kafkaError(error, `group ${this.#group} cannot read ${this.#topics.physical.join(', ')}`)
    if (told.class !== 'retryable') return told
    try {
      await this.#topics.check()
      await this.#options.view.committed(this.#group, [{ topic: this.#topics.physical[0]!, partition: 0 }])
      return told
    } catch (reason) {
      const why = kafkaError(reason, told.message)
      return why.class === 'retryable' ? told : why
    }
  }

  /** Ends the member when there are other topics than it reads; the supervisor makes one that reads them. */
  async #lookForTopics(): Promise<void> {
    try {
      if (!(await this.#topics.haveChanged()) || this.#stopping.signal.aborted) return
      await this.#lanes!.drain(changeDrainMs)
      await this.#member?.stop()
    } catch (error) {
      this.#weigh(error)
    }
  }

  /** A topic that is gone is soon known by this; kafkajs takes it for a slow broker and tries for long. */
  async #lookWhenSilent(): Promise<void> {
    const fetchedTs = this.#member?.fetchedTs
    if (fetchedTs === undefined || this.#options.settings.clock() - fetchedTs < silenceMs) return
    try {
      await this.#topics.check()
    } catch (error) {
      const told = kafkaError(error, `group ${this.#group} cannot look up its topics`)
      if (told.class !== 'retryable') this.#fail(told) // else the brokers are away, which the member tells
    }
  }

  /** A failed look at the topics: waited out, or the end. */
  #weigh(error: unknown): void {
    const told = kafkaError(error, `group ${this.#group} cannot look up its topics`)
    if (told.class !== 'retryable') this.#fail(told)
    else this.#options.settings.logger.warn({ error: told.message }, 'topics were not looked up')
  }

  /** Calls `work` every so often until the consumer ends. */
  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await pause(ms, signal)
      if (!signal.aborted) await work()
    }
  }

  #fail(error: Error): void {
    if (this.#stopping.signal.aborted) return
    this.lastProgress()
    this.#stopping.abort()
    const revoked = this.#lanes!.endAll(error).catch(() => {}) // `error` came first and is the one to tell
    this.#stopped ??= (async () => {
      await revoked
      await this.#member?.stop()
      this.#options.onEnd()
    })()
    if (!this.#isReady) this.#ready.reject(error)
    else void this.#stopped.then(() => this.#handlers!.onFatal(error))
  }

  async #end(drainMs: number): Promise<void> {
    if (this.#stopping.signal.aborted) return
    this.lastProgress()
    this.#stopping.abort()
    try {
      await this.#lanes?.drain(drainMs)
    } finally {
      const revoked = this.#lanes?.endAll(new SidestreamError('SIDESTREAM_CLOSED', 'the consumer was stopped')) ?? Promise.resolve()
      await revoked.finally(async () => {
        await this.#member?.stop()
        this.#options.onEnd()
        this.#ready.resolve()
      })
    }
  }
}
