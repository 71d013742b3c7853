/**
 * The lanes of one consumer: made at a join, started where they are to begin, ended in order, committed together.
 * Invariants: a join ends all lanes before it; only a lane of the newest join commits; an error of a lane that was given up is
 * nobody's.
 */
import type { Batch } from 'kafkajs'
import { isRetryable, SidestreamError } from '../../schemas/index.ts'
import { isNotMember, kafkaError } from './kafka-errors.ts'
import { KafkaLane } from './kafka-lane.ts'
import type { KafkaMember } from './kafka-member.ts'
import type { Holding, KafkaPlaces } from './kafka-places.ts'
import { aheadOfLog, lookUpStart, startPoint } from './kafka-start.ts'
import type { StartFacts } from './kafka-start.ts'
import { placeName } from './kafka-view.ts'
import type { KafkaView, TopicPartitionName } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { ConsumerOptions, LogHandlers } from './log.ts'
import { withTimeout } from './waiting.ts'

export interface KafkaLanesOptions {
  readonly settings: KafkaSettings
  readonly view: KafkaView
  readonly places: KafkaPlaces
  /** As the brokers call it. */
  readonly group: string
  readonly start: ConsumerOptions['start']
  readonly limits: { readonly records: number; readonly bytes: number }
  readonly commits: Required<ConsumerOptions>['commits']
  readonly handlers: LogHandlers
  readonly nameOf: (physicalTopic: string) => string
  readonly member: () => KafkaMember | undefined
  readonly onFailure: (error: Error) => void
}

/** How long handlers are waited for after their signal was aborted. */
const abortGraceMs = 1000
const commitTries = 5
const backoffMs = 100
const backoffLimitMs = 5000

interface Ending {
  /** `onRevoked` was told. */
  readonly told: Promise<void>
  /** The handler has ended as well. Never rejects. */
  readonly ended: Promise<unknown>
}

export class KafkaLanes {
  readonly #options: KafkaLanesOptions
  readonly #lanes = new Map<string, KafkaLane>()
  readonly #holdings = new Map<KafkaLane, Holding>()
  readonly #endings = new WeakMap<KafkaLane, Ending>()
  readonly #asked = new WeakSet<KafkaLane>()
  /** How far each place was handled by lanes that have ended. */
  readonly #reached = new Map<string, bigint>()
  /** Places of the last join; the next one may leave them here. */
  #owned: readonly TopicPartitionName[] = []
  #committing: Promise<void> | undefined
  #draining = false

  constructor(options: KafkaLanesOptions) {
    this.#options = options
  }

  get all(): KafkaLane[] {
    return [...this.#lanes.values()]
  }

  get owned(): readonly TopicPartitionName[] {
    return this.#owned
  }

  /** Begins a new assignment. @returns true when all its lanes have started, false when another came before */
  async assign(places: readonly TopicPartitionName[]): Promise<boolean> {
    void this.endAll('the group assigned its partitions anew').catch(this.#options.onFailure)
    this.#owned = places
    this.#draining = false
    const lanes = places.map((place) => this.#make(place))
    for (const lane of lanes) this.#lanes.set(placeName(placeOf(lane)), lane)
    let facts: Promise<StartFacts> | undefined
    const lookUp = (lane: KafkaLane): Promise<StartFacts> =>
      (facts ??= this.#patiently(lane, () => lookUpStart(this.#options.view, this.#options.group, places)))
    await Promise.all(lanes.map((lane) => this.#start(lane, lookUp)))
    return !lanes.some(({ signal }) => signal.aborted)
  }

  /** @returns true when the records were taken */
  push(batch: Batch): boolean {
    return this.#lanes.get(placeName(batch))?.push(batch) ?? false
  }

  pass(place: TopicPartitionName, next: bigint, end: bigint): void {
    this.#lanes.get(placeName(place))?.pass(next, end)
  }

  /** Lets handlers end, takes no further batch, and stores what they reached. */
  async drain(ms: number): Promise<void> {
    this.#draining = true
    const lanes = this.all
    for (const lane of lanes) this.#options.member()?.pause(placeOf(lane))
    await withTimeout(Promise.all(lanes.map((lane) => lane.drain())), ms)
    await this.#committing
    await this.commitPositions()
  }

  /** Aborts all lanes. Resolves when `onRevoked` was told of each. @throws what `onRevoked` throws */
  async endAll(reason: string | Error): Promise<void> {
    const error = typeof reason === 'string' ? new SidestreamError('SIDESTREAM_EPOCH_FENCED', reason) : reason
    const endings = this.all.map((lane) => this.#end(lane, error).told)
    await Promise.all(endings)
  }

  /** Stores what handled batches have reached, of all lanes at once. A hint: a failure is left for the next time. */
  async commitPositions(): Promise<void> {
    if (this.#options.commits === 'handler') return
    this.#committing ??= (async () => {
      const moved = this.all.flatMap((lane) => {
        const next = lane.uncommitted
        return next === undefined ? [] : [{ lane, next }]
      })
      try {
        const positions = moved.map(({ lane, next }) => ({ ...placeOf(lane), next }))
        if (moved.length > 0 && (await this.#options.member()?.commit(positions)) === true)
          for (const { lane, next } of moved) lane.stored(next)
      } catch (error) {
        const fields = { group: this.#options.group, error: (error as Error).message }
        this.#options.settings.logger.debug(fields, 'positions were not committed')
      } finally {
        this.#committing = undefined
      }
    })()
    return this.#committing
  }

  #make({ topic, partition }: TopicPartitionName): KafkaLane {
    const { settings, group, commits, limits, member, nameOf, places, onFailure } = this.#options
    const mine = (lane: KafkaLane): KafkaMember | undefined =>
      this.#lanes.get(placeName(placeOf(lane))) === lane && !this.#draining ? member() : undefined
    const lane = new KafkaLane({
      settings,
      name: nameOf(topic),
      topic,
      partition,
      epoch: places.nextEpoch(),
      group,
      commits,
      limits,
      commit: (asking, next) => this.#commit(asking, next),
      onFlow: (asking, flow) => mine(asking)?.[flow](placeOf(asking)),
      onSeek: (asking, offset) => mine(asking)?.seek(placeOf(asking), offset),
      onStray: (asking, expected) => void this.#realign(asking, expected),
      onFailure,
    })
    const end = (): Promise<unknown> =>
      this.#end(lane, new SidestreamError('SIDESTREAM_EPOCH_FENCED', 'another member of the group has the partition')).ended
    this.#holdings.set(lane, { epoch: lane.epoch, end })
    return lane
  }

  async #start(lane: KafkaLane, lookUp: (lane: KafkaLane) => Promise<StartFacts>): Promise<void> {
    const { view, places, handlers, start: rule, onFailure } = this.#options
    try {
      const isOurs = await places.take(this.#placeOf(lane), this.#holdings.get(lane)!)
      if (!isOurs) this.#end(lane, new SidestreamError('SIDESTREAM_EPOCH_FENCED', 'another member of the group has the partition'))
      if (lane.signal.aborted) return places.release(this.#placeOf(lane), this.#holdings.get(lane)!)
      this.#asked.add(lane)
      const [facts, answer] = await Promise.all([lookUp(lane), this.#patiently(lane, async () => handlers.onAssigned?.(lane))])
      if (lane.signal.aborted) return
      await this.#refuseShorter(lane, facts)
      const { logger } = this.#options.settings
      const { position, gap } = await this.#patiently(lane, () => startPoint(view, placeOf(lane), { facts, answer, rule, logger }))
      if (!lane.signal.aborted && !this.#draining) lane.start(position, handlers, gap)
    } catch (error) {
      if (!lane.signal.aborted) onFailure(error as Error)
    }
  }

  /** A log that ends before what was handled here is another one, or has lost its end. */
  async #refuseShorter(lane: KafkaLane, facts: StartFacts): Promise<void> {
    const place = placeOf(lane)
    const name = placeName(place)
    const reached = this.#reached.get(name)
    if (reached === undefined || reached <= facts.end.get(name)!) return
    const end = await this.#patiently(lane, () => this.#options.view.offsets([place], 'latest'))
    if (reached > end.get(name)!) throw aheadOfLog(place, reached, end.get(name)!)
  }

  #end(lane: KafkaLane, reason: Error): Ending {
    const known = this.#endings.get(lane)
    if (known !== undefined) return known
    const place = placeName(placeOf(lane))
    if (this.#lanes.get(place) === lane) this.#lanes.delete(place)
    if (lane.handled > (this.#reached.get(place) ?? 0n)) this.#reached.set(place, lane.handled)
    const handled = lane.drain()
    lane.abort(reason)
    const told = (async () => {
      if (!this.#asked.has(lane)) return
      await withTimeout(handled, abortGraceMs)
      await this.#options.handlers.onRevoked?.(lane)
    })()
    const ended = Promise.allSettled([told, handled]).then(() => {
      this.#options.places.release(this.#placeOf(lane), this.#holdings.get(lane)!)
      this.#holdings.delete(lane)
    })
    const ending = { told, ended }
    this.#endings.set(lane, ending)
    return ending
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

  /** kafkajs went on elsewhere than where the lane stands: the log has lost its oldest records, or its newest. */
  async #realign(lane: KafkaLane, expected: bigint): Promise<void> {
    try {
      const place = placeOf(lane)
      const name = placeName(place)
      const { start, end } = await this.#patiently(lane, () => lookUpStart(this.#options.view, this.#options.group, [place]))
      if (lane.signal.aborted) return
      if (expected > end.get(name)!) throw aheadOfLog(place, expected, end.get(name)!)
      if (expected < start.get(name)!) lane.skip({ expected, first: start.get(name)!, end: end.get(name)! })
      else lane.refetch()
    } catch (error) {
      if (!lane.signal.aborted) this.#options.onFailure(error as Error)
    }
  }

  async #commit(lane: KafkaLane, next: bigint): Promise<'ok' | 'lost'> {
    const place = placeOf(lane)
    for (let tries = 1; ; tries++) {
      const member = this.#options.member()
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

  /** Within the process: partitions of one topic are held by groups apart. */
  #placeOf(lane: KafkaLane): string {
    return `${this.#options.group}\n${placeName(placeOf(lane))}`
  }
}

function placeOf({ physicalTopic, partition }: KafkaLane): TopicPartitionName {
  return { topic: physicalTopic, partition }
}
