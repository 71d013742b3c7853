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
  listVersions,
  moveVersion,
  readVersion,
  reconcile,
  requireVersion,
  rollback,
  updateVersion,
  valueBytes,
} from '../features/index.ts'
import type { SwitchResult, VersionPlan, VersionRecord } from '../features/index.ts'
import type { Bundle } from '../semantic-ids/index.ts'
import { semanticIdView, SidestreamError, viewDims } from '../schemas/index.ts'
import type { FeatureVersion } from '../schemas/index.ts'
import type { LogProducer } from '../connectors/index.ts'
import type { ControlBody } from './control-records.ts'
import { Embedder } from './embedder.ts'
import type { Project } from './project.ts'
import { bundleName, readBundle } from './bundles.ts'
import { readCheckpoint } from './training.ts'
import { VersionWriter } from './version-writer.ts'
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
  async build({ plan, head, bundle, trainedUntil }: VersionBuild): Promise<void> {
    const { store, config } = this.#project
    const stored = await readVersion(store, this.#name, plan.version)
    if (stored !== undefined && stored.state !== 'building') return
    const record = stored ?? (await createVersion(store, this.#name, this.#planOf(plan, bundle, trainedUntil), config.store.maxBytes))
    const { writer } = await this.#startWriter(record, head, bundle)
    await writer.ready(plan.positions, this.#stopping.signal)
    await updateVersion(store, this.#name, plan.version, (version, at) => ({
      ...moveVersion(version, 'ready', at),
      metrics: { ...version.metrics, coverage: writer.coverage().map((part) => ({ ...part, next: String(part.next) })) },
    }))
  }

  /** Makes a version live; asking twice with one command id changes nothing. */
  async activate(version: number, commandId: string): Promise<SwitchResult> {
    await this.#catchUp(version)
    return this.#switched(await activate(this.#project.store, this.#name, { version, commandId }))
  }

  /** Makes the live version's parent live. */
  async rollback(commandId: string): Promise<SwitchResult> {
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
    if (this.#decides) await this.#copyOutbox()
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

  /** Ends the waiting for a build; `build` rejects with SIDESTREAM_CLOSED, and goes on when it is called again. */
  interrupt(): void {
    this.#stopping.abort(new SidestreamError('SIDESTREAM_CLOSED', 'the build was interrupted: it goes on at the next start'))
  }

  async stop(): Promise<void> {
    this.interrupt()
    for (const version of [...this.#running.keys()]) await this.#stopWriter(version)
    await this.#producer.close()
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
    this.#outboxSeq = await lastPublishedSeq(this.#project)
    await reconcile(this.#project.store, this.#name)
    await this.#copyOutbox()
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
    const live = await this.live()
    if (live !== undefined) this.#live = { version: live.version, since: live.liveSince ?? Infinity }
    if (!this.#publishes) return
    for (const record of await this.#neededVersions()) {
      // A build starts its own writer, when its head and codebooks are made.
      if (record.state === 'building' || this.#running.has(record.version)) continue
      await this.#resumeWriter(record)
    }
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

/** Every move of the live pointer as the log has it, each once. */
export async function publishedVersions({ log, codec }: Pick<Project, 'log' | 'codec'>): Promise<FeatureVersion[]> {
  const rows = new Map<number, FeatureVersion>()
  await log.read('feature-versions', (batch) => {
    for (const { value } of batch.records) {
      if (value === null) continue
      const row = codec.decode('feature-versions', value)
      rows.set(row.seq, row)
    }
  })
  return [...rows.values()].sort((a, b) => a.seq - b.seq)
}

async function lastPublishedSeq(project: Project): Promise<number> {
  return (await publishedVersions(project)).at(-1)?.seq ?? 0
}
