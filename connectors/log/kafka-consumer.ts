/**
 * A consumer of Kafka: keeps one member of the group alive, and gives every assigned partition a lane.
 * Invariants: a join begins new epochs and ends all lanes before it; a lane of a partition starts after the handler of the lane
 * before it has ended, also that of another consumer in this process; only a lane of the newest join commits. A crash is mended
 * with a new member while waiting can help; a fatal error is told once and moves nothing.
 */
import type { Batch } from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import { isRetryable } from './embedded-lane.ts'
import { isNotMember, kafkaError } from './kafka-errors.ts'
import { KafkaLane } from './kafka-lane.ts'
import { KafkaMember } from './kafka-member.ts'
import type { KafkaNames } from './kafka-names.ts'
import { aheadOfLog, lookUpStart, startPoint } from './kafka-start.ts'
import type { StartFacts } from './kafka-start.ts'
import { KafkaTopics } from './kafka-topics.ts'
import { placeName } from './kafka-view.ts'
import type { KafkaView, TopicPartitionName } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { ConsumerOptions, LogConsumer, LogHandlers } from './log.ts'
import { handle, pause, withTimeout } from './waiting.ts'

/** What consumers of one driver have in common. */
export interface SharedGroups {
  /** Grows with every assignment. */
  epoch: number
  /** Handlers that still run, per group and place: the next lane waits for them. */
  readonly busy: Map<string, Promise<void>>
}

export interface KafkaConsumerOptions extends ConsumerOptions {
  readonly settings: KafkaSettings
  readonly names: KafkaNames
  readonly view: KafkaView
  readonly shared: SharedGroups
  readonly onEnd: () => void
}

/** How long handlers are waited for after their signal was aborted. */
const abortGraceMs = 1000
/** How long lanes may take to end before a planned change of the topics. */
const changeDrainMs = 10_000
const commitIntervalMs = 1000
const commitTries = 5
const backoffMs = 100
const backoffLimitMs = 5000
/** A member that lived so long has been well: the next crash is waited for shortly again. */
const healthyMs = 30_000
/** Without a fetch for so long the consumer makes no progress. */
const silenceMs = 5000

export class KafkaConsumer implements LogConsumer {
  readonly #options: KafkaConsumerOptions
  readonly #group: string
  readonly #topics: KafkaTopics
  readonly #stopping = new AbortController()
  #lanes = new Map<string, KafkaLane>()
  #handlers: LogHandlers | undefined
  #member: KafkaMember | undefined
  #committing: Promise<void> | undefined
  #stopped: Promise<void> | undefined
  #lastProgressTs: number
  /** Settles when the lanes of the first join have started. */
  readonly #ready = handle()
  #isReady = false

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
    try {
      await this.#topics.resolve()
      void this.#supervise()
      void this.#every(commitIntervalMs, () => this.#commitPositions())
      void this.#every(this.#options.settings.metadataMaxAgeMs, () => this.#lookForTopics())
      await this.#ready.promise
      this.#isReady = true
    } catch (error) {
      this.#stopped ??= this.#end(0)
      await this.#stopped
      throw error
    }
  }

  async lag(): Promise<Map<string, bigint>> {
    const lanes = [...this.#lanes.values()]
    const places = lanes.map(placeOf)
    const ends = await this.#options.view.offsets(places, 'stable')
    return new Map(
      lanes.map((lane, i) => {
        const behind = ends.get(placeName(places[i]!))! - lane.position
        return [`${lane.topic}/${lane.partition}`, behind > 0n ? behind : 0n]
      }),
    )
  }

  /** The oldest of its lanes': one stuck lane stands out. A lane with nothing to do is at now, while fetches come back. */
  lastProgress(): number {
    const { clock } = this.#options.settings
    const fetchedTs = this.#member?.fetchedTs
    if (fetchedTs === undefined || this.#stopping.signal.aborted) return this.#lastProgressTs
    const now = clock()
    const idleTs = now - fetchedTs < silenceMs + this.#options.settings.fetchWaitMs ? now : fetchedTs
    let oldest = idleTs
    for (const lane of this.#lanes.values()) if (!lane.isIdle) oldest = Math.min(oldest, lane.progressTs)
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
      this.#giveUpLanes('the group assigns anew')
      if (error !== undefined) {
        const told = await this.#explain(error)
        if (told.class !== 'retryable') return void this.#fail(told)
        if (Date.now() - bornTs > healthyMs) pauseMs = backoffMs
        settings.logger.warn({ code: told.code, error: told.message, group: this.#group, pauseMs }, 'a Kafka consumer is started anew')
        await settings.wait(pauseMs, signal)
        pauseMs = Math.min(pauseMs * 2, backoffLimitMs)
      }
      if (signal.aborted) return
      await this.#topics.resolve().catch((reason: unknown) => {
        const told = kafkaError(reason, `group ${this.#group} cannot look up its topics`)
        if (told.class !== 'retryable') this.#fail(told)
      })
    }
  }

  /** One member, from its start to its end. @returns why it ended; undefined when it was told to */
  async #live(): Promise<unknown> {
    const { settings, laneBytes = 8_388_608 } = this.#options
    if (this.#topics.physical.length === 0) {
      this.#ready.resolve()
      return void (await pause(settings.metadataMaxAgeMs, this.#stopping.signal))
    }
    const member = new KafkaMember({
      settings,
      group: this.#group,
      topics: this.#topics.physical,
      fetchBytes: Math.min(1_048_576, Math.max(65_536, Math.floor(laneBytes / 2))),
      events: {
        joined: (from, places) => this.#joined(from, places),
        rebalancing: () => void this.#commitPositions(),
        fetched: (batch) => this.#fetched(batch),
        passed: (place, next, end) => this.#lanes.get(placeName(place))?.pass(next, end),
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

  /** An error of a member as ours; a topic that is gone explains many of them. */
  async #explain(error: unknown): Promise<SidestreamError> {
    const told = kafkaError(error, `group ${this.#group} cannot read ${this.#topics.physical.join(', ')}`)
    if (told.class !== 'retryable') return told
    try {
      await this.#topics.check()
      return told
    } catch (reason) {
      const why = kafkaError(reason, told.message)
      return why.class === 'retryable' ? told : why
    }
  }

  #joined(member: KafkaMember, places: readonly TopicPartitionName[]): void {
    if (member !== this.#member || this.#stopping.signal.aborted) return
    this.#giveUpLanes('the group assigned its partitions anew')
    const lanes = places.map((place) => this.#makeLane(place))
    this.#lanes = new Map(lanes.map((lane) => [placeName(placeOf(lane)), lane]))
    void this.#startLanes(lanes)
  }

  #makeLane({ topic, partition }: TopicPartitionName): KafkaLane {
    const { settings, batchRecords = 2000, laneBytes = 8_388_608 } = this.#options
    const mine = (lane: KafkaLane): boolean => this.#lanes.get(placeName(placeOf(lane))) === lane && !this.#stopping.signal.aborted
    return new KafkaLane({
      settings,
      name: this.#topics.nameOf(topic),
      topic,
      partition,
      epoch: ++this.#options.shared.epoch,
      limits: { records: batchRecords, bytes: laneBytes },
      commit: (lane, next) => this.#commit(lane, next),
      onFlow: (lane, flow) => void (mine(lane) && this.#member?.[flow](placeOf(lane))),
      onSeek: (lane, offset) => void (mine(lane) && this.#member?.seek(placeOf(lane), offset)),
      onStray: (lane, expected) => void this.#realign(lane, expected),
      onFailure: (error) => this.#fail(error),
    })
  }

  async #startLanes(lanes: readonly KafkaLane[]): Promise<void> {
    let facts: Promise<StartFacts> | undefined
    const starting = lanes.map(async (lane) => {
      try {
        await this.#options.shared.busy.get(this.#busyName(lane))
        if (lane.signal.aborted) return
        facts ??= this.#patiently(lane, () => lookUpStart(this.#options.view, this.#group, lanes.map(placeOf)))
        const [known, answer] = await Promise.all([facts, this.#patiently(lane, async () => this.#handlers!.onAssigned?.(lane))])
        if (lane.signal.aborted) return
        const { position, gap } = await this.#patiently(lane, () =>
          startPoint(this.#options.view, placeOf(lane), { facts: known, answer, rule: this.#options.start }),
        )
        if (!lane.signal.aborted && !this.#stopping.signal.aborted) lane.start(position, this.#handlers!, gap)
      } catch (error) {
        if (!lane.signal.aborted) this.#fail(error as Error)
      }
    })
    await Promise.all(starting)
    if (!lanes.some(({ signal }) => signal.aborted)) this.#ready.resolve()
  }

  /** Tries again what waiting can mend, until the lane is given up. */
  async #patiently<T>(lane: KafkaLane, work: () => Promise<T>): Promise<T> {
    for (let pauseMs = backoffMs; ; pauseMs = Math.min(pauseMs * 2, backoffLimitMs)) {
      try {
        return await work()
      } catch (error) {
        if (lane.signal.aborted || !isRetryable(error)) throw error
        await this.#options.settings.wait(pauseMs, lane.signal)
      }
    }
  }

  #fetched(batch: Batch): boolean {
    return this.#lanes.get(placeName(batch))?.push(batch) ?? false
  }

  /** kafkajs went on elsewhere than where the lane stands: the log has lost its oldest records, or its newest. */
  async #realign(lane: KafkaLane, expected: bigint): Promise<void> {
    try {
      const place = placeOf(lane)
      const name = placeName(place)
      const { start, end } = await this.#patiently(lane, () => lookUpStart(this.#options.view, this.#group, [place]))
      if (lane.signal.aborted) return
      if (expected > end.get(name)!) this.#fail(aheadOfLog(place, expected, end.get(name)!))
      else if (expected < start.get(name)!) lane.skip(expected, start.get(name)!)
      else lane.refetch()
    } catch (error) {
      if (!lane.signal.aborted) this.#fail(error as Error)
    }
  }

  async #commit(lane: KafkaLane, next: bigint): Promise<'ok' | 'lost'> {
    const place = placeOf(lane)
    for (let tries = 1; ; tries++) {
      const member = this.#member
      if (this.#lanes.get(placeName(place)) !== lane || lane.signal.aborted || member === undefined) return 'lost'
      try {
        return (await member.commit([{ ...place, next }])) ? 'ok' : 'lost'
      } catch (error) {
        if (isNotMember(error)) return 'lost'
        const told = kafkaError(error, `cannot commit ${placeName(place)}`)
        if (told.class !== 'retryable' || tries === commitTries) throw told
        await this.#options.settings.wait(backoffMs * tries, lane.signal)
      }
    }
  }

  /** Stores what handled batches have reached, of all lanes at once. A hint: a failure is left for the next time. */
  #commitPositions(): Promise<void> {
    this.#committing ??= (async () => {
      const moved = [...this.#lanes.values()].flatMap((lane) => {
        const next = lane.uncommitted
        return next === undefined ? [] : [{ lane, next }]
      })
      try {
        const positions = moved.map(({ lane, next }) => ({ ...placeOf(lane), next }))
        if (moved.length > 0 && (await this.#member?.commit(positions)) === true) for (const { lane, next } of moved) lane.stored(next)
      } catch (error) {
        this.#options.settings.logger.debug({ group: this.#group, error: (error as Error).message }, 'positions were not committed')
      } finally {
        this.#committing = undefined
      }
    })()
    return this.#committing
  }

  /** Ends the member when there are other topics than it reads; the supervisor makes one that reads them. */
  async #lookForTopics(): Promise<void> {
    try {
      if (!(await this.#topics.haveChanged())) return
      await this.#drain(changeDrainMs)
      await this.#member?.stop()
    } catch (error) {
      const told = kafkaError(error, `group ${this.#group} cannot look up its topics`)
      if (told.class === 'retryable') this.#options.settings.logger.warn({ error: told.message }, 'topics were not looked up')
      else this.#fail(told)
    }
  }

  /** Calls `work` every so often until the consumer ends. */
  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await pause(ms, this.#stopping.signal)
      if (!this.#stopping.signal.aborted) await work()
    }
  }

  #fail(error: Error): void {
    if (this.#stopping.signal.aborted) return
    this.lastProgress()
    this.#stopping.abort()
    const lanes = [...this.#lanes.values()]
    this.#giveUpLanes(error)
    this.#stopped ??= (async () => {
      await this.#revoked(lanes).catch(() => {}) // `error` came first and is the one to tell
      await this.#member?.stop()
      this.#options.onEnd()
    })()
    if (!this.#isReady) this.#ready.reject(error)
    else void this.#stopped.then(() => this.#handlers!.onFatal(error))
  }

  async #end(drainMs: number): Promise<void> {
    if (this.#stopping.signal.aborted) return
    this.lastProgress()
    const lanes = [...this.#lanes.values()]
    this.#stopping.abort()
    try {
      await this.#drain(drainMs)
    } finally {
      this.#giveUpLanes(new SidestreamError('SIDESTREAM_CLOSED', 'the consumer was stopped'))
      await this.#revoked(lanes).finally(async () => {
        await this.#member?.stop()
        this.#options.onEnd()
        this.#ready.resolve()
      })
    }
  }

  /** Lets handlers end, takes no further batch, and stores what they reached. */
  async #drain(ms: number): Promise<void> {
    const lanes = [...this.#lanes.values()]
    for (const lane of lanes) this.#member?.pause(placeOf(lane))
    await withTimeout(Promise.all(lanes.map((lane) => lane.drain())), ms)
    await this.#committing
    await this.#commitPositions()
  }

  /** Aborts all lanes; a partition whose handler still runs stays busy for the next lane. */
  #giveUpLanes(reason: string | Error): void {
    const lanes = [...this.#lanes.values()]
    this.#lanes.clear()
    for (const lane of lanes) {
      const name = this.#busyName(lane)
      const ended = lane.drain().then(() => {
        if (this.#options.shared.busy.get(name) === ended) this.#options.shared.busy.delete(name)
      })
      this.#options.shared.busy.set(name, ended)
      lane.abort(typeof reason === 'string' ? new SidestreamError('SIDESTREAM_EPOCH_FENCED', reason) : reason)
    }
    if (!this.#stopping.signal.aborted) this.#revoked(lanes).catch((error: unknown) => this.#fail(error as Error))
  }

  async #revoked(lanes: readonly KafkaLane[]): Promise<void> {
    await withTimeout(Promise.all(lanes.map((lane) => lane.drain())), abortGraceMs)
    await Promise.all(lanes.map((lane) => this.#handlers?.onRevoked?.(lane)))
  }

  #busyName(lane: KafkaLane): string {
    return `${this.#group}\n${placeName(placeOf(lane))}`
  }
}

function placeOf({ physicalTopic, partition }: KafkaLane): TopicPartitionName {
  return { topic: physicalTopic, partition }
}
