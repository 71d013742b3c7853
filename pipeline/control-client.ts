/**
 * Asks the owner of a project for something by the control log, from any process that reaches the log.
 * Invariants: only what stands behind the own command is read, however long the log is; when this returns without an answer, no
 * owner will do what was asked here, except one that had taken the same id before.
 */

import { isPoison, SidestreamError } from '../schemas/index.ts'
import type { LogProducer, LogRecord } from '../connectors/index.ts'
import { ControlView, encodeControl, requireSameCommand, usedFor, writtenAt } from './control-records.ts'
import type { ControlBody, ControlCommand, ControlEntry } from './control-records.ts'
import type { TaskResult } from './owner-commands.ts'
import type { Project } from './project.ts'

export interface AskOptions {
  /** Names the command: asked again with it, nothing is done twice. */
  readonly id: string
  /** How long to wait for an owner to take the command, milliseconds; how long it then works is its own matter. @default 60000 */
  readonly deadlineMs?: number
  /** Told about every two seconds while no owner has taken the command, with the time waited. */
  readonly onWaiting?: (waitedMs: number) => void
  /** Told of what is decided while the owner works. */
  readonly onEntry?: (entry: ControlEntry) => void
  /** Ends the waiting: a command that no owner has taken is withdrawn, another one goes on. */
  readonly signal?: AbortSignal
}

/**
 * Twice `log.kafka.sessionTimeoutMs`: when the owner was killed, one that stands by gets control after that time, and then
 * has to take it over. Equal to it, a command would be withdrawn just when it could be taken.
 */
export const askDefaults = { deadlineMs: 60_000 } as const

const waitingMs = 2000
/** Further than any log goes. */
const noEnd = 2n ** 62n

/**
 * @returns how the command ended; a refusal is an answer, too
 * @throws SIDESTREAM_OWNER_UNAVAILABLE when no owner took it in time; SIDESTREAM_CLOSED when the signal ended the waiting;
 * SIDESTREAM_USAGE_INVALID when the id was used for another command
 */
export async function askOwner(
  project: Pick<Project, 'log' | 'codec' | 'clock'>,
  command: ControlCommand,
  options: AskOptions,
): Promise<TaskResult> {
  const producer = await project.log.producer()
  const asking = new Asking(project, producer, command, options)
  try {
    return await asking.run()
  } finally {
    await producer.close()
  }
}

class Asking {
  readonly #project: Pick<Project, 'log' | 'codec' | 'clock'>
  readonly #producer: LogProducer
  readonly #command: ControlCommand
  readonly #options: AskOptions
  readonly #deadlineMs: number
  readonly #over = new AbortController()
  #view: ControlView
  /** The owner has read what was asked here, and not only an earlier asking with the same id. */
  #heard = false

  constructor(project: Pick<Project, 'log' | 'codec' | 'clock'>, producer: LogProducer, command: ControlCommand, options: AskOptions) {
    this.#project = project
    this.#producer = producer
    this.#command = command
    this.#options = options
    this.#deadlineMs = options.deadlineMs ?? askDefaults.deadlineMs
    this.#view = new ControlView(project.codec)
  }

  /** What was asked before with this id the owner knows, and tells. */
  async run(): Promise<TaskResult> {
    const asked = await this.#append('command', { command: this.#command, waitMs: this.#deadlineMs })
    this.#view = new ControlView(this.#project.codec, asked)
    return this.#wait(asked)
  }

  /** Follows the log until there is an answer, or until giving up stands in it before any owner took the command. */
  async #wait(asked: bigint): Promise<TaskResult> {
    const { id, signal, onWaiting, onEntry } = this.#options
    const begun = Date.now()
    let failed: unknown
    let gaveUp = false
    let answer: TaskResult | undefined
    const end = (error?: unknown): void => {
      failed ??= error
      this.#over.abort()
    }
    const giveUp = (): void => {
      if (this.#isTaken) {
        if (signal?.aborted === true) end()
        return
      }
      gaveUp = true
      this.#append('withdrawn', {}).catch(end)
    }
    const deadline = setTimeout(giveUp, this.#deadlineMs)
    const waiting = setInterval(() => this.#isTaken || onWaiting?.(Date.now() - begun), waitingMs)
    signal?.addEventListener('abort', giveUp)
    if (signal?.aborted === true) giveUp()
    const onBatch = (batch: { readonly records: readonly LogRecord[] }): void => {
      for (const record of batch.records) {
        const entry = this.#apply(record)
        if (entry !== undefined) onEntry?.(entry)
        if (entry?.id !== id) continue
        answer = this.#answerIn(entry, asked)
        const state = this.#view.command(id)?.state
        if (answer !== undefined || (gaveUp && state === 'withdrawn')) return end()
        if (signal?.aborted === true && state === 'taken') return end()
      }
    }
    try {
      await this.#project.log.read('control', onBatch, { from: [asked], upTo: [noEnd], signal: this.#over.signal })
    } catch (error) {
      if (!this.#over.signal.aborted) throw error
    } finally {
      clearTimeout(deadline)
      clearInterval(waiting)
      signal?.removeEventListener('abort', giveUp)
    }
    if (failed !== undefined) throw failed
    if (answer === undefined) throw this.#unanswered()
    return answer
  }

  /** @throws SIDESTREAM_USAGE_INVALID when the id stands for another command */
  #answerIn(entry: ControlEntry, asked: bigint): TaskResult | undefined {
    if (entry.kind === 'done') return this.#heard ? (entry as ControlEntry<'done'>).body : undefined
    if (entry.kind === 'command') requireSameCommand(this.#view.command(entry.id), this.#command)
    if (entry.kind !== 'taken') return undefined
    const { body } = entry as ControlEntry<'taken'>
    if (body.asked === undefined || BigInt(body.asked) < asked) return undefined
    if (body.usedFor !== undefined) throw usedFor(entry.id, body.usedFor)
    this.#heard = true
    return body.result
  }

  get #isTaken(): boolean {
    const state = this.#view.command(this.#options.id)?.state
    return state === 'taken' || state === 'done'
  }

  #unanswered(): SidestreamError {
    const { id, signal } = this.#options
    const { action } = this.#command
    if (this.#isTaken) {
      return new SidestreamError(
        'SIDESTREAM_CLOSED',
        `waiting was ended; the owner goes on with ${action} ${id}: ask again with this id for its end`,
      )
    }
    if (signal?.aborted === true)
      return new SidestreamError('SIDESTREAM_CLOSED', `waiting was ended before an owner took ${action} ${id}: it will not be done`)
    return new SidestreamError(
      'SIDESTREAM_OWNER_UNAVAILABLE',
      `no owner answered within ${this.#deadlineMs / 1000} s, and ${action} ${id} will not be done, unless it had been taken before: is \`sidestream run\` running with the role distill?`,
    )
  }

  /** @returns where it stands */
  async #append<K extends 'command' | 'withdrawn'>(kind: K, body: ControlBody<K>): Promise<bigint> {
    const { codec, clock } = this.#project
    const record = encodeControl(codec, { kind, id: this.#options.id, at: clock(), body }, null)
    return writtenAt(await this.#producer.send('control', 0, [record]))
  }

  /** What is no control record is for the owner to say. */
  #apply(record: LogRecord): ControlEntry | undefined {
    try {
      return this.#view.apply(record)
    } catch (error) {
      if (isPoison(error)) return undefined
      throw error
    }
  }
}
