/**
 * What others ask of the owner through the control log. Moves of the live pointer and collection are done at once, beside
 * whatever is built; refreshes wait their turn in the owner's own order.
 * Invariants: a command is taken in the log before anything is done about it, and one whose asker had gone before that is not
 * done; every command that was taken is answered once, by its id; what a crash cut short is done at the next start.
 */

import { isSidestreamError, SidestreamError } from '../schemas/index.ts'
import type { ControlLog } from './control.ts'
import { isSameCommand } from './control-records.ts'
import type { ControlBody, ControlEntry } from './control-records.ts'
import type { Project } from './project.ts'
import type { Versions } from './versions.ts'

/** How a task or command ended. */
export type TaskResult = ControlBody<'done'>
type Command = ControlEntry<'command'>

export interface OwnerCommandsOptions {
  readonly project: Project
  readonly control: ControlLog
  readonly versions: Versions
  /** Resolves when everything that is in the log at the call has been taken in, or the owner stops. */
  readonly caughtUp: () => Promise<void>
  /** A refresh has become ready. */
  readonly onReady: () => void
  readonly onFatal: (error: Error) => void
}

/** How far clocks of machines may differ before a command counts as stale, milliseconds. */
const skewMs = 300_000
/** Answered, and the owner goes on, whatever went wrong; but these say that it is the owner that ends. */
const endings: ReadonlySet<string> = new Set(['SIDESTREAM_CLOSED', 'SIDESTREAM_EPOCH_FENCED'])

export class OwnerCommands {
  readonly #options: OwnerCommandsOptions
  /** Refreshes that may begin: what was in the log when they were taken is in the owner's state. */
  readonly #ready: Command[] = []
  readonly #settling = new Set<string>()
  #queue: Promise<void> = Promise.resolve()
  #pending = 0
  #stopped = false

  constructor(options: OwnerCommandsOptions) {
    this.#options = options
    for (const { entry, again } of options.control.commands()) {
      this.take(entry)
      if (again !== undefined) this.take(again)
    }
  }

  /** Takes a command, in log order; one that was seen before changes nothing. */
  take(command: Command): void {
    this.#pending++
    this.#queue = this.#queue
      .then(() => this.#handle(command))
      .catch((error: Error) => {
        const ends = this.#stopped || (isSidestreamError(error) && endings.has(error.code))
        if (!ends) this.#options.onFatal(error)
      })
      .finally(() => this.#pending--)
  }

  /** The refresh to do next. */
  get ready(): Command | undefined {
    return this.#ready.find(({ id }) => this.#options.control.command(id)?.state !== 'done')
  }

  get isIdle(): boolean {
    return this.#pending === 0 && this.#settling.size === 0
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#queue
  }

  async #handle(command: Command): Promise<void> {
    const { control } = this.#options
    const { id } = command
    if (!this.#stopped && control.command(id)?.again === command) return this.#tellAgain(command)
    if (this.#stopped || this.#settling.has(id) || this.#ready.some((other) => other.id === id)) return
    // As it was asked last: an earlier asker may have given up.
    if (control.command(id)?.entry !== command) return
    if (control.command(id)?.state === 'asked' && !this.#isStale(command))
      await control.append('taken', id, { asked: String(command.offset) })
    if (control.command(id)?.state !== 'taken') return // done, or whoever asked had gone before
    if (command.body.command.action === 'refresh') this.#settle(command)
    else await this.#answer(command)
  }

  /** Whoever asks with an id that was taken reads no further back than its own asking: it is told what became of it. */
  async #tellAgain(command: Command): Promise<void> {
    const { control } = this.#options
    const { id } = command
    if (this.#isStale(command)) return
    const known = control.command(id)!.entry
    const asked = String(command.offset)
    if (!isSameCommand(known, command.body.command)) {
      await control.append('taken', id, { asked, usedFor: known.body.command.action })
      return
    }
    let told: ControlEntry<'done'> | undefined
    do {
      told = control.find('done', id)
      await control.append('taken', id, { asked, ...(told !== undefined && { result: told.body }) })
    } while (told !== control.find('done', id)) // it ended before this was read back
  }

  /** Whoever waited was killed; without a `withdrawn` record only its clock tells, so the clocks may differ a little. */
  #isStale({ at, body: { waitMs } }: Command): boolean {
    return waitMs !== null && at + waitMs + skewMs < this.#options.project.clock()
  }

  #settle(command: Command): void {
    const { caughtUp, onReady, onFatal } = this.#options
    this.#settling.add(command.id)
    caughtUp()
      .then(() => {
        if (this.#stopped) return
        this.#ready.push(command)
        this.#settling.delete(command.id)
        onReady()
      })
      .catch((error: Error) => {
        if (!this.#stopped) onFatal(error)
      })
  }

  async #answer({ id, body: { command } }: Command): Promise<void> {
    try {
      await this.#end(id, await this.#perform(id, command))
    } catch (error) {
      if (!isSidestreamError(error) || endings.has(error.code)) throw error
      await this.#end(id, { outcome: 'refused', version: null, code: error.code, message: error.message })
    }
  }

  async #perform(id: string, command: ControlBody<'command'>['command']): Promise<TaskResult> {
    const { versions } = this.#options
    switch (command.action) {
      case 'activate':
      case 'rollback': {
        const { change } = await (command.action === 'activate' ? versions.activate(command.version, id) : versions.rollback(id))
        const message =
          command.action === 'activate' ? `version ${change.version} is live` : `rolled back: version ${change.version} is live`
        return { outcome: 'live', version: change.version, code: null, message, change }
      }
      case 'gc': {
        const collected = await versions.maintain()
        const message = collected.length === 0 ? 'nothing to collect' : `collected versions ${collected.join(', ')}`
        return { outcome: 'done', version: null, code: null, message, collected }
      }
      default:
        throw new SidestreamError(
          'SIDESTREAM_USAGE_INVALID',
          `the owner does not know the command ${command.action === 'unknown' ? command.text : command.action}: it was asked by another release; upgrade the daemon`,
        )
    }
  }

  async #end(id: string, result: TaskResult): Promise<void> {
    await this.#options.control.append('done', id, result)
  }
}
