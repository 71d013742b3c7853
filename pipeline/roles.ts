/**
 * The roles of one process, and when each of them works. The role distill decides for its project: it needs control, which one
 * process has at a time. A process that does not get it stands by with all its roles, so that no partition is shared with the
 * owner's, and begins when the owner is gone.
 * Invariant: ingest, owner and writers of a process with the role distill run only while it has claimed control.
 */

import { ControlLog } from './control.ts'
import { Ingest, ingestLag } from './ingest.ts'
import { Owner } from './owner.ts'
import type { OwnerEvents } from './owner.ts'
import { positionName } from './positions.ts'
import type { Project } from './project.ts'
import { Versions } from './versions.ts'

/** What a process does. `distill` owns `control`: one process of a project has it. `serve` comes with the gRPC services. */
export const roles = ['ingest', 'distill', 'publish'] as const
export type Role = (typeof roles)[number]

export interface RolesOptions {
  readonly project: Project
  readonly wanted: readonly Role[]
  readonly events: OwnerEvents
  readonly onFatal: (error: Error) => void
}

const ingestPollMs = 25

export class Roles {
  readonly versions: Versions
  readonly #options: RolesOptions
  readonly #control: ControlLog | undefined
  #ingest: Ingest | undefined
  #owner: Owner | undefined
  #beginning: Promise<void> = Promise.resolve()
  /** It stood by. */
  #waited = false
  #stopped = false

  private constructor(options: RolesOptions, versions: Versions, control: ControlLog | undefined) {
    this.#options = options
    this.versions = versions
    this.#control = control
  }

  /** Resolves when the roles work, or when another process has control and this one stands by. */
  static async start(options: RolesOptions): Promise<Roles> {
    const { project, wanted, onFatal } = options
    const distills = wanted.includes('distill')
    const publishes = wanted.includes('publish') && !distills
    // Without an owner anywhere, whoever has the data directory keeps it in order.
    const decides = !distills && project.log.caps.groups === 'process'
    const [joining, starting] = await Promise.allSettled([
      distills ? ControlLog.join(project, { onFatal }) : undefined,
      Versions.start(project, onFatal, { publishes, decides }),
    ])
    const control = joining.status === 'fulfilled' ? joining.value : undefined
    const versions = starting.status === 'fulfilled' ? starting.value : undefined
    try {
      if (joining.status === 'rejected') throw joining.reason
      if (starting.status === 'rejected') throw starting.reason
      const roles = new Roles(options, starting.value, control)
      await roles.#start()
      return roles
    } catch (error) {
      await control?.close()
      await versions?.stop()
      throw error
    }
  }

  /** Undefined without the role, and while this process stands by. */
  get ingest(): Ingest | undefined {
    return this.#ingest
  }

  /** Undefined without the role distill, and while this process stands by. */
  get owner(): Owner | undefined {
    return this.#owner
  }

  /** Whether this process has control of the project; null without the role distill. */
  get control(): 'owner' | 'standby' | null {
    if (this.#control === undefined) return null
    return this.#owner === undefined ? 'standby' : 'owner'
  }

  /** Stops in the order of the data: ingest, owner, writers. Positions are committed; the next start goes on from there. */
  async stop(): Promise<void> {
    this.#stopped = true
    // One that stands by would wait for control for as long as it lives.
    if (this.#control?.isOwner === false) await this.#control.close()
    await this.#beginning.catch(() => {})
    await this.#ingest?.stop()
    const stopped = this.#owner?.stop()
    this.versions.interrupt()
    await stopped
    await this.#control?.close()
    await this.versions.stop()
  }

  async #start(): Promise<void> {
    const { project, onFatal } = this.#options
    const control = this.#control
    this.#beginning = control === undefined ? this.#beginIngest() : control.owned().then(() => this.#takeOver(control))
    this.#beginning.catch(() => {})
    try {
      if ((await control?.settled()) === 'standby') {
        this.#waited = true
        this.#beginning.catch((error: Error) => this.#stopped || onFatal(error))
        project.logger.info({ project: project.config.project }, 'another process has control of the project: this one stands by')
        return
      }
      await this.#beginning
    } catch (error) {
      await this.#ingest?.stop()
      throw error
    }
  }

  async #takeOver(control: ControlLog): Promise<void> {
    if (this.#stopped) return
    const { project, events, onFatal } = this.#options
    if (this.#waited) project.logger.info({ project: project.config.project }, 'the owner of control is gone: this process takes over')
    const { versions } = this
    const ready = Promise.allSettled([versions.takeOver(), this.#beginIngest()])
    try {
      this.#owner = await Owner.start({
        project,
        versions,
        control,
        events,
        onFatal,
        ready: whole(ready),
        ingested: () => this.#ingested(),
      })
    } catch (error) {
      await ready
      throw error
    }
  }

  async #beginIngest(): Promise<void> {
    const { project, wanted, onFatal } = this.#options
    if (wanted.includes('ingest')) this.#ingest = await Ingest.start(project, onFatal)
  }

  /** Resolves when interactions have been taken in, by whichever process, up to where the log ends now. */
  async #ingested(): Promise<void> {
    if (this.#ingest === undefined) return
    const { project } = this.#options
    const admin = await project.log.admin()
    const { end } = await admin.describe('interactions')
    while (!this.#stopped) {
      const lag = await ingestLag(project)
      const now = (await admin.describe('interactions')).end
      if (end.every((wanted, p) => now[p]! - (lag.get(positionName('interactions', p)) ?? 0n) >= wanted)) return
      await new Promise<void>((resolve) => setTimeout(resolve, ingestPollMs))
    }
  }
}

/** Rejects with the first failure, when all have ended. */
async function whole(ended: Promise<readonly PromiseSettledResult<unknown>[]>): Promise<void> {
  for (const one of await ended) if (one.status === 'rejected') throw one.reason
}
