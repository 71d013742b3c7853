/**
 * One assigned partition of a Kafka consumer: fetched records wait here for the handler.
 * Invariants: one handler at a time; the position moves only when a handler has returned; no record stands between two batches;
 * fetching pauses above `laneBytes` and goes on below a third of it.
 */
import type { Batch } from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import type { FetchedRecords } from './kafka-fetched-records.ts'
import type { KafkaSettings } from './kafka.ts'
import { asError, tried } from './lane-tries.ts'
import type { ConsumerOptions, Lane, LogBatch, LogHandlers, LogRecord } from './log.ts'
import { nextTurn } from './waiting.ts'

export interface KafkaLaneOptions {
  readonly settings: KafkaSettings
  /** As handlers know it. */
  readonly name: string
  /** As the brokers know it. */
  readonly topic: string
  readonly partition: number
  readonly epoch: number
  /** As the brokers call it. */
  readonly group: string
  readonly commits: Required<ConsumerOptions>['commits']
  readonly limits: { readonly records: number; readonly bytes: number }
  readonly commit: (lane: KafkaLane, next: bigint) => Promise<'ok' | 'lost'>
  /** Fetching is to stop, or to go on. */
  readonly onFlow: (lane: KafkaLane, flow: 'pause' | 'resume') => void
  /** Fetching is to go on at another offset. */
  readonly onSeek: (lane: KafkaLane, offset: bigint) => void
  /** A fetch came from an offset that was not asked for: find out why, then `seek` or `gap`. */
  readonly onStray: (lane: KafkaLane, expected: bigint) => void
  readonly onFailure: (error: Error) => void
}

/** Records of one fetch. */
interface Chunk {
  /** What waits, its first part first. */
  readonly parts: FetchedRecords[]
  /** Position after the chunk; past control records. */
  readonly next: bigint
  /** Instead of records: what the log no longer has. */
  readonly gap?: Gap
}

/** Records from `expected` to before `first` are gone; the log ended at `end` when that was found. */
export interface Gap {
  readonly expected: bigint
  readonly first: bigint
  readonly end: bigint
}

export class KafkaLane implements Lane {
  readonly topic: string
  readonly physicalTopic: string
  readonly partition: number
  readonly epoch: number
  readonly #options: KafkaLaneOptions
  readonly #abort = new AbortController()
  readonly #draining = new AbortController()
  readonly #chunks: Chunk[] = []
  /** Next offset to handle. */
  #position = 0n
  /** Next offset to be fetched. */
  #expected = 0n
  /** End of the log as the last fetch saw it. */
  #end = 0n
  #seek: bigint | undefined
  #held = 0
  #flowing = false
  #stray = false
  #started = false
  #committed: bigint | undefined
  #moved = false
  #paused = false
  #busy = false
  #progressTs: number
  #wake: (() => void) | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(options: KafkaLaneOptions) {
    this.topic = options.name
    this.physicalTopic = options.topic
    this.partition = options.partition
    this.epoch = options.epoch
    this.#options = options
    this.#progressTs = options.settings.clock()
  }

  /** What it belongs to: log, group, and who may commit. */
  get home(): Pick<KafkaLaneOptions, 'settings' | 'group' | 'commits'> {
    return this.#options
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Next offset to handle. */
  get position(): bigint {
    return this.#seek ?? this.#position
  }

  /** Position after the last handled batch; 0 before the first. */
  get handled(): bigint {
    return this.#moved ? this.#position : 0n
  }

  /** Bytes of fetched records that wait. */
  get heldBytes(): number {
    return this.#held
  }

  /** True when there is nothing to do, as far as fetches tell. */
  get isIdle(): boolean {
    return !this.#busy && (this.#paused || (this.#started && this.#chunks.length === 0 && this.position >= this.#end))
  }

  /** Time of the last handled batch. */
  get progressTs(): number {
    return this.#progressTs
  }

  /** A position that handled batches have reached and that was not stored yet. */
  get uncommitted(): bigint | undefined {
    return this.#moved && this.#seek === undefined && this.#committed !== this.#position ? this.#position : undefined
  }

  /** The position was stored with those of other lanes. */
  stored(next: bigint): void {
    this.#committed = next
  }

  seek(offset: bigint): void {
    if (offset < 0n) throw gone(this, `cannot seek to offset ${offset}`)
    this.#seek = offset
    this.#wake?.()
  }

  async commit(next: bigint): Promise<'ok' | 'lost'> {
    if (next < 0n) throw gone(this, `cannot commit offset ${next}`)
    const outcome = await this.#options.commit(this, next)
    if (outcome === 'ok') this.#committed = next
    return outcome
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#wake?.()
  }

  /** Begins at `position`; batches arrive until `drain`. @param gap - what the log no longer has */
  start(position: bigint, handlers: LogHandlers, gap?: Gap): void {
    const wanted = this.#seek ?? position // a seek in onAssigned wins
    this.#started = true
    this.#goTo(wanted)
    if (gap !== undefined && this.#seek === undefined) this.#chunks.push({ parts: [], next: wanted, gap })
    this.#seek = undefined
    this.#running = this.#run(handlers).catch((error: unknown) => this.#options.onFailure(asError(error)))
  }

  /** Takes a fetch. @returns false when it is not what was asked for */
  push(batch: Batch): boolean {
    if (this.#draining.signal.aborted || !this.#started || this.#stray) return false
    const { fetchedOffset } = batch as Batch & { readonly fetchedOffset: string }
    if (BigInt(fetchedOffset) !== this.#expected) {
      this.#stray = true // kafkajs has moved by itself: the log begins later now, or ends earlier
      this.#setFlow('pause')
      this.#options.onStray(this, this.#expected)
      return false
    }
    const parts = batch.messages as unknown as FetchedRecords[]
    parts[0]?.skipTo(this.#expected) // a batch of records comes whole, also when the fetch began inside of it
    this.#held += heldBytes(parts)
    this.#end = BigInt(batch.highWatermark)
    this.#expected = BigInt(batch.lastOffset()) + 1n
    this.#chunks.push({ parts, next: this.#expected })
    if (this.#held > this.#options.limits.bytes) this.#setFlow('pause')
    this.#wake?.()
    return true
  }

  /** A fetch brought no records for us, only control records or taken back ones, up to before `next`. */
  pass(next: bigint, end: bigint): void {
    if (this.#draining.signal.aborted || !this.#started || this.#stray || next <= this.#expected) return
    this.#expected = next
    this.#end = end
    this.#chunks.push({ parts: [], next })
    this.#wake?.()
  }

  /** The log has lost records: fetching goes on behind them, and it is told when the handler comes to it. */
  skip(gap: Gap): void {
    this.#chunks.push({ parts: [], next: gap.first, gap })
    this.#expected = gap.first
    this.refetch()
    this.#wake?.()
  }

  /** Has fetching go on where it should have. */
  refetch(): void {
    this.#stray = false
    this.#options.onSeek(this, this.#expected)
    this.#setFlow('resume')
  }

  /** Takes no further batch. Resolves when the running handler has ended. */
  drain(): Promise<void> {
    this.#draining.abort()
    this.#wake?.()
    return this.#running
  }

  abort(reason: Error): void {
    this.#draining.abort()
    this.#wake?.()
    this.#abort.abort(reason)
    this.#chunks.length = 0
  }

  async #run(handlers: LogHandlers): Promise<void> {
    const stopped = this.#draining.signal
    while (!stopped.aborted) {
      if (this.#seek !== undefined) {
        const wanted = this.#seek
        this.#seek = undefined
        this.#goTo(wanted)
      }
      if (this.#paused || this.#chunks.length === 0) {
        await this.#woken()
        this.#progressTs = this.#options.settings.clock() // until now there was nothing to do
        continue
      }
      this.#busy = true
      const { gap } = this.#chunks[0]!
      if (gap !== undefined) {
        handlers.onGap?.(this, gap.expected, gap.first)
        this.#chunks.shift()
        this.#position = gap.first
        if (gap.first >= gap.end) this.#chunks.unshift({ parts: [], next: gap.first }) // no record brings the sink there
        this.#busy = false
        continue
      }
      await this.#deliver(this.#take(), handlers)
      this.#busy = false
      await nextTurn() // waiting records and a handler without waits must not keep fetches and timers from their turn
    }
  }

  /** The next records, of as many fetches as fit. */
  #take(): LogBatch {
    const { records: most, bytes: room } = this.#options.limits
    const records: LogRecord[] = []
    const first = this.#position
    let left = room
    let next = first
    let isFull = false
    while (this.#chunks.length > 0 && !isFull) {
      const { parts, gap, next: end } = this.#chunks[0]!
      if (gap !== undefined) break
      const before = heldBytes(parts)
      while (parts.length > 0) {
        left -= parts[0]!.take(records, { records: most, bytes: left })
        if (!parts[0]!.isEmpty) break
        parts.shift()
      }
      this.#held -= before - heldBytes(parts)
      isFull = parts.length > 0
      if (!isFull) this.#chunks.shift()
      next = isFull ? records.at(-1)!.offset + 1n : end
    }
    if (this.#held < this.#options.limits.bytes / 3 && !this.#stray) this.#setFlow('resume')
    return { topic: this.topic, partition: this.partition, records, first: records[0]?.offset ?? first, next }
  }

  #deliver(batch: LogBatch, handlers: LogHandlers): Promise<void> {
    const { handlerRetries, wait, clock } = this.#options.settings
    const handOver = async (): Promise<void> => {
      await handlers.onBatch(batch, this)
      this.#position = batch.next
      this.#moved = true
      this.#progressTs = clock()
    }
    return tried(handOver, {
      handlerRetries,
      wait,
      stopped: this.#draining.signal,
      isSought: () => this.#seek !== undefined,
      isPaused: () => this.#paused,
      woken: () => this.#woken(),
    })
  }

  /** Drops what waits and has fetching go on at `offset`. */
  #goTo(offset: bigint): void {
    this.#chunks.length = 0
    this.#held = 0
    this.#position = offset
    this.#expected = offset
    this.#stray = false
    this.#options.onSeek(this, offset)
    this.#flowing = false
    this.#setFlow('resume')
  }

  #setFlow(flow: 'pause' | 'resume'): void {
    if (this.#flowing === (flow === 'resume')) return
    this.#flowing = flow === 'resume'
    this.#options.onFlow(this, flow)
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined
        resolve()
      }
    })
  }
}

function gone({ topic, partition }: Lane, what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_STATE_GAP', `${what} of ${topic}/${partition}: there is none`, { topic, partition })
}

function heldBytes(parts: readonly FetchedRecords[]): number {
  let bytes = 0
  for (const part of parts) bytes += part.heldBytes
  return bytes
}
