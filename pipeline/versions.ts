/**
 * The versions of a project while it runs: one writer per version that is building, live or in its rollback window, the
 * switch, the outbox, collection.
 * Invariants: a version goes live only when its coverage is counted; every move of the live pointer reaches feature-versions;
 * a writer runs as long as its version may be read.
 */

import type { Head } from '../distill/index.ts'
import {
  abandonVersion,
  activate,
  collectVersions,
  copyOutbox,
  createVersion,
  FreshnessHistogram,
  hasChange,
  listVersions,
  moveVersion,
  readVersion,
  reconcile,
  repeatChanges,
  requireVersion,
  rollback,
  updateVersion,
  valueBytes,
} from '../features/index.ts'
import type { SwitchResult, VersionPlan, VersionRecord } from '../features/index.ts'
import type { Bundle } from '../semantic-ids/index.ts'
import { semanticIdView, SidestreamError, viewDims } from '../schemas/index.ts'
import type { LogProducer } from '../connectors/index.ts'
import type { ControlBody } from './control-records.ts'
import { Embedder } from './embedder.ts'
import { unknownToControl } from './owner-checks.ts'
import type { Project } from './project.ts'
import { bundleName, readBundle } from './bundles.ts'
import { publishedVersions } from './published.ts'
import { readCheckpoint } from './training.ts'
import { forgetWriter, VersionWriter } from './version-writer.ts'
import { embeddedViews } from './views.ts'

/** Everything a build has made before its writer starts. */
export interface VersionBuild {
  readonly plan: ControlBody<'build'>
  readonly head: Head
  readonly bundle: Bundle
  readonly trainedUntil: number
}

export interface VersionsOptions {
  /** Whether this process writes the rows of versions. */
  readonly publishes: boolean
  /** Whether this process keeps records, pointer and feature-versions in order: one process of a project does. */
  readonly decides: boolean
}

interface Running {
  readonly writer: VersionWriter
  readonly embedder: Embedder
}

export class Versions {
  /** From log append to readable, of records that were appended after their version went live. */
  readonly freshness = new FreshnessHistogram()
  readonly #project: Project
  readonly #onFatal: (error: Error) => void
  readonly #producer: LogProducer
  readonly #running = new Map<number, Running>()
  readonly #stopping = new AbortController()
  /** The version readers see, and since when. */
  #live: { readonly version: number; readonly since: number } = { version: 0, since: Infinity }
  /** Kept versions that are brought to the log's end, to go live again. */
  readonly #catchingUp = new Set<number>()
  #outboxSeq = 0
  #hasLostStore = false
  #publishes: boolean
  #decides: boolean
  #copying: Promise<void> = Promise.resolve()

  private constructor(project: Project, producer: LogProducer, onFatal: (error: Error) => void, { publishes, decides }: VersionsOptions) {
    this.#project = project
    this.#producer = producer
    this.#onFatal = onFatal
    this.#publishes = publishes
    this.#decides = decides
  }

  /** Starts the writers of all versions that may be read; a process that decides first repairs what a crash left. */
  static async start(
    project: Project,
    onFatal: (error: Error) => void,
    options: VersionsOptions = { publishes: true, decides: true },
  ): Promise<Versions> {
    const versions = new Versions(project, await project.log.producer(), onFatal, options)
    if (options.decides) await versions.#repair()
    await versions.#startWriters()
    return versions
  }

  /** From here on this process alone writes versions, switches and collects: it has become the owner. */
  async takeOver(): Promise<void> {
    this.#publishes = true
    this.#decides = true
    await this.#repair()
    await this.#startWriters()
  }

  get #name(): string {
    return this.#project.config.project
  }

  /** Version that was live when it was last looked at; null when none was. */
  get lastLive(): number | null {
    return this.#live.version === 0 ? null : this.#live.version
  }

  async live(): Promise<VersionRecord | undefined> {
    const pointer = await this.#project.store.live(this.#name)
    return pointer === undefined ? undefined : requireVersion(this.#project.store, this.#name, pointer.version)
  }

  /** Creates the version if it is not there, writes it, and resolves when it is ready. */
  async build(build: VersionBuild): Promise<void> {
    const stored = await readVersion(this.#project.store, this.#name, build.plan.version)
    if (stored === undefined || stored.state === 'building') await this.#write(build, stored)
  }

  /** The store was emptied, or replaced by an older copy: it lacks moves of the pointer that the log has. */
  get hasLostStore(): boolean {
    return this.#hasLostStore
  }

  /**
   * Writes the live version again into a store that has lost it, then makes the lost moves of the pointer again. Versions before it
   * stay lost.
   * @param builds - as control has them
   * @throws SIDESTREAM_STORE_CORRUPT when control does not know the version; SIDESTREAM_ARTIFACT_MISSING
   */
  async restore(builds: readonly ControlBody<'build'>[]): Promise<void> {
    const { store, logger } = this.#project
    const moves = await publishedVersions(this.#project)
    const { version, seq } = moves.at(-1)!
    const plan = builds.findLast((build) => build.version === version)
    if (plan === undefined) throw unknownToControl(this.#name, version)
    logger.warn(
      { version, seq },
      `the store has lost data: version ${version} is written again from the log; until then readers do not find it`,
    )
    for (const running of [...this.#running.keys()]) await this.#stopWriter(running)
    // Of a build that was under way, too, no row may be left.
    for (const build of builds) if (build.version >= version) await forgetWriter(this.#project, build.version)
    const { head, position } = await readCheckpoint(this.#project, plan.head, { training: false })
    const bundle = await readBundle(this.#project, bundleName(version))
    await this.#write({ plan, head, bundle, trainedUntil: position.trainedUntil }, await readVersion(store, this.#name, version))
    await repeatChanges(store, this.#name, moves)
    this.#hasLostStore = false
    await this.#repair()
    await this.#startWriters()
    logger.info({ version, seq }, `the store is restored: version ${version} is live; versions before it are lost`)
  }

  /** Makes a version live; asking twice with one command id changes nothing. */
  async activate(version: number, commandId: string): Promise<SwitchResult> {
    this.#refuseLost()
    await this.#catchUp(version)
    return this.#switched(await activate(this.#project.store, this.#name, { version, commandId }))
  }

  /** Makes the live version's parent live. */
  async rollback(commandId: string): Promise<SwitchResult> {
    this.#refuseLost()
    await this.#catchUp((await this.live())?.parent ?? null)
    return this.#switched(await rollback(this.#project.store, this.#name, commandId))
  }

  /** Gives up a version that was refused while it was built. */
  async abandon(version: number, reason: string): Promise<void> {
    await this.#stopWriter(version)
    if ((await readVersion(this.#project.store, this.#name, version)) === undefined) return
    await abandonVersion(this.#project.store, this.#name, version, reason)
  }

  /** Stops writers that nothing needs any more and, where it is this process's to decide, collects what may go. @returns versions that are gone now */
  async maintain(): Promise<number[]> {
    const { store, config } = this.#project
    if (this.#decides) {
      await this.#noteLoss()
      if (this.#hasLostStore) return []
      await this.#copyOutbox()
    }
    const needed = new Set((await this.#neededVersions()).map(({ version }) => version))
    for (const version of [...this.#running.keys()]) {
      if (!needed.has(version) && !this.#catchingUp.has(version)) await this.#stopWriter(version)
    }
    if (!this.#decides) return []
    const { keepVersions, graceMs } = config.store
    return collectVersions(store, this.#name, { keepVersions, graceMs, rollbackWindowMs: config.refresh.rollbackWindowMs })
  }

  /** Records behind the end, over all writers. */
  async lag(): Promise<Map<string, bigint>> {
    const all = new Map<string, bigint>()
    for (const [version, { writer }] of this.#running) for (const [name, lag] of await writer.lag()) all.set(`v${version}/${name}`, lag)
    return all
  }

  /** Aborted when builds are to end. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Ends the waiting for a build; `build` rejects with SIDESTREAM_CLOSED, and goes on when it is called again. */
  interrupt(): void {
    this.#stopping.abort(new SidestreamError('SIDESTREAM_CLOSED', 'the build was interrupted: it goes on at the next start'))
  }

  async stop(): Promise<void> {
    this.interrupt()
    for (const version of [...this.#running.keys()]) await this.#stopWriter(version)
    await this.#producer.close()
  }

  async #write({ plan, head, bundle, trainedUntil }: VersionBuild, stored: VersionRecord | undefined): Promise<void> {
    const { store, config } = this.#project
    const { version } = plan
    const record = stored ?? (await createVersion(store, this.#name, this.#planOf(plan, bundle, trainedUntil), config.store.maxBytes))
    const { writer } = await this.#startWriter(record, head, bundle)
    await writer.ready(plan.positions, this.#stopping.signal)
    await updateVersion(store, this.#name, version, (written, at) => ({
      ...(written.state === 'building' ? moveVersion(written, 'ready', at) : written),
      metrics: { ...written.metrics, coverage: writer.coverage().map((part) => ({ ...part, next: String(part.next) })) },
    }))
  }

  #planOf(plan: ControlBody<'build'>, bundle: Bundle, trainedUntil: number): VersionPlan {
    const { config } = this.#project
    const owner = semanticIdView(config)
    const views = embeddedViews(config).map(({ name, prefix, dtype }) => ({
      name,
      prefix,
      dtype,
      dim: viewDims(config, name).total,
      ownsCodebooks: name === owner,
    }))
    const levels = bundle.codebooks.sizes.length
    const items = plan.positions.reduce((sum, { next }) => sum + Number(next), 0)
    return {
      version: plan.version,
      parent: plan.parent,
      views,
      head: plan.head,
      codebook: bundleName(plan.version),
      cut: { eventTs: plan.cutTs, offsets: [...plan.positions] },
      seeds: { project: config.seed, semanticIds: config.semanticIds.seed ?? config.seed },
      metrics: { policy: bundle.origin.policy },
      trainedUntil,
      teacherUntil: 0,
      codebookUntil: plan.cutTs,
      estimateBytes: items * views.reduce((sum, { dim, dtype }) => sum + valueBytes({ dim, dtype, levels }) + bytesPerKey, 0),
      reason: plan.reason,
    }
  }

  async #repair(): Promise<void> {
    this.#outboxSeq = (await publishedVersions(this.#project)).at(-1)?.seq ?? 0
    await this.#noteLoss()
    if (this.#hasLostStore) return
    await reconcile(this.#project.store, this.#name)
    await this.#copyOutbox()
  }

  #refuseLost(): void {
    if (!this.#hasLostStore) return
    const message = `the store of ${this.#name} has lost data and is restored: ask again when its version is live`
    throw new SidestreamError('SIDESTREAM_VERSION_UNKNOWN', message)
  }

  async #noteLoss(): Promise<void> {
    this.#hasLostStore ||= !(await hasChange(this.#project.store, this.#name, this.#outboxSeq))
  }

  async #switched(result: SwitchResult): Promise<SwitchResult> {
    await this.#copyOutbox()
    await this.#startWriters()
    return result
  }

  /** Versions whose writers run: building, ready, live, and kept within the rollback window. */
  async #neededVersions(): Promise<VersionRecord[]> {
    const { store, config } = this.#project
    const now = await store.now()
    return (await listVersions(store, this.#name)).filter(({ state, liveUntil }) => {
      if (state === 'kept') return now - (liveUntil ?? now) < config.refresh.rollbackWindowMs
      return state === 'building' || state === 'ready' || state === 'live'
    })
  }

  async #startWriters(): Promise<void> {
    if (this.#hasLostStore) return
    const live = await this.live()
    if (live !== undefined) this.#live = { version: live.version, since: live.liveSince ?? Infinity }
    if (!this.#publishes) return
    // A build starts its own writer, when its head and codebooks are made.
    const stopped = (await this.#neededVersions()).filter(({ state, version }) => state !== 'building' && !this.#running.has(version))
    const resumed = await Promise.allSettled(stopped.map((record) => this.#resumeWriter(record)))
    for (const one of resumed) if (one.status === 'rejected') throw one.reason
  }

  /** Brings a kept version to where the log ends now: its writer may have stopped with the rollback window. */
  async #catchUp(version: number | null): Promise<void> {
    const { store, log } = this.#project
    const record = version === null ? undefined : await readVersion(store, this.#name, version)
    if (!this.#publishes || record?.state !== 'kept') return
    this.#catchingUp.add(record.version)
    try {
      const { writer } = this.#running.get(record.version) ?? (await this.#resumeWriter(record))
      const { end } = await (await log.admin()).describe('item-content')
      const barrier = end.map((next, partition) => ({ topic: 'item-content', partition, next: String(next) }))
      await writer.ready(barrier, this.#stopping.signal)
    } finally {
      this.#catchingUp.delete(record.version)
    }
  }

  async #resumeWriter(record: VersionRecord): Promise<Running> {
    const { head } = await readCheckpoint(this.#project, record.head, { training: false })
    return this.#startWriter(record, head, await readBundle(this.#project, record.codebook))
  }

  async #startWriter(record: VersionRecord, head: Head, bundle: Bundle): Promise<Running> {
    const known = this.#running.get(record.version)
    if (known !== undefined) return known
    const embedder = await Embedder.create({
      head,
      bundle,
      views: embeddedViews(this.#project.config),
      semanticIdView: semanticIdView(this.#project.config),
    })
    const writer = await VersionWriter.start(this.#project, {
      version: record.version,
      embedder,
      views: record.views.map(({ name }) => name),
      onReadable: (appendTs, readableTs) => {
        const { version, since } = this.#live
        if (record.version === version && appendTs >= since) this.freshness.record(readableTs - appendTs)
      },
      onFatal: this.#onFatal,
    })
    const running = { writer, embedder }
    this.#running.set(record.version, running)
    return running
  }

  async #stopWriter(version: number): Promise<void> {
    const running = this.#running.get(version)
    if (running === undefined) return
    this.#running.delete(version)
    await running.writer.stop()
    await running.embedder.close()
  }

  /** Copies moves of the pointer that the log does not have; one copy at a time, so that each is there once. */
  #copyOutbox(): Promise<void> {
    const copy = async (): Promise<void> => {
      this.#outboxSeq = await copyOutbox(this.#project.store, this.#name, this.#outboxSeq, {
        append: async (rows) => {
          const key = new TextEncoder().encode(this.#name)
          await this.#producer.send(
            'feature-versions',
            0,
            rows.map((row) => ({ key, value: this.#project.codec.encode('feature-versions', row) })),
          )
        },
      })
    }
    const copied = this.#copying.then(copy)
    this.#copying = copied.catch(() => {})
    return copied
  }
}

/** About what a store takes per row besides the value. */
const bytesPerKey = 64
