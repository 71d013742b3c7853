/**
 * A running project: the roles of one process over an opened project.
 * Invariant: a fatal error of any role is told once, to whoever waits on `failed`; nothing is lost, the next start goes on.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { FreshnessSummary } from '../features/index.ts'
import type { Judgement } from '../distill/index.ts'
import { isRetryable, SidestreamError } from '../schemas/index.ts'
import type { DriftStatus } from './drift-watch.ts'
import type { ControlCommand } from './control-records.ts'
import { ingestLag } from './ingest.ts'
import type { Ingest } from './ingest.ts'
import type { Owner, OwnerEvents } from './owner.ts'
import type { TaskResult } from './owner-commands.ts'
import { Patience } from './patience.ts'
import { patientProject } from './patient-project.ts'
import type { Project } from './project.ts'
import { Stalls } from './stalls.ts'
import { Roles, roles } from './roles.ts'
import type { Role } from './roles.ts'
import type { RoundSource } from './training.ts'
import type { Versions } from './versions.ts'

export interface DaemonOptions {
  /** @default all */
  readonly roles?: readonly Role[]
  readonly events?: OwnerEvents
}

/** What the newest round trained on, by source. */
export interface TrainingStatus {
  readonly round: number
  readonly sources: Readonly<Record<string, RoundSource>>
  /** Newest lambda* of the sources that mine negatives. */
  readonly lambda: Readonly<Record<string, number>>
  readonly rowsPerSecond: number
}

/** Rounds that were passed over because training diverged; the last good head stays. */
export interface DivergedStatus {
  /** Of those that control holds. */
  readonly rounds: number
  /** Why the newest round was passed over; null when it was not. */
  readonly newest: string | null
}

/** The newest judgment of a head. */
export interface JudgedStatus {
  readonly checkpoint: string
  readonly verdict: 'passed' | 'refused'
  /** Figures of the candidate and of what it was held against; null where there was nothing to measure. */
  readonly figures: Judgement['metrics']
}

/** The newest refresh, where it was refused. */
export interface RefusedStatus {
  readonly id: string
  /** When, by the owner's clock. */
  readonly at: number
  readonly code: string | null
  readonly message: string
  /** The curve of a budget, figures and thresholds of a gate; null where the message says all. */
  readonly details: Readonly<Record<string, unknown>> | null
}

export interface DaemonStatus {
  /** Live version; null before the first. While the store does not answer: as it was last known. */
  readonly live: number | null
  /** Whether this process decides for the project or stands by; null without the role distill. */
  readonly control: 'owner' | 'standby' | null
  /** Records behind the end, per role and partition; what the log does not say now is left out. */
  readonly lag: Readonly<Record<string, number>>
  readonly ingest: Ingest['counts'] | null
  readonly owner: (Owner['lanes']['counts'] & { readonly late: number }) | null
  /** What became of the histories of each sample set, over the rounds trained by this process: histories, rows, items by rule. */
  readonly sets: Owner['sets'] | null
  /** The newest round that this process has trained; null before the first. */
  readonly training: TrainingStatus | null
  /** Null without the role distill, and while this process stands by. */
  readonly diverged: DivergedStatus | null
  /** The newest judgment that control holds; null before the first, and without the role distill. */
  readonly judged: JudgedStatus | null
  /** Null where the newest refresh was not refused, and without the role distill. */
  readonly refused: RefusedStatus | null
  /** How the live codebooks stood at the end of the newest round, and whether a refresh is proposed; null before. */
  readonly drift: DriftStatus | null
  /** From log append to readable, of records appended while a version was live. */
  readonly freshness: FreshnessSummary
}

const maintenanceMs = 1000
const idlePollMs = 25
/** How long a status waits for servers. */
const answerMs = 2000

export class Daemon {
  readonly #project: Project
  readonly #roles: Roles
  readonly #endWaiting: () => void
  readonly #failure: Promise<never>
  /** Failed or stopping: nobody waits for quiet any more. */
  #over = false
  #timer: NodeJS.Timeout | undefined
  #maintaining: Promise<unknown> = Promise.resolve()

  constructor(project: Project, parts: Roles, endWaiting: () => void, failure: Promise<never>, onFatal: (error: Error) => void) {
    this.#project = project
    this.#roles = parts
    this.#endWaiting = endWaiting
    this.#failure = failure
    failure.catch(() => (this.#over = true))
    const maintain = (): void => {
      this.#maintaining = this.versions.maintain().then((gone) => {
        for (const version of gone) this.#project.logger.info({ version }, 'version collected')
        this.#timer = setTimeout(maintain, maintenanceMs)
        this.#timer.unref()
      }, onFatal)
    }
    this.#timer = setTimeout(maintain, maintenanceMs)
    this.#timer.unref()
  }

  get versions(): Versions {
    return this.#roles.versions
  }

  /** Undefined without the role, and while this process stands by. */
  get ingest(): Ingest | undefined {
    return this.#roles.ingest
  }

  /** The owner of control; undefined without the role distill, and while another process has control. */
  get owner(): Owner | undefined {
    return this.#roles.owner
  }

  /** Rejects when a role cannot go on; never resolves. */
  failed(): Promise<never> {
    return this.#failure
  }

  /** Resolves when everything in the log is done: no lag, no open round, no task. */
  async idle(): Promise<void> {
    await Promise.race([this.#failure, this.#untilIdle()])
  }

  /** Trains what is complete, judges, builds and switches. Asking twice with one id is asking once. */
  refresh(id: string): Promise<TaskResult> {
    return this.ask(id, { action: 'refresh' })
  }

  /**
   * Has the owner do something. Asking twice with one id is asking once.
   * @throws SIDESTREAM_USAGE_INVALID when the owner is not in this process
   */
  async ask(id: string, command: ControlCommand): Promise<TaskResult> {
    if (this.owner === undefined) {
      const message = this.#roles.control === null ? 'this process does not have the role distill' : 'another process has control'
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${message}, which is needed to ${command.action}`)
    }
    return Promise.race([this.#failure, this.owner.ask(id, command)])
  }

  async status(): Promise<DaemonStatus> {
    const lag: Record<string, number> = {}
    const parts = { ingest: this.ingest, distill: this.owner?.lanes, publish: this.versions }
    const known = this.versions.lastLive
    const [live] = await Promise.all([
      soon(this.#project.store.live(this.#project.config.project).then((pointer) => pointer?.version ?? null)),
      ...Object.entries(parts).map(async ([role, part]) => {
        if (part !== undefined) for (const [name, behind] of (await soon(part.lag())) ?? []) lag[`${role} ${name}`] = Number(behind)
      }),
    ])
    return {
      control: this.#roles.control,
      live: live === undefined ? known : live,
      lag,
      ingest: this.ingest?.counts ?? null,
      owner: this.owner === undefined ? null : { ...this.owner.lanes.counts, late: this.owner.lanes.clock.late },
      sets: this.owner?.sets ?? null,
      training: trainingStatus(this.owner?.trained),
      diverged: divergedStatus(this.owner),
      judged: judgedStatus(this.owner),
      refused: refusedStatus(this.owner),
      drift: this.owner?.drift.newest ?? null,
      freshness: this.versions.freshness.summary(),
    }
  }

  /** Stops in the order of the data: ingest, owner, writers. Positions are committed; the next start goes on from there. */
  async stop(): Promise<void> {
    this.#over = true
    this.#endWaiting()
    clearTimeout(this.#timer)
    await this.#maintaining.catch(() => {})
    clearTimeout(this.#timer)
    await this.#roles.stop()
  }

  async #untilIdle(): Promise<void> {
    for (let quiet = 0; quiet < 2 && !this.#over;) {
      quiet = (await this.#isQuiet()) ? quiet + 1 : 0
      await new Promise<void>((resolve) => setTimeout(resolve, idlePollMs))
    }
  }

  async #isQuiet(): Promise<boolean> {
    try {
      if (this.ingest !== undefined && !isZero(await ingestLag(this.#project))) return false
      if (this.owner !== undefined && !(await this.owner.isIdle())) return false
      return isZero(await this.versions.lag())
    } catch (error) {
      if (isRetryable(error)) return false // the log is away: nobody knows
      throw error
    }
  }
}

/** The answer; undefined when a server is away, or does not give it soon. */
async function soon<T>(answer: Promise<T>): Promise<T | undefined> {
  const late = new AbortController()
  try {
    return await Promise.race([answer, sleep(answerMs, undefined, { ref: false, signal: late.signal })])
  } catch (error) {
    if (isRetryable(error)) return undefined
    throw error
  } finally {
    late.abort()
  }
}

function isZero(lag: ReadonlyMap<string, bigint>): boolean {
  for (const behind of lag.values()) if (behind > 0n) return false
  return true
}

/**
 * Starts the roles of this process.
 * @throws SIDESTREAM_USAGE_INVALID for `distill` without `publish`: no other process may open the data directory to write what it
 * builds; for `publish` without `distill` on a shared log: versions would be judged ready without the rows of other writers
 */
export async function startDaemon(project: Project, { roles: wanted = roles, events = {} }: DaemonOptions = {}): Promise<Daemon> {
  const patience = new Patience(project.logger)
  let fail: (error: Error) => void = () => {}
  const failure = new Promise<never>((_, reject) => {
    fail = (error) => {
      if (patience.isOver && isRetryable(error)) return // it waited when the daemon was stopped
      project.logger.error({ error: error.message }, 'a role cannot go on')
      reject(error)
    }
  })
  failure.catch(() => {})
  if (wanted.includes('distill') && !wanted.includes('publish')) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      'the role distill builds versions that the role publish writes, and one process owns the data directory: give it both',
    )
  }
  if (wanted.includes('publish') && !wanted.includes('distill') && project.log.caps.groups === 'cluster') {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      'with a log that other processes share, the role publish works where distill does, which counts what a version holds: give this process both, or ingest alone',
    )
  }
  const stalls = new Stalls(project, () => patience.isWaiting)
  const endWaiting = (): void => {
    patience.end()
    stalls.end()
  }
  try {
    const running = await Roles.start({ project: patientProject(project, patience, stalls), wanted, events, onFatal: fail })
    return new Daemon(project, running, endWaiting, failure, fail)
  } catch (error) {
    endWaiting()
    throw error
  }
}

function judgedStatus(owner: Owner | undefined): JudgedStatus | null {
  const newest = owner?.control.all('judged').at(-1)
  if (newest === undefined) return null
  const { checkpoint, verdict, report } = newest.body
  return { checkpoint, verdict, figures: (report as Judgement).metrics }
}

function refusedStatus(owner: Owner | undefined): RefusedStatus | null {
  if (owner === undefined) return null
  const isRefresh = (id: string): boolean => (owner.control.command(id)?.entry.body.command.action ?? 'refresh') === 'refresh'
  const newest = owner.control.all('done').findLast(({ id }) => isRefresh(id))
  if (newest?.body.outcome !== 'refused') return null
  const { code, message, details = null } = newest.body
  return { id: newest.id, at: newest.at, code, message, details }
}

function divergedStatus(owner: Owner | undefined): DivergedStatus | null {
  if (owner === undefined) return null
  const reasons = owner.control.all('trained').map(({ body }) => body.diverged)
  return { rounds: reasons.filter((reason) => reason !== null).length, newest: reasons.at(-1) ?? null }
}

function trainingStatus(trained: Owner['trained']): TrainingStatus | null {
  if (trained === undefined) return null
  const { round, sources, mined, ms } = trained
  const rows = Object.values(sources).reduce((sum, source) => sum + source.rows, 0)
  return {
    round,
    sources,
    lambda: Object.fromEntries(mined.map(({ source, lambda }) => [source, lambda.lambda])),
    rowsPerSecond: (1000 * rows) / ms,
  }
}
