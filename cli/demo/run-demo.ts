/**
 * The main job end to end: stream in, train, publish version 1, refresh to version 2 under the churn
 * budget, roll back and forward, read back, compare. Every step is the daemon's own code.
 * Invariant: equal source, seed and configuration give equal versions; a run that was cut short goes on with `resume`.
 */

import { churnBudgetDefault, SidestreamError } from '../../schemas/index.ts'
import type { Config, ErrorCode, SourceEvent } from '../../schemas/index.ts'
import {
  clearDirectory,
  compareVersions,
  createTopics,
  describeVersion,
  importSources,
  listDeadLetters,
  neighborExamples,
  openProject,
  publishedVersions,
  rankVersions,
  startDaemon,
  versionDigest,
} from '../../pipeline/index.ts'
import type { Daemon, ImportSource, Logger, Project, TrainedRound } from '../../pipeline/index.ts'
import { comparableSteps } from './comparable-steps.ts'
import type { DemoReport, QualityRow, VersionFacts } from './demo-report.ts'

export interface DemoRequest {
  readonly title: string
  readonly sourceName: string
  readonly source: ImportSource
  readonly config: Config
  readonly seed: number
  /** Go on with what an earlier run left, instead of starting anew. */
  readonly resume: boolean
  readonly logger: Logger
  readonly onNote: (text: string) => void
  /** Ends the run in order; what it made stays, for `resume`. */
  readonly signal: AbortSignal
}

/** Records that may wait for the slowest reader before the feed waits too. */
const mostBehind = 4096

/**
 * Runs the demo in `config.dataDir`. What it makes on servers stays there: for `resume` when it fails, else for the caller to delete.
 * @throws SIDESTREAM_GUARD_REFUSED and others when version 2 was refused; SIDESTREAM_CLOSED when the signal aborts
 */
export async function runDemo(request: DemoRequest): Promise<DemoReport> {
  const { config, signal } = request
  const started = Date.now()
  if (!request.resume) await clearDirectory(config.dataDir, 'demo')
  if (config.log.driver === 'kafka') await createTopics(config)
  const project = await openProject(config, { logger: request.logger, signal })
  const watch = new Watch(request.onNote)
  try {
    const daemon = await startDaemon(project, { events: watch })
    try {
      return await Promise.race([mainJob(project, daemon, request, watch, started), interruption(signal)])
    } finally {
      await daemon.stop()
    }
  } finally {
    await project.close()
  }
}

/** @throws SIDESTREAM_CLOSED when the signal aborts; never resolves */
function interruption(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => reject(new SidestreamError('SIDESTREAM_CLOSED', 'the demo was interrupted: it goes on with --resume'))
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
}

async function mainJob(project: Project, daemon: Daemon, request: DemoRequest, watch: Watch, started: number): Promise<DemoReport> {
  const { onNote } = request
  const span = await feed(project, daemon, request, watch)
  onNote('everything is in the log; waiting until it is trained')
  await daemon.idle()
  const result = await daemon.refresh('demo-refresh')
  if (result.outcome !== 'live')
    throw new SidestreamError((result.code ?? 'SIDESTREAM_BUILD_REFUSED') as ErrorCode, `version 2 was not published: ${result.message}`)
  await switchBackAndForward(daemon, onNote)
  await daemon.idle()
  return reportOf(project, daemon, request, span, started)
}

/** Collects what the daemon tells while it works. */
class Watch {
  rounds = 0
  readonly #onNote: (text: string) => void

  constructor(onNote: (text: string) => void) {
    this.#onNote = onNote
  }

  onRound({ counts, losses }: TrainedRound): void {
    this.rounds++
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length
    this.#onNote(`round ${this.rounds}: ${counts.rows} rows, ${losses.length === 0 ? 'nothing to train on' : `loss ${mean.toFixed(3)}`}`)
  }

  onTask(_id: string, { message }: { readonly message: string }): void {
    this.#onNote(message)
  }
}

interface Span {
  from: number
  until: number
  interactions: number
  contents: number
  idEmbeddings: number
}

/** Streams the source in, never far ahead of its readers, and closes the topics. */
async function feed(project: Project, daemon: Daemon, { source, onNote, signal }: DemoRequest, watch: Watch): Promise<Span> {
  const span: Span = { from: Infinity, until: -Infinity, interactions: 0, contents: 0, idEmbeddings: 0 }
  const counted: ImportSource = {
    identity: () => source.identity(),
    events: async function* () {
      for await (const events of source.events()) {
        for (const event of events) count(span, event)
        yield events
      }
    },
  }
  let told = Date.now()
  const report = await importSources(project, [counted], {
    end: true,
    pace: async () => {
      while (firstVersionIsBuilding(daemon) || Math.max(0, ...Object.values((await daemon.status()).lag)) > mostBehind) {
        signal.throwIfAborted()
        await Promise.race([daemon.failed(), new Promise((resolve) => setTimeout(resolve, 5))])
      }
    },
    onProgress: ({ appended, skipped }) => {
      if (Date.now() - told < 3000) return
      told = Date.now()
      onNote(`${appended + skipped} records streamed in, ${watch.rounds} rounds trained`)
    },
  })
  onNote(`${report.appended} records streamed in${report.skipped > 0 ? `, ${report.skipped} were there already` : ''}`)
  return span
}

/** While version 1 is built the feed waits, so that there is something left to arrive while a version is live. */
function firstVersionIsBuilding(daemon: Daemon): boolean {
  const { control } = daemon.owner!
  return control.all('build').length === 1 && control.all('done').length === 0
}

function count(span: Span, event: SourceEvent): void {
  if (event.topic === 'interactions') span.interactions++
  else if (event.topic === 'item-content') span.contents++
  else span.idEmbeddings++
  if (event.topic !== 'interactions') return
  span.from = Math.min(span.from, event.eventTs)
  span.until = Math.max(span.until, event.eventTs)
}

/** Version 1 live again, then version 2: one pointer move each. */
async function switchBackAndForward(daemon: Daemon, onNote: (text: string) => void): Promise<void> {
  const back = await daemon.versions.rollback('demo-rollback')
  onNote(`rolled back: version ${back.change.version} was live again`)
  const forward = await daemon.versions.activate(2, 'demo-forward')
  onNote(`rolled forward: version ${forward.change.version} is live`)
}

async function reportOf(project: Project, daemon: Daemon, request: DemoRequest, span: Span, started: number): Promise<DemoReport> {
  const { config } = project
  const { lanes, control } = daemon.owner!
  const { state } = lanes
  const judged = control.all('judged').at(-1)
  const trained = control.all('trained')
  const judgement = (judged?.body.report ?? null) as DemoReport['judgement']
  const window = judgement?.window ?? { from: span.until - config.refresh.evalWindowMs, until: span.until + 1 }
  const sets = await rankVersions(project, state, [1, 2], window)
  const change = await compareVersions(project, state, 1, 2)
  const history = await publishedVersions(project)
  const status = await daemon.status()
  const freshness = daemon.versions.freshness
  const versions: VersionFacts[] = []
  for (const build of control.all('build')) {
    const { version, reason } = build.body
    const figures = await describeVersion(project, state, version)
    const done = control.find('done', build.id)
    versions.push({ ...figures, reason, buildMs: (done?.at ?? build.at) - build.at, digest: await versionDigest(project, version) })
  }
  return {
    title: request.title,
    source: request.sourceName,
    seed: request.seed,
    seconds: (Date.now() - started) / 1000,
    counts: {
      interactions: span.interactions,
      contents: span.contents,
      idEmbeddings: span.idEmbeddings,
      samples: trained.reduce((sum, { body }) => sum + body.rows - body.replayed, 0),
      deadLetters: (await listDeadLetters(project)).length,
      late: status.owner?.late ?? 0,
    },
    from: span.from,
    until: span.until,
    ...comparableSteps(trained.map(({ body }) => body)),
    rounds: trained.map(({ body: { round, rows, replayed, losses } }) => ({
      round,
      rows: rows - replayed,
      loss: losses.length === 0 ? null : losses.reduce((sum, loss) => sum + loss, 0) / losses.length,
    })),
    versions,
    judgement,
    quality: sets.map(({ name, summary }): QualityRow => ({
      name,
      allPop: finite(summary.pop),
      allRecall10: finite(summary.recall10),
      warmPop: finite(summary.warmPop),
      warmRecall10: finite(summary.warmRecall10),
      coldPop: finite(summary.coldPop),
      coldRecall10: finite(summary.coldRecall10),
    })),
    freshness: { ...freshness.summary(), bins: freshness.bars() },
    change: {
      items: change.items,
      churn: change.churn.full,
      churnFirstCode: change.churn.prefix[0] ?? 0,
      churnBudget: config.semanticIds.churnBudget ?? churnBudgetDefault,
      cosineBins: histogram(change.cosines?.aligned ?? new Float64Array(0), 100),
      meanCosine: meanOf(change.cosines?.aligned),
      meanPlainCosine: meanOf(change.cosines?.plain),
    },
    history: history.map(({ seq, version, action }) => ({ seq, version, action })),
    examples: (await neighborExamples(project, state, 2, 5)).map(({ firstLikedTs, ...example }) => ({
      ...example,
      cold: (firstLikedTs ?? Infinity) >= window.from,
    })),
  }
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)

const meanOf = (values: Float64Array | undefined): number | null =>
  values === undefined ? null : values.reduce((sum, value) => sum + value, 0) / values.length

/** Counts in equal bins over [-1, 1]. */
function histogram(values: Float64Array, bins: number): { from: number; to: number; count: number }[] {
  const width = 2 / bins
  const counts = Array.from({ length: bins }, (_, i) => ({ from: -1 + i * width, to: -1 + (i + 1) * width, count: 0 }))
  for (const value of values) counts[Math.min(bins - 1, Math.max(0, Math.floor((value + 1) / width)))]!.count++
  return counts
}
