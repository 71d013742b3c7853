/**
 * The owner of `control`: closes rounds, trains them, judges, builds versions and switches, one thing after the other.
 * Invariant: every decision is in the control log before anything is done about it; after a crash the same decisions are
 * found there and their steps are redone, with the same result.
 */

import { noCounts, pickCandidate } from '../distill/index.ts'
import type { FilterCounts } from '../distill/index.ts'
import { isRetryable, isSidestreamError, SidestreamError } from '../schemas/index.ts'
import { bootstrapCut } from './bootstrap.ts'
import { readBundle } from './bundles.ts'
import type { ControlLog } from './control.ts'
import { requireSameCommand } from './control-records.ts'
import type { ControlCommand, ControlEntry } from './control-records.ts'
import { DriftWatch } from './drift-watch.ts'
import { ingestLag } from './ingest.ts'
import { decidedPositions, ownerTopics, refuseStrangeStore } from './owner-checks.ts'
import { OwnerCommands } from './owner-commands.ts'
import type { TaskResult } from './owner-commands.ts'
import { OwnerLanes } from './owner-lanes.ts'
import { positionName } from './positions.ts'
import type { TopicPosition } from './positions.ts'
import type { Project } from './project.ts'
import { tellPending } from './quantizer.ts'
import { decideRefresh, performBuild } from './refresh.ts'
import { rowsBefore, trainedRound } from './samples-state.ts'
import { bootstrapHead, checkpointRound, listCheckpoints, RoundTraining } from './training.ts'
import type { TrainedRound } from './training.ts'
import type { Versions } from './versions.ts'

export interface OwnerEvents {
  /** After each step of training. */
  onStep?(step: number, loss: number): void
  onRound?(round: TrainedRound): void
  onTask?(id: string, result: TaskResult): void
}

export interface OwnerOptions {
  readonly project: Project
  readonly versions: Versions
  /** Owned by this process. */
  readonly control: ControlLog
  readonly events: OwnerEvents
  readonly onFatal: (error: Error) => void
  /** Resolves when versions and ingest work; decides nothing before. */
  readonly ready: Promise<void>
  /** Resolves when ingest has taken in what is in the log at the call, as far as it runs in this process. */
  readonly ingested: () => Promise<void>
}

const idleCheckMs = 1000
const catchUpPollMs = 25

export class Owner {
  readonly lanes: OwnerLanes
  readonly control: ControlLog
  /** What became of the histories of each sample set, over the rounds trained by this process. */
  readonly sets: Record<string, FilterCounts> = {}
  /** The newest round that this process has trained, and how long it took. */
  trained: (Pick<TrainedRound, 'round' | 'sources' | 'mined'> & { readonly ms: number }) | undefined
  /** How the live codebooks serve new items. */
  readonly drift: DriftWatch
  readonly #project: Project
  readonly #versions: Versions
  readonly #training: RoundTraining
  readonly #events: OwnerEvents
  readonly #onFatal: (error: Error) => void
  readonly #timer: NodeJS.Timeout
  readonly #commands: OwnerCommands
  readonly #unwatch: () => void
  readonly #waiting: (() => void)[] = []
  #woken = false
  #busy = false
  #stopped = false
  #loop: Promise<void> | undefined
  #wake: () => void = () => {}

  private constructor({ project, versions, control, events, onFatal, ingested }: OwnerOptions, lanes: OwnerLanes) {
    this.#project = project
    this.#versions = versions
    this.lanes = lanes
    this.control = control
    this.#training = new RoundTraining(project, lanes)
    this.drift = new DriftWatch(project, lanes.state)
    this.#events = events
    this.#onFatal = onFatal
    this.#timer = setInterval(() => this.#changed(), idleCheckMs)
    this.#timer.unref()
    this.#commands = new OwnerCommands({
      project,
      control,
      versions,
      caughtUp: () => this.#caughtUp(ingested),
      onReady: () => this.#changed(),
      onFatal,
    })
    this.#unwatch = control.watch((entry) => this.#onEntry(entry))
  }

  static async start(options: OwnerOptions): Promise<Owner> {
    const { project, onFatal, ready } = options
    let wake = (): void => {}
    ready.catch(() => {})
    const lanes = await OwnerLanes.start(project, () => wake(), onFatal)
    try {
      await ready
      lanes.closedTs = await closedUntil(project, lanes)
    } catch (error) {
      await lanes.stop()
      throw error
    }
    const owner = new Owner(options, lanes)
    wake = () => owner.#changed()
    owner.#loop = owner.#run()
    return owner
  }

  /**
   * Asks for something to be done and waits for its end. Asking twice with one id is asking once.
   * @throws SIDESTREAM_USAGE_INVALID when the id was used for another command; SIDESTREAM_CLOSED when the owner stops first
   */
  async ask(id: string, command: ControlCommand): Promise<TaskResult> {
    const known = this.control.command(id)
    requireSameCommand(known, command)
    if (known === undefined || known.state === 'asked' || known.state === 'withdrawn') {
      await this.control.append('command', id, { command, waitMs: null })
    }
    for (;;) {
      const done = this.control.find('done', id)
      if (done !== undefined) return done.body
      if (this.#stopped)
        throw new SidestreamError(
          'SIDESTREAM_CLOSED',
          `the owner stopped before ${command.action} ${id} was done; it goes on at the next start`,
        )
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** True when nothing is left to do but wait for new records. */
  async isIdle(): Promise<boolean> {
    return !(await this.#isBehind()) && !this.#busy && !this.#woken && this.#commands.isIdle && (await this.#next()) === undefined
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unwatch()
    clearInterval(this.#timer)
    this.#changed()
    await this.#loop
    await this.#commands.stop()
    await this.#training.close()
    await this.drift.close()
    await this.lanes.stop()
  }

  #onEntry(entry: ControlEntry): void {
    if (entry.kind === 'command') this.#commands.take(entry as ControlEntry<'command'>)
    if (entry.kind === 'done') {
      this.#events.onTask?.(entry.id, (entry as ControlEntry<'done'>).body)
      this.#tellWaiting()
    }
  }

  #changed(): void {
    this.#woken = true
    this.#wake()
  }

  #tellWaiting(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  async #run(): Promise<void> {
    try {
      this.#busy = true
      await refuseStrangeStore(this.#project, this.control)
      await this.#reached(await decidedPositions(this.#project, this.control))
      await this.#tellPending()
      this.#busy = false
      while (!this.#stopped) {
        this.#woken = false
        const task = await this.#next()
        if (task !== undefined) {
          this.#busy = true
          await task()
          this.#busy = false
          continue
        }
        await this.#tickIdle()
        if (!this.#woken) await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } catch (error) {
      // A build that `stop` interrupts is taken up again at the next start.
      const interrupted = this.#stopped && isSidestreamError(error) && error.code === 'SIDESTREAM_CLOSED'
      if (!interrupted) this.#onFatal(error as Error)
    } finally {
      this.#busy = false
      this.#stopped = true
      this.#tellWaiting()
    }
  }

  async #tellPending(): Promise<void> {
    const live = this.#versions.hasLostStore ? undefined : await this.#versions.live()
    if (live !== undefined) tellPending(this.#project.config, await readBundle(this.#project, live.codebook), this.#project.logger)
  }

  /** The next thing to do, in a fixed order: unfinished build, bootstrap, round, scheduled refresh, command. */
  async #next(): Promise<(() => Promise<void>) | undefined> {
    const { control, lanes } = this
    if (this.#versions.hasLostStore) return () => this.#versions.restore(control.all('build').map(({ body }) => body))
    const open = control.all('build').find(({ id }) => control.find('done', id) === undefined)
    if (open !== undefined) return () => this.#finish(open)
    if (control.all('build').length === 0) {
      const cutTs = bootstrapCut(lanes, this.#project.config)
      if (cutTs !== undefined) return () => this.#bootstrap(cutTs)
      // Whoever asks for a refresh before there can be a version is answered, not kept waiting.
      const early = this.#commands.ready
      return early === undefined ? undefined : () => this.#refresh(early.id, 'command', this.#closedNow())
    }
    const round = this.#openRound()
    const scheduled = this.#scheduledCut(round)
    if (scheduled !== undefined) return () => this.#refresh(`scheduled-${scheduled}`, 'scheduled', scheduled)
    if (round !== undefined) return () => this.#train(round)
    const command = this.#commands.ready
    if (command === undefined) return undefined
    const cutTs = this.#closedNow()
    return () => this.#refresh(command.id, 'command', cutTs)
  }

  /** The round to train now: one that was cut before a crash, or the oldest complete one. */
  #openRound(): number | undefined {
    const trained = trainedRound(this.lanes.state)
    const cut = this.control.all('cut').at(-1)
    if (cut !== undefined && cut.body.round > trained) return cut.body.round
    return this.lanes.clock.ready()
  }

  /**
   * The next boundary of the schedule: the first one after a round that was trained since the last refresh. Stretches
   * without a round are passed over, so a catalogue that is years old does not build a version for every boundary since.
   */
  #scheduledCut(nextRound: number | undefined): number | undefined {
    const { everyMs } = this.#project.config.refresh
    if (everyMs === 0) return undefined
    const { clock } = this.lanes
    const last = this.control.all('build').at(-1)!.body.cutTs
    const tried = this.control.all('done').filter(({ id }) => id.startsWith('scheduled-'))
    const lastTried = Math.max(last, ...tried.map(({ id }) => Number(id.slice('scheduled-'.length))))
    const trained = this.control.all('trained').map(({ body }) => clock.endOf(body.round))
    const news = Math.min(...trained.filter((endTs) => endTs > lastTried))
    if (news === Infinity) return undefined
    const boundary = lastTried + Math.ceil((news - lastTried) / everyMs) * everyMs
    const cut = clock.endOf(clock.roundOf(boundary - 1))
    const reached = nextRound === undefined ? this.#closedNow() : clock.endOf(nextRound - 1)
    return cut <= reached && cut <= clock.watermark ? cut : undefined
  }

  /** Up to when everything is decided: the end of the last complete round, or of the data when it has ended. */
  #closedNow(): number {
    const { clock, newestContentTs } = this.lanes
    const newest = Math.max(newestContentTs, clock.closed === -Infinity ? -Infinity : clock.endOf(clock.closed) - 1)
    if (clock.watermark === Infinity) return clock.endOf(clock.roundOf(newest))
    return clock.roundOf(clock.watermark) * clock.roundMs
  }

  async #bootstrap(cutTs: number): Promise<void> {
    await this.control.append('build', 'bootstrap', {
      version: 1,
      reason: 'bootstrap',
      parent: null,
      head: bootstrapHead,
      cutTs,
      positions: await this.lanes.positions('item-content'),
    })
  }

  async #train(round: number): Promise<void> {
    const { lanes, control } = this
    let cut = control.all('cut').find(({ body }) => body.round === round)
    if (cut === undefined) {
      const positions = (await Promise.all(ownerTopics(this.#project.config).map((topic) => lanes.positions(topic)))).flat()
      await control.append('cut', `round-${round}`, { round, endTs: lanes.clock.endOf(round), positions })
      cut = control.all('cut').at(-1)!
    }
    await lanes.change((clock) => (clock.close(round), {}))
    const record = async ({ counts, sets, teachers, sources, mined, replayed, losses, diverged }: TrainedRound): Promise<void> => {
      if (control.find('trained', `round-${round}`) !== undefined) return
      await control.append('trained', `round-${round}`, {
        round,
        rows: counts.rows,
        replayed,
        waiting: counts.waiting,
        dropped: counts.dropped,
        losses: [...losses],
        diverged,
        sets: copyCounts(sets),
        teachers: copyCounts(teachers),
        sources: copyCounts(sources),
        mined: mined.map(({ source, lambda: { lambda, f1, positives } }) => ({ source, lambda, f1, positives })),
      })
    }
    const started = performance.now()
    const trained = await this.#training.train(round, cut.body.positions, record, (step, loss) => this.#events.onStep?.(step, loss))
    for (const [set, counts] of Object.entries(trained.sets)) addCounts((this.sets[set] ??= noCounts()), counts)
    this.trained = { round, sources: trained.sources, mined: trained.mined, ms: performance.now() - started }
    lanes.closedTs = await closedUntil(this.#project, lanes)
    await this.#forget(round)
    const live = await this.#versions.live()
    if (live !== undefined) await this.drift.look(live, lanes.clock.endOf(round))
    this.#events.onRound?.(trained)
  }

  /** Drops the rows that no judge and no replay can ask for any more. */
  async #forget(round: number): Promise<void> {
    const { config } = this.#project
    const keptMs = Math.max(config.training.replayMs, config.refresh.evalWindowMs * 2 + config.refresh.everyMs + 3_600_000)
    const deletes = rowsBefore(this.lanes.state, round - Math.ceil(keptMs / config.training.roundMs) - 1)
    if (deletes.length > 0) await this.lanes.state.commit({ deletes })
  }

  async #refresh(id: string, reason: 'scheduled' | 'command', cutTs: number): Promise<void> {
    const decided = await decideRefresh(
      { project: this.#project, lanes: this.lanes, control: this.control, versions: this.#versions },
      { id, reason, cutTs },
    )
    if ('outcome' in decided) return this.#end(id, decided)
    await this.control.append('build', id, decided)
  }

  async #finish(build: ControlEntry<'build'>): Promise<void> {
    const result = await performBuild({ project: this.#project, lanes: this.lanes, control: this.control, versions: this.#versions }, build)
    await this.#end(build.id, result)
  }

  async #end(id: string, result: TaskResult): Promise<void> {
    await this.control.append('done', id, result)
  }

  /** Resolves when what the log holds now is in the owner's state: interactions through ingest, then samples and content. */
  async #caughtUp(ingested: () => Promise<void>): Promise<void> {
    await ingested()
    const admin = await this.#project.log.admin()
    const ends = new Map<string, bigint>()
    for (const topic of ownerTopics(this.#project.config)) {
      for (const [partition, end] of (await admin.describe(topic)).end.entries()) ends.set(positionName(topic, partition), end)
    }
    await this.#reached(ends)
  }

  /** Resolves when the owner's state holds all records below these positions, or the owner stops. */
  async #reached(positions: ReadonlyMap<string, bigint>): Promise<void> {
    for (const topic of ownerTopics(this.#project.config)) {
      const isBehind = ({ partition, next }: TopicPosition): boolean => BigInt(next) < (positions.get(positionName(topic, partition)) ?? 0n)
      while (!this.#stopped && (await this.lanes.positions(topic)).some(isBehind)) await pause(catchUpPollMs)
    }
  }

  /** Whether records wait to be taken in; true, too, while the log cannot be asked. */
  async #isBehind(): Promise<boolean> {
    try {
      return [...(await this.lanes.lag()).values()].some((behind) => behind > 0n)
    } catch (error) {
      if (isRetryable(error)) return true
      throw error
    }
  }

  /** Advances sources that have been silent for `idleMs` to where the others are, and logs it. */
  async #tickIdle(): Promise<void> {
    const { clock } = this.lanes
    const { idleMs } = this.#project.config.training
    const furthest = clock.furthest
    if (!Number.isFinite(furthest)) return
    const idle = this.lanes.idleSources(idleMs, furthest)
    if (idle.length === 0) return
    // A source whose records only wait to be read is not silent.
    if ((await this.#isBehind()) || [...(await ingestLag(this.#project)).values()].some((behind) => behind > 0n)) return
    for (const source of idle) await this.control.append('tick', source, { source, watermarkTs: furthest })
    await this.lanes.tick(idle, furthest)
  }
}

/** Counts as plain JSON. */
function copyCounts(counts: Readonly<Record<string, object>>): Record<string, Record<string, number>> {
  return Object.fromEntries(Object.entries(counts).map(([name, counted]) => [name, { ...counted }]))
}

function addCounts(sum: FilterCounts, counts: FilterCounts): void {
  for (const rule of Object.keys(sum) as (keyof FilterCounts)[]) sum[rule] += counts[rule]
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/**
 * Every decision up to this time is made, so content before it may be thinned out. The next judge looks at the window after
 * the newest checkpoint whose window is complete, or after a later one; where rounds are rare that can be long ago.
 */
async function closedUntil(project: Project, { state, clock }: OwnerLanes): Promise<number> {
  const trained = trainedRound(state)
  if (trained === -Infinity) return -Infinity
  const checkpoints = (await listCheckpoints(project)).map((name) => ({ trainedUntil: clock.endOf(checkpointRound(name)!) }))
  return pickCandidate(checkpoints, clock.endOf(trained), project.config.refresh.evalWindowMs)?.trainedUntil ?? -Infinity
}
