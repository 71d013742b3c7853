/**
 * A consumer of the embedded log: gives each partition that its group assigns a lane, and ends lanes in order.
 * Invariants: a lane commits until its signal aborts, which is before another lane of its partition starts; a fatal error
 * stops all lanes, moves no position and is told once.
 */
import { isRetryable, SidestreamError } from '../../schemas/index.ts'
import type { LogCore } from './embedded.ts'
import { nameOf } from './embedded-group.ts'
import type { EmbeddedGroup, GroupMember } from './embedded-group.ts'
import { EmbeddedLane } from './embedded-lane.ts'
import type { ConsumerOptions, LogConsumer, LogHandlers } from './log.ts'
import type { Partition } from './partition.ts'

/** How long `stop` waits for handlers after their signal was aborted. */
const abortGraceMs = 1000

/** A lane and the promise of its start. */
interface Tenure {
  readonly lane: EmbeddedLane
  opened: Promise<void>
}

/** How lanes end: by a new assignment, by `stop`, or by a failure, which commits nothing. */
type Ending =
  | { readonly kind: 'rebalance' }
  | { readonly kind: 'stop'; readonly drained: Promise<void> }
  | { readonly kind: 'failure'; readonly error: Error }

export class EmbeddedConsumer implements LogConsumer, GroupMember {
  readonly #core: LogCore
  readonly #options: ConsumerOptions
  readonly #group: EmbeddedGroup
  readonly #onEnd: () => void
  readonly #tenures = new Map<string, Tenure>()
  readonly #stopping = new AbortController()
  #handlers: LogHandlers | undefined
  /** Assignments under way. */
  readonly #assigning = new Set<Promise<void>>()
  /** Lanes under way to their end. */
  readonly #releasing = new Set<Promise<void>>()
  /** Takes errors of assignments while `run` waits for the first. */
  #failRun: ((error: Error) => void) | undefined
  #ending: Ending = { kind: 'rebalance' }
  /** First error of a lane's end. */
  #releaseError: Error | undefined
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
    if (this.#handlers !== undefined || this.#stopped !== undefined) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'a consumer runs once: make a new one')
    }
    for (const topic of this.#options.topics) if (typeof topic === 'string') this.#core.topic(topic)
    this.#handlers = handlers
    const failed = new Promise<never>((_, reject) => (this.#failRun = reject))
    try {
      this.#group.join(this)
      while (this.#assigning.size > 0) await Promise.race([failed, Promise.allSettled(this.#assigning)])
    } catch (error) {
      this.#stopped ??= this.#leave({ kind: 'failure', error: error as Error }, abortGraceMs)
      await this.#stopped
      throw error
    } finally {
      this.#failRun = undefined
    }
  }

  async lag(): Promise<Map<string, bigint>> {
    return new Map([...this.#tenures].map(([name, { lane }]) => [name, BigInt(lane.lag)]))
  }

  /** The oldest of its lanes': one stuck lane stands out. A lane with nothing to do, or paused, is at now. */
  lastProgress(): number {
    if (this.#tenures.size > 0) this.#lastProgressTs = Math.min(...[...this.#tenures.values()].map(({ lane }) => lane.progressTs))
    else if (!this.#stopping.signal.aborted) this.#lastProgressTs = this.#core.options.clock() // other members have it all
    return this.#lastProgressTs
  }

  stop({ drainMs }: { drainMs: number }): Promise<void> {
    this.#stopped ??= this.#end(drainMs)
    return this.#stopped
  }

  wants(name: string): boolean {
    return this.#options.topics.some((topic) => (typeof topic === 'string' ? topic === name : name.search(topic) >= 0))
  }

  assign(partition: Partition, epoch: number): void {
    const work = this.#open(partition, epoch).catch((error: unknown) =>
      (this.#failRun ?? ((given) => void this.#fail(given)))(error as Error),
    )
    this.#assigning.add(work)
    void work.then(() => this.#assigning.delete(work))
  }

  revoke(name: string): Promise<void> {
    const tenure = this.#tenures.get(name)
    if (tenure === undefined) return Promise.resolve()
    this.#tenures.delete(name)
    const work = this.#release(tenure, this.#ending)
    this.#releasing.add(work)
    void work.then(() => this.#releasing.delete(work))
    return work
  }

  topicDeleted(name: string): Promise<void> {
    return this.#fail(new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', `topic ${name} was deleted while it was read`, { topic: name }))
  }

  async #open(partition: Partition, epoch: number): Promise<void> {
    const name = nameOf(partition)
    await this.#group.ended(name)
    if (!this.#group.holds(this, name, epoch)) return
    const { batchRecords = 2000, laneBytes = 8_388_608 } = this.#options
    const lane = new EmbeddedLane({
      core: this.#core,
      partition,
      epoch,
      limits: { records: batchRecords, bytes: laneBytes },
      store: (next) => this.#core.storage.offsets.set(this.#options.group, partition.topic, partition.index, next),
      onFailure: (error) => void this.#fail(error),
    })
    const tenure: Tenure = { lane, opened: Promise.resolve() }
    this.#tenures.set(name, tenure)
    tenure.opened = this.#begin(lane, partition)
    await tenure.opened
  }

  async #begin(lane: EmbeddedLane, partition: Partition): Promise<void> {
    const answer = await this.#askStart(lane)
    if (!lane.signal.aborted) lane.start(this.#startOf(partition, answer), this.#handlers!)
  }

  /** The sink's position; a sink that cannot be reached is asked again. */
  async #askStart(lane: EmbeddedLane): Promise<bigint | undefined> {
    for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, 5000)) {
      try {
        return await this.#handlers!.onAssigned?.(lane)
      } catch (error) {
        if (lane.signal.aborted || this.#stopping.signal.aborted) return undefined
        if (!isRetryable(error)) throw error
        await this.#core.options.wait(pauseMs, lane.signal)
      }
    }
  }

  /** May be below the start of the log: the lane tells the gap. */
  #startOf({ topic, index, start, end }: Partition, answer: bigint | undefined): number {
    if (answer !== undefined) {
      if (answer >= 0n && answer <= BigInt(end)) return Number(answer)
      const message =
        `the sink has position ${answer} of ${topic}/${index}, but the log ends at ${end}: records it has seen are gone; ` +
        'restore the log, or start with a new data directory'
      throw new SidestreamError('SIDESTREAM_STATE_GAP', message, { topic, partition: index })
    }
    const committed = this.#core.storage.offsets.get(this.#options.group, topic, index)
    return Math.min(committed ?? (this.#options.start === 'latest' ? end : start), end)
  }

  async #fail(error: Error): Promise<void> {
    if (this.#stopping.signal.aborted) return
    this.#stopped = this.#leave({ kind: 'failure', error }, abortGraceMs)
    await this.#stopped
    this.#handlers?.onFatal(error)
  }

  async #end(drainMs: number): Promise<void> {
    if (this.#stopping.signal.aborted) return
    let timer: NodeJS.Timeout | undefined
    const drained = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, drainMs)
    })
    const hadLanes = this.#tenures.size > 0
    await this.#leave({ kind: 'stop', drained }, drainMs + abortGraceMs)
    clearTimeout(timer)
    if (this.#releaseError !== undefined) throw this.#releaseError
    if (hadLanes) await this.#core.storage.offsets.flush()
  }

  /** Gives all partitions to the other members; waits for its own lanes. */
  async #leave(ending: Ending, waitMs: number): Promise<void> {
    this.lastProgress()
    this.#ending = ending
    this.#stopping.abort()
    this.#group.leave(this)
    await withTimeout(Promise.all(this.#releasing), waitMs)
    this.#onEnd()
  }

  /** Ends a lane: it drains or not, is aborted, its position is stored, and when its handler has ended it is revoked. */
  async #release({ lane, opened }: Tenure, ending: Ending): Promise<void> {
    await undefined // the group is still settling who has what
    try {
      if (ending.kind === 'stop') await Promise.race([lane.drain(), ending.drained])
      const isOurs = ending.kind !== 'failure' && this.#options.commits !== 'handler'
      const position = isOurs ? lane.uncommitted : undefined
      lane.abort(ending.kind === 'failure' ? ending.error : new SidestreamError('SIDESTREAM_CLOSED', abortReasons[ending.kind]))
      if (position !== undefined) {
        await this.#core.storage.offsets.set(this.#options.group, lane.topic, lane.partition, position)
      }
    } catch (error) {
      this.#releaseFailed(error, ending)
    }
    await opened.catch(() => {})
    await lane.drain()
    try {
      await this.#handlers?.onRevoked?.(lane)
    } catch (error) {
      this.#releaseFailed(error, ending)
    }
  }

  /** Told by `stop`, else fatal; of a failure the error that came first is the one to tell. */
  #releaseFailed(error: unknown, { kind }: Ending): void {
    if (kind === 'stop') this.#releaseError ??= error as Error
    else if (kind === 'rebalance') void this.#fail(error as Error)
  }
}

const abortReasons = { stop: 'the consumer was stopped', rebalance: 'the partition went to another consumer of the group' } as const

/** Resolves with the work, or without it after `ms`. */
async function withTimeout(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work, timeout])
  clearTimeout(timer)
}
