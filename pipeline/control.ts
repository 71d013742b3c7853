/**
 * The control log as a process follows it: the truth after a restart, and where commands come in. Whoever is assigned its one
 * partition is the owner of the project's decisions; any other process stands by.
 * Invariants: a decision is in the log before anything is done about it, and doing it twice does no harm; `append` resolves only
 * when the record was read back under this process's claim, so a process that was replaced learns it before it acts.
 */

import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { isPoison, isRetryable, SidestreamError } from '../schemas/index.ts'
import type { LogBatch, LogConsumer, LogProducer, LogRecord } from '../connectors/index.ts'
import { loadControl, placeOf, saveControl } from './control-checkpoint.ts'
import type { ControlCheckpoint, ControlPlace } from './control-checkpoint.ts'
import { ControlView, encodeControl, writtenAt } from './control-records.ts'
import type { CommandState, ControlBody, ControlEntry, ControlKind } from './control-records.ts'
import { DeadLetters } from './dead-letters.ts'
import type { Project } from './project.ts'

export interface ControlOptions {
  /** Told once, of an owner: the log cannot be followed any more, or another process has taken control. */
  readonly onFatal: (error: Error) => void
  /** How often to look, while this owner is without the partition, whether another process has claimed control; milliseconds. @default 3000 */
  readonly lookMs?: number
}

/** Records after which what was read is kept again. Higher: less writing, a longer start after a crash. */
const checkpointRecords = 500

interface Waiting {
  readonly offset: bigint
  readonly resolve: (entry: ControlEntry | undefined) => void
  readonly reject: (error: Error) => void
}

/** Consumer group of the processes that may own `control`. */
export function controlGroup({ config }: Pick<Project, 'config'>): string {
  return `${config.project}-control`
}

export class ControlLog {
  readonly #project: Project
  readonly #options: ControlOptions
  readonly #producer: LogProducer
  readonly #deadLetters: DeadLetters
  readonly #view: ControlView
  readonly #waiting: Waiting[] = []
  readonly #listeners = new Set<(entry: ControlEntry) => void>()
  readonly #owned: Promise<void>
  readonly #settled: Promise<'owner' | 'standby'>
  #own: () => void = () => {}
  #disown: (error: Error) => void = () => {}
  #settle: (as: 'owner' | 'standby') => void = () => {}
  #consumer: LogConsumer | undefined
  /** Next offset of the topic to read. */
  #position = 0n
  /** The last record that was read, and where the checkpoint ends. */
  #last: ControlPlace | undefined
  #savedOffset = -1n
  #saving: Promise<void> = Promise.resolve()
  #assigned = false
  /** What this process claims control by, drawn for each assignment until one claim was read back; undefined without any. */
  #claim: string | undefined
  /** The last claim's way to the log. One at a time, so that the newest stands last. */
  #claiming: Promise<unknown> = Promise.resolve()
  /** This process has been the owner: whatever ends that is fatal. */
  #claimed = false
  #failure: Error | undefined
  #look: NodeJS.Timeout | undefined
  #closed: Promise<void> | undefined

  private constructor(project: Project, producer: LogProducer, options: ControlOptions) {
    this.#project = project
    this.#options = options
    this.#producer = producer
    this.#deadLetters = new DeadLetters(producer, project)
    this.#view = new ControlView(project.codec)
    this.#owned = new Promise((resolve, reject) => {
      this.#own = resolve
      this.#disown = reject
    })
    this.#owned.catch(() => {})
    this.#settled = new Promise((resolve) => (this.#settle = resolve))
  }

  /** Joins those that may own control. Resolves when it is known whether this process is assigned it, not when it has read it all. */
  static async join(project: Project, options: ControlOptions): Promise<ControlLog> {
    const [producer, kept] = await Promise.all([project.log.producer(), loadControl(project)])
    const control = new ControlLog(project, producer, options)
    if (kept !== undefined) control.#restore(kept)
    const consumer = await project.log.consumer({ group: controlGroup(project), topics: ['control'], start: 'earliest' })
    control.#consumer = consumer
    try {
      await consumer.run({
        onAssigned: async () => control.#onAssigned(),
        onBatch: async (batch) => control.#take(batch),
        onRevoked: async () => control.#onRevoked(),
        onGap: (_, expected, first) => {
          throw shortened(expected, first)
        },
        onFatal: (error) => control.#fail(error),
      })
      if (!control.#assigned) control.#settle('standby')
    } catch (error) {
      await control.close()
      throw error
    }
    return control
  }

  /** True from when this process has read its own claim. */
  get isOwner(): boolean {
    return this.#claimed
  }

  /**
   * Resolves when it is first known where this process stands: it is the owner, or another one has the partition.
   * @throws as `owned`
   */
  settled(): Promise<'owner' | 'standby'> {
    return Promise.race([this.#settled, this.#owned.then(() => 'owner' as const)])
  }

  /**
   * Resolves when this process is the owner and knows all that was decided before; for a process that stands by, maybe never.
   * @throws SIDESTREAM_LOG_CORRUPT for a log that this release cannot follow; SIDESTREAM_CLOSED; whatever the log throws
   */
  owned(): Promise<void> {
    return this.#owned
  }

  /**
   * Writes an entry and resolves when it stands in the log.
   * @throws SIDESTREAM_EPOCH_FENCED when this process is no longer the owner, and the entry does not count
   */
  async append<K extends ControlKind>(kind: K, id: string, body: ControlBody<K>): Promise<ControlEntry<K>> {
    if (this.#failure !== undefined) throw this.#failure
    if (!this.#claimed) throw new SidestreamError('SIDESTREAM_EPOCH_FENCED', 'this process has not claimed control, and decides nothing')
    const record = encodeControl(this.#project.codec, { kind, id, at: this.#project.clock(), body }, this.#claim!)
    const entry = await this.#readBack(kind, writtenAt(await this.#producer.send('control', 0, [record])))
    if (entry === undefined) throw this.#fail(this.#fenced())
    return entry as ControlEntry<K>
  }

  /** All entries of a kind, oldest first. */
  all<K extends ControlKind>(kind: K): readonly ControlEntry<K>[] {
    return this.#view.all(kind)
  }

  find<K extends ControlKind>(kind: K, id: string): ControlEntry<K> | undefined {
    return this.#view.find(kind, id)
  }

  /** All commands, in the order in which they were first asked. */
  commands(): Iterable<CommandState> {
    return this.#view.commands()
  }

  command(id: string): CommandState | undefined {
    return this.#view.command(id)
  }

  /** Calls `listener` for every entry from now on that counts, in log order, when it is in `all` and `find`. @returns ends it */
  watch(listener: (entry: ControlEntry) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  async #end(): Promise<void> {
    clearTimeout(this.#look)
    this.#failure ??= new SidestreamError('SIDESTREAM_CLOSED', 'the control log is closed')
    this.#endWaiting(this.#failure)
    this.#disown(this.#failure)
    await this.#consumer?.stop({ drainMs: 1000 })
    this.#save()
    await this.#saving
    await this.#producer.close()
  }

  #restore({ last, entries }: ControlCheckpoint): void {
    this.#view.restore(entries)
    this.#last = last
    this.#savedOffset = last.offset
    this.#position = last.offset + 1n
  }

  /** Keeps what was read, beside the work. Without it the next start reads more, so a failure is only told. */
  #save(): void {
    const last = this.#last
    if (last === undefined || last.offset === this.#savedOffset || this.#project.config.log.driver === 'memory') return
    this.#savedOffset = last.offset
    const entries = this.#view.kept()
    this.#saving = this.#saving
      .then(() => saveControl(this.#project, { last, entries }))
      .catch((error: Error) => this.#project.logger.warn({ error: error.message }, 'what was read of the control log is not kept'))
  }

  #onAssigned(): bigint {
    this.#assigned = true
    clearTimeout(this.#look)
    // Batches come only after this answer, so nothing is awaited here.
    if (!this.#claimed) this.#claimControl()
    return this.#position
  }

  /**
   * Writes a claim. What was decided before stands before it, so whoever has read its own claim knows it all. A claim of an earlier
   * assignment says nothing: between it and this one another process may have decided.
   */
  #claimControl(): void {
    const claim = `${hostname()}-${process.pid}-${randomUUID()}`
    this.#claim = claim
    const body = { process: `process ${process.pid} on ${hostname()}` }
    this.#claiming = this.#claiming
      .then(async () => {
        if (this.#claim !== claim || this.#failure !== undefined) return
        const record = encodeControl(this.#project.codec, { kind: 'owner', id: claim, at: this.#project.clock(), body }, null)
        await this.#producer.send('control', 0, [record])
      })
      .catch((error: Error) => this.#fail(error))
  }

  #onRevoked(): void {
    this.#assigned = false
    if (this.#failure !== undefined) return
    if (this.#claimed) return this.#lookForOthers()
    this.#claim = undefined
    this.#settle('standby')
  }

  /** A rebalance, or brokers that are away, may take the partition for a while; only another process's claim takes control. */
  #lookForOthers(): void {
    clearTimeout(this.#look)
    this.#look = setTimeout(() => {
      this.#ownerAfter(this.#position)
        .then((other) => other !== undefined && this.#fail(this.#fenced(other)))
        .catch((error: Error) => isRetryable(error) || this.#fail(error))
        .finally(() => this.#assigned || this.#failure !== undefined || this.#lookForOthers())
    }, this.#options.lookMs ?? 3000)
    this.#look.unref()
  }

  /** Another process that has claimed control at `position` or after it, by its own account. */
  async #ownerAfter(position: bigint): Promise<string | undefined> {
    const view = new ControlView(this.#project.codec, position)
    await this.#project.log.read(
      'control',
      ({ records }) => {
        for (const record of records) {
          try {
            view.apply(record)
          } catch (error) {
            if (!isPoison(error)) throw error // told by whoever consumes it
          }
        }
      },
      { from: [position] },
    )
    return view.owner === undefined || view.owner.id === this.#claim ? undefined : view.owner.body.process
  }

  async #take({ records, first, next }: LogBatch): Promise<void> {
    if (this.#position === 0n && first > 0n) return void this.#fail(shortened(0n, first))
    for (const record of records) {
      if (this.#failure !== undefined) return
      if (record.offset < this.#position) continue // again, after a rebalance
      let entry: ControlEntry | undefined
      try {
        entry = this.#view.apply(record)
      } catch (error) {
        if (!isPoison(error)) return void this.#fail(error as Error)
        await this.#setAside(record, error)
      }
      if (entry?.kind === 'owner') this.#onOwner(entry.id)
      if (this.#failure !== undefined) return
      this.#position = record.offset + 1n
      this.#last = placeOf(record)
      this.#answer(record.offset, entry)
      if (entry !== undefined) for (const listener of this.#listeners) listener(entry)
    }
    if (next > this.#position) this.#position = next
    if (this.#claimed && this.#last !== undefined && this.#last.offset - this.#savedOffset >= checkpointRecords) this.#save()
  }

  #onOwner(claim: string): void {
    if (claim !== this.#claim) {
      if (this.#claimed) this.#fail(this.#fenced())
      return
    }
    this.#claimed = true
    this.#settle('owner')
    this.#own()
  }

  async #setAside(record: LogRecord, error: SidestreamError): Promise<void> {
    this.#project.logger.warn({ offset: String(record.offset), code: error.code }, 'a record of the control log is none, and is left out')
    await this.#deadLetters.send([{ topic: 'control', partition: 0, record, error }])
  }

  #readBack(kind: ControlKind, offset: bigint): Promise<ControlEntry | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) reject(this.#failure)
      else if (offset < this.#position) resolve(this.all(kind).findLast((entry) => entry.offset === offset))
      else this.#waiting.push({ offset, resolve, reject })
    })
  }

  #answer(offset: bigint, entry: ControlEntry | undefined): void {
    const at = this.#waiting.findIndex((waiting) => waiting.offset === offset)
    if (at >= 0) this.#waiting.splice(at, 1)[0]!.resolve(entry)
  }

  #endWaiting(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  #fenced(other?: string): SidestreamError {
    const owner = this.#view.owner
    const who = other ?? (owner === undefined || owner.id === this.#claim ? 'another process' : owner.body.process)
    return new SidestreamError(
      'SIDESTREAM_EPOCH_FENCED',
      `this process owned the decisions of project ${this.#project.config.project}, and ${who} has taken over: it stops, and what it had begun is gone on with there; start it again to stand by`,
      { project: this.#project.config.project },
    )
  }

  /** @returns what this process fails with */
  #fail(error: Error): Error {
    if (this.#failure !== undefined) return this.#failure
    clearTimeout(this.#look)
    this.#failure = error
    this.#endWaiting(error)
    if (this.#claimed) this.#options.onFatal(error)
    else this.#disown(error)
    return error
  }
}

function shortened(expected: bigint, first: bigint): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_STATE_GAP',
    `the control log begins at ${first}, and what stood from ${expected} on is gone: which versions there are cannot be told; restore the topic, ` +
      'and have Kafka keep it for ever (cleanup.policy=delete, retention.ms=-1, retention.bytes=-1)',
    { topic: 'control' },
  )
}
