/**
 * One assigned partition: reads a batch, hands it over, waits, goes on.
 * Invariant: one handler at a time; the position moves only when a handler has returned; at most one batch of at most
 * `laneBytes` is held. A lane stops reading first (`drain`) and is aborted after.
 */
import { SidestreamError } from '../../schemas/index.ts'
import type { LogCore } from './embedded.ts'
import { asError, tried } from './lane-tries.ts'
import type { Lane, LogBatch, LogHandlers } from './log.ts'
import type { Partition, PartitionReader, ReadLimits } from './partition.ts'
import { nextTurn } from './waiting.ts'

export interface LaneOptions {
  readonly core: LogCore
  readonly partition: Partition
  readonly epoch: number
  readonly limits: ReadLimits
  /** Stores the hint. */
  readonly store: (next: number) => Promise<void>
  /** The lane cannot go on. */
  readonly onFailure: (error: Error) => void
}

export class EmbeddedLane implements Lane {
  readonly topic: string
  readonly partition: number
  readonly epoch: number
  readonly #options: LaneOptions
  readonly #source: Partition
  readonly #reader: PartitionReader
  readonly #abort = new AbortController()
  readonly #draining = new AbortController()
  readonly #unwatch: () => void
  #position = 0
  #seek: number | undefined
  #committed: number | undefined
  /** A batch has been handled since the last commit. */
  #moved = false
  #paused = false
  /** A batch is being handled or read. */
  #busy = false
  #progressTs: number
  #wake: (() => void) | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(options: LaneOptions) {
    const { partition, epoch, core } = options
    this.topic = partition.topic
    this.partition = partition.index
    this.epoch = epoch
    this.#options = options
    this.#source = partition
    this.#reader = partition.reader()
    this.#unwatch = partition.watch(() => this.#wake?.())
    this.#progressTs = core.options.clock()
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Next offset to handle. */
  get position(): number {
    return this.#seek ?? this.#position
  }

  /** Time of the last handled batch; now, when there is nothing to do. */
  get progressTs(): number {
    const waiting = !this.#busy && (this.#paused || this.position >= this.#source.end)
    return waiting ? this.#options.core.options.clock() : this.#progressTs
  }

  /** Records not handled yet. */
  get lag(): number {
    return Math.max(0, this.#source.end - this.position)
  }

  seek(offset: bigint): void {
    this.#seek = this.#checked(offset, 'seek to')
    this.#wake?.()
  }

  async commit(next: bigint): Promise<'ok' | 'lost'> {
    const offset = this.#checked(next, 'commit')
    if (this.#abort.signal.aborted) return 'lost'
    this.#committed = offset
    this.#moved = false
    await this.#options.store(offset)
    return 'ok'
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#wake?.()
  }

  /** Begins to read at `position`; batches arrive until `drain`. */
  start(position: number, handlers: LogHandlers): void {
    this.#seek ??= position // a seek in onAssigned wins
    this.#running = this.#run(handlers).catch((error: unknown) => this.#options.onFailure(asError(error)))
  }

  /** Takes no further batch. Resolves when the running handler has ended. */
  drain(): Promise<void> {
    this.#draining.abort()
    this.#wake?.()
    return this.#running
  }

  /** The position, when handled batches have moved it and nobody has committed since. */
  get uncommitted(): number | undefined {
    return this.#seek === undefined && this.#moved && this.#committed !== this.#position ? this.#position : undefined
  }

  abort(reason: Error): void {
    this.#unwatch()
    this.#draining.abort()
    this.#wake?.()
    this.#abort.abort(reason)
    this.#reader.close()
  }

  async #run(handlers: LogHandlers): Promise<void> {
    const stopped = this.#draining.signal
    while (!stopped.aborted) {
      if (this.#seek !== undefined) {
        this.#position = this.#seek
        this.#seek = undefined
        this.#reader.seek(this.#position)
      }
      if (this.#paused || this.#position >= this.#source.end) {
        await this.#woken()
        continue
      }
      this.#busy = true
      const { records, next } = await this.#reader.read(this.#options.limits)
      if (next > this.#position && this.#seek === undefined && !stopped.aborted) {
        const first = records[0]?.offset ?? BigInt(this.#position)
        this.#tellGap(Number(records[0]?.offset ?? next), handlers)
        await this.#deliver({ topic: this.topic, partition: this.partition, records, first, next: BigInt(next) }, handlers)
      }
      this.#busy = false
      await nextTurn() // records in memory and a handler without waits must not keep timers and files from their turn
    }
  }

  /** What was read begins at `found`: told when records before it were removed, not compacted. */
  #tellGap(found: number, handlers: LogHandlers): void {
    const { start } = this.#source
    if (this.#position === 0 || this.#position >= start || found === this.#position) return
    handlers.onGap?.(this, BigInt(this.#position), BigInt(Math.min(found, start)))
  }

  #deliver(batch: LogBatch, handlers: LogHandlers): Promise<void> {
    const { handlerRetries, wait, clock } = this.#options.core.options
    const handOver = async (): Promise<void> => {
      await handlers.onBatch(batch, this)
      this.#position = Number(batch.next)
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

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined
        resolve()
      }
    })
  }

  #checked(offset: bigint, what: string): number {
    if (offset >= 0n && offset <= BigInt(this.#source.end)) return Number(offset)
    const message = `cannot ${what} offset ${offset} of ${this.topic}/${this.partition}: the log ends at ${this.#source.end}`
    throw new SidestreamError('SIDESTREAM_STATE_GAP', message, { topic: this.topic, partition: this.partition })
  }
}
