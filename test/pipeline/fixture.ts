/**
 * A running project for tests: small in every dimension, with a clock that the test moves, and helpers that append events
 * and wait until all is done. Memory drivers, or file log and LMDB where a test restarts.
 */

import type { TestContext } from 'node:test'
import { hashUnit } from '../../compute/index.ts'
import { readVersion } from '../../features/index.ts'
import type { Feature, VersionRecord } from '../../features/index.ts'
import { InputFeed, openProject, readFeatures, startDaemon } from '../../pipeline/index.ts'
import type { Daemon, Project } from '../../pipeline/index.ts'
import { checkConfig } from '../../schemas/index.ts'
import type { Config, SourceEvent } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'

export const hourMs = 3_600_000
/** 2026-01-05T00:00:00Z, the start of a round. */
export const startTs = 1_767_571_200_000
export const latenessMs = 60_000

const modalities = { image: { dim: 8 }, text: { dim: 6 } }
const tasteDim = 3

/** Items that the first codebooks want: `rowsPerCode` times the largest level. */
export const wantedItems = 24

type Changes = { readonly [group: string]: object }

/** Everything the daemon does, small: nothing is scheduled, and the guard lets all pass unless a test says otherwise. */
export function testConfig(dataDir: string, changes: Changes = {}): Config {
  const groups: Record<string, object> = {
    content: { modalities },
    interactions: { positiveBehaviors: ['click'], otherBehaviors: ['view'] },
    head: { dim: 8, prefixes: [4, 8], hidden: 8 },
    training: { batch: 16, warmupSteps: 2, learningRate: 0.02, latenessMs, idleMs: hourMs },
    semanticIds: { levels: [8, 8], rowsPerCode: 3, iterations: 6, churnBudget: 0.3, distortionCeiling: 100 },
    views: { main: { prefix: 'full', dtype: 'f16' }, small: { prefix: 4, dtype: 'i8' } },
    refresh: { everyMs: 0, bootstrapMs: 1000 * hourMs, evalWindowMs: hourMs },
    guard: { mode: 'report', minEvents: 5 },
    log: { driver: 'memory', partitions: 1, groupCommitMs: 0 },
    store: { driver: 'memory' },
  }
  for (const [group, options] of Object.entries(changes)) {
    groups[group] = group === 'content' || group === 'views' ? options : { ...groups[group], ...options }
  }
  return checkConfig({ project: 'test', dataDir, seed: 1, ...groups })
}

/** Groups of a project on disk: it can be stopped and started again. */
export const onDisk = {
  log: { driver: 'file', partitions: 1, groupCommitMs: 0 },
  store: { driver: 'lmdb', maxBytes: 100_000_000, mapSizeBytes: 268_435_456 },
}

export interface TestOptions {
  readonly changes?: Changes
  /** Last word on the parsed configuration, for values that no file may have. */
  readonly adjust?: (config: Config) => Config
  /** Put between the drivers and the daemon. */
  readonly wrap?: (project: Project) => Project
}

const draw = (name: string): number => hashUnit(7, name)
export const normal = (name: string): number => Math.sqrt(-2 * Math.log(1 - draw(`${name}/r`))) * Math.cos(2 * Math.PI * draw(`${name}/a`))
const taste = (name: string, d: number): number => normal(`taste ${name} ${d}`)

/** Content that shows an item's taste with some noise; another edition is other content. */
export function contentOf(itemId: string, eventTs: number, { edition = 0, lacks = '' } = {}): SourceEvent {
  const vectors: Record<string, Float32Array> = {}
  for (const [name, { dim }] of Object.entries(modalities)) {
    if (name === lacks) continue
    vectors[name] = Float32Array.from({ length: dim }, (_, k) => {
      let signal = 0.5 * normal(`noise ${itemId} ${edition} ${name} ${k}`)
      for (let d = 0; d < tasteDim; d++) signal += taste(`${itemId} ${edition}`, d) * normal(`map ${name} ${k} ${d}`)
      return signal
    })
  }
  return { topic: 'item-content', itemId, eventTs, record: { itemId, eventTs, vectors } }
}

export function tombstoneOf(itemId: string, eventTs: number): SourceEvent {
  return { topic: 'item-content', itemId, eventTs, record: null }
}

export function clickOf(userId: string, itemId: string, eventTs: number, behaviors: readonly string[] = ['click']): SourceEvent {
  return { topic: 'interactions', eventTs, record: { userId, itemId, eventTs, behaviors: [...behaviors] } }
}

export const itemIds = (count: number, first = 0): string[] => Array.from({ length: count }, (_, i) => `item-${first + i}`)

/** `count` items, one per second from `fromTs` on. */
export function items(count: number, fromTs = startTs, first = 0): SourceEvent[] {
  return itemIds(count, first).map((id, i) => contentOf(id, fromTs + i * 1000))
}

/** `count` clicks of 8 users, evenly over an hour from `fromTs`; each user clicks what is nearest to its taste among some. */
export function clicks(count: number, fromTs: number, catalogue: readonly string[], spanMs = hourMs): SourceEvent[] {
  return Array.from({ length: count }, (_, n) => {
    const user = `user-${n % 8}`
    const shown = Array.from({ length: 6 }, (_, k) => catalogue[Math.floor(draw(`shown ${fromTs} ${n} ${k}`) * catalogue.length)]!)
    const liking = (id: string): number => [0, 1, 2].reduce((sum, d) => sum + taste(user, d) * taste(`${id} 0`, d), 0)
    const best = shown.reduce((a, b) => (liking(b) > liking(a) ? b : a))
    return clickOf(user, best, fromTs + Math.floor(((n + 0.5) * spanMs) / count))
  })
}

/** A project with its daemon. What it opened is closed after the test. */
export class TestProject {
  /** Wall clock of log, store and daemon; far after all events, and moved by the test alone. */
  now = startTs + 1000 * hourMs
  project!: Project
  daemon!: Daemon
  readonly directory: string
  readonly #options: TestOptions
  #opened: Project | undefined

  private constructor(directory: string, options: TestOptions) {
    this.directory = directory
    this.#options = options
  }

  static async open(t: TestContext, options: TestOptions = {}): Promise<TestProject> {
    const { directory, remove } = await scratchDirectory()
    const test = new TestProject(directory, options)
    t.after(async () => {
      await test.stop()
      await remove()
    })
    await test.start()
    return test
  }

  /** Opens the project and starts the daemon, again after `stop`; only a project on disk remembers. `more` wins over the first options. */
  async start(more: Pick<TestOptions, 'wrap' | 'adjust'> = {}): Promise<void> {
    const given: TestOptions = { ...this.#options, ...more }
    const { changes = {}, adjust = (config) => config, wrap = (project) => project } = given
    this.#opened = await openProject(adjust(testConfig(this.directory, changes)), { clock: () => this.now })
    this.project = wrap(this.#opened)
    this.daemon = await startDaemon(this.project)
  }

  async stop(): Promise<void> {
    const opened = this.#opened
    this.#opened = undefined
    if (opened === undefined) return
    await this.daemon.stop()
    await opened.close()
  }

  /** Appends events and waits until nothing is left to do. */
  async feed(...events: readonly (SourceEvent | readonly SourceEvent[])[]): Promise<void> {
    const feed = await InputFeed.open(this.project)
    await feed.append(events.flat() as SourceEvent[])
    await feed.close()
    await this.daemon.idle()
  }

  /** Says in every partition that event time has come to `ts`, with records that make no item and no sample. */
  async advance(ts: number): Promise<void> {
    const at = ts + latenessMs
    await this.feed(tombstoneOf('pacer', at), clickOf('pacer', 'pacer', at, ['view']))
  }

  /** End marks: nothing more will come. */
  async end(): Promise<void> {
    const feed = await InputFeed.open(this.project)
    await feed.end()
    await feed.close()
    await this.daemon.idle()
  }

  /** Enough items for version 1 in the first hour, and that hour's end. */
  async bootstrap(count = wantedItems): Promise<void> {
    await this.feed(items(count))
    await this.advance(startTs + hourMs)
  }

  async read(
    ids: readonly string[],
    { view = 'main', version }: { view?: string; version?: number } = {},
  ): Promise<readonly (Feature | undefined)[]> {
    return (await readFeatures(this.project, view, ids, version)).features
  }

  async readOne(id: string, options: { view?: string; version?: number } = {}): Promise<Feature | undefined> {
    return (await this.read([id], options))[0]
  }

  async live(): Promise<number | null> {
    return (await this.daemon.status()).live
  }

  async record(version: number): Promise<VersionRecord | undefined> {
    return readVersion(this.project.store, this.project.config.project, version)
  }

  /** The control log's entries of a kind. */
  get control(): NonNullable<Daemon['owner']>['control'] {
    return this.daemon.owner!.control
  }
}
