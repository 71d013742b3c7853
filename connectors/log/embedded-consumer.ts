/**
 * A consumer of the embedded log: finds its partitions, gives each a lane, and ends them in order.
 * Invariant: a lane of a partition starts after the handler of the lane before it has ended, and only the lane with the
 * group's newest epoch for the partition may commit. A fatal error stops all lanes, moves no position and is told once.
 */
import { SidestreamError } from '../../schemas/index.ts'
import type { LogCore } from './embedded.ts'
import { EmbeddedLane, isRetryable } from './embedded-lane.ts'
import type { ConsumerOptions, LogConsumer, LogHandlers } from './log.ts'
import type { Partition, Topic } from './partition.ts'

/** What a group keeps in the process. */
export interface Group {
  /** Grows with every assignment. */
  epoch: number
  member: EmbeddedConsumer | undefined
  /** Handlers that still run, per `topic/partition`: the next lane waits for them. */
  readonly busy: Map<string, Promise<void>>
}

/** How long `stop` waits for handlers after their signal was aborted. */
const abortGraceMs = 1000

export class EmbeddedConsumer implements LogConsumer {
  readonly #core: LogCore
  readonly #options: ConsumerOptions
  readonly #group: Group
  readonly #onEnd: () => void
  readonly #lanes = new Map<string, EmbeddedLane>()
  #handlers: LogHandlers | undefined
  #unwatch: (() => void) | undefined
  #assigning: Promise<void> = Promise.resolve()
  #stopping = new AbortController()
  #stopped: Promise<void> | undefined
  #lastProgressTs: number

  constructor(core: LogCore, options: ConsumerOptions, onEnd: () => void) {
    this.#core = core
    this.#options = options
    this.#onEnd = onEnd
    this.#group = core.group(options.group)
    this.#lastProgressTs = core.options.clock()
  }

  /**
   * @throws SIDESTREAM_TOPIC_UNKNOWN for a topic named in full that does not exist; SIDESTREAM_STATE_GAP when `onAssigned`
   * answers a position past the log's end (records that the sink has seen are gone); whatever else `onAssigned` throws
   */
  async run(handlers: LogHandlers): Promise<void> {
    const { group, topics } = this.#options
    if (this.#handlers !== undefined || this.#stopped !== undefined) throw usage('a consumer runs once: make a new one')
    if (this.#group.member !== undefined) throw usage(`group ${group} already has a consumer in this process: stop it first`)
    for (const topic of topics) if (typeof topic === 'string') this.#core.topic(topic)
    this.#handlers = handlers
    this.#group.member = this
    this.#unwatch = this.#core.watchTopics({
      created: (topic) => {
        if (this.#matches(topic.name)) this.#assignLater(topic)
      },
      deleted: (name) => this.#topicDeleted(name),
    })
    try {
      const wanted = [...this.#core.storage.topics.values()].filter(({ name }) => this.#matches(name))
      await Promise.all(wanted.map((topic) => this.#assign(topic)))
    } catch (error) {
      await this.#end(0)
      throw error
    }
  }

  async lag(): Promise<Map<string, bigint>> {
    return new Map([...this.#lanes].map(([name, lane]) => [name, BigInt(lane.lag)]))
  }

  /** The oldest of its lanes': one stuck lane stands out. A lane with nothing to do, or paused, is at now. */
  lastProgress(): number {
    if (this.#lanes.size > 0) this.#lastProgressTs = Math.min(...[...this.#lanes.values()].map((lane) => lane.progressTs))
    return this.#lastProgressTs
  }

  stop({ drainMs }: { drainMs: number }): Promise<void> {
    this.#stopped ??= this.#end(drainMs)
    return this.#stopped
  }

  #matches(name: string): boolean {
    return this.#options.topics.some((topic) => (typeof topic === 'string' ? topic === name : name.search(topic) >= 0))
  }

  #assignLater(topic: Topic): void {
    const work = this.#assigning.then(() => this.#assign(topic))
    this.#assigning = work.catch((error: unknown) => this.#fail(error as Error))
  }

  async #assign(topic: Topic): Promise<void> {
    await Promise.all(topic.partitions.map((partition) => this.#assignPartition(partition)))
  }

  async #assignPartition(partition: Partition): Promise<void> {
    const { core, signal } = { core: this.#core, signal: this.#stopping.signal }
    const name = `${partition.topic}/${partition.index}`
    await this.#group.busy.get(name)
    if (signal.aborted) return
    const lane = new EmbeddedLane({
      core,
      partition,
      epoch: ++this.#group.epoch,
      limits: { records: this.#options.batchRecords ?? 2000, bytes: this.#options.laneBytes ?? 8_388_608 },
      commit: (asking, next) => this.#commit(asking, next),
      onFailure: (error) => void this.#fail(error),
    })
    this.#lanes.set(name, lane)
    const answer = await this.#askStart(lane)
    if (signal.aborted) return
    lane.start(this.#startOf(partition, answer), this.#handlers!)
  }

  /** The sink's position; a sink that cannot be reached is asked again. */
  async #askStart(lane: EmbeddedLane): Promise<bigint | undefined> {
    for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, 5000)) {
      try {
        return await this.#handlers!.onAssigned?.(lane)
      } catch (error) {
        if (this.#stopping.signal.aborted) return undefined
        if (!isRetryable(error)) throw error
        await this.#core.options.wait(pauseMs, this.#stopping.signal)
      }
    }
  }

  #startOf({ topic, index, start, end }: Partition, answer: bigint | undefined): number {
    if (answer !== undefined) {
      if (answer >= 0n && answer <= BigInt(end)) return Math.max(Number(answer), start)
      const message =
        `the sink has position ${answer} of ${topic}/${index}, but the log ends at ${end}: records it has seen are gone; ` +
        'restore the log, or start with a new data directory'
      throw new SidestreamError('SIDESTREAM_STATE_GAP', message, { topic, partition: index })
    }
    const committed = this.#core.storage.offsets.get(this.#options.group, topic, index)
    const wanted = committed ?? (this.#options.start === 'latest' ? end : start)
    return Math.min(Math.max(wanted, start), end)
  }

  async #commit(lane: EmbeddedLane, next: number): Promise<'ok' | 'lost'> {
    const current = this.#lanes.get(`${lane.topic}/${lane.partition}`)
    if (current !== lane || lane.signal.aborted || this.#group.member !== this) return 'lost'
    await this.#core.storage.offsets.set(this.#options.group, lane.topic, lane.partition, next)
    return 'ok'
  }

  async #topicDeleted(name: string): Promise<void> {
    if (![...this.#lanes.values()].some((lane) => lane.topic === name)) return
    await this.#fail(new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', `topic ${name} was deleted while it was read`, { topic: name }))
  }

  async #fail(error: Error): Promise<void> {
    if (this.#stopping.signal.aborted) return
    const lanes = [...this.#lanes.values()]
    this.#leave()
    for (const lane of lanes) lane.abort(error)
    this.#stopped = this.#revoke(lanes).then(
      () => {},
      () => {}, // `error` came first and is the one to tell
    )
    await this.#stopped
    this.#handlers?.onFatal(error)
  }

  async #end(drainMs: number): Promise<void> {
    if (this.#stopping.signal.aborted) return
    this.lastProgress()
    this.#stopping.abort()
    const lanes = [...this.#lanes.values()]
    const drained = Promise.all(lanes.map((lane) => lane.drain()))
    await withTimeout(drained, drainMs)
    try {
      for (const lane of lanes) await lane.commitPosition()
      if (lanes.length > 0) await this.#core.storage.offsets.flush()
    } finally {
      this.#leave()
      for (const lane of lanes) lane.abort(new SidestreamError('SIDESTREAM_CLOSED', 'the consumer was stopped'))
      await this.#revoke(lanes)
    }
  }

  /** Gives the group free; partitions whose handler still runs stay busy for the next lane. */
  #leave(): void {
    this.lastProgress()
    this.#stopping.abort()
    this.#unwatch?.()
    for (const [name, lane] of this.#lanes) {
      const ended = lane.drain().then(() => {
        if (this.#group.busy.get(name) === ended) this.#group.busy.delete(name)
      })
      this.#group.busy.set(name, ended)
    }
    this.#lanes.clear()
    this.#onEnd()
    if (this.#group.member === this) this.#group.member = undefined
  }

  async #revoke(lanes: readonly EmbeddedLane[]): Promise<void> {
    await withTimeout(Promise.all(lanes.map((lane) => lane.drain())), abortGraceMs)
    await Promise.all(lanes.map((lane) => this.#handlers?.onRevoked?.(lane)))
  }
}

/** Resolves with the work, or without it after `ms`. */
async function withTimeout(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work, timeout])
  clearTimeout(timer)
}

function usage(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
