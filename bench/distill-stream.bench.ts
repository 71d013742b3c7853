/**
 * Samples in the log to checkpoints on the embedded default: file log, LMDB, the generated world of the demo in hourly rounds, each with
 * two replayed rows per own row. Ingest has made the samples before; a fresh owner then takes in samples and content, builds
 * version 1 and trains one round after the other, each with its cut, its record in the control log and its checkpoint on disk.
 * Figures: `samples/s`, own samples of the rounds by the time from the start of the daemon to the last checkpoint; `rows/s in rounds`, all rows
 * trained on (replayed ones too) by the time after version 1; `share in steps`, how much of that time steps of training took.
 * Then the offline job over the same records in memory: samples times passes by its whole time.
 * Options: `--scale N` (the world in percent, 100), `--threads N` (1), `--partitions N` (2), `--passes N` (6), `--dir DIR`,
 * `--job stream|offline` (both).
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createWorld } from '../cli/demo/world.ts'
import { distillOffline, offlineDefaults, type ContentRecord } from '../distill/index.ts'
import { sampleOptions } from '../pipeline/ingest.ts'
import { InputFeed, openProject, startDaemon, type OwnerEvents, type Project, type TrainedRound } from '../pipeline/index.ts'
import { headOptions, trainerOptions } from '../pipeline/training.ts'
import { checkConfig, type Interaction, type SourceEvent } from '../schemas/index.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values: options } = parseArgs({
  options: {
    scale: { type: 'string', default: '100' },
    threads: { type: 'string', default: '1' },
    partitions: { type: 'string', default: '2' },
    passes: { type: 'string', default: String(offlineDefaults.passes) },
    dir: { type: 'string', default: tmpdir() },
    job: { type: 'string' },
  },
})
const threads = Number(options.threads)
const size = (full: number): number => Math.max(1, Math.round((full * Number(options.scale)) / 100))
const world = createWorld({ seed: 1, items: size(6000), users: size(4000), interactions: size(120_000) })
const directory = mkdtempSync(join(options.dir, 'sidestream-bench-'))
const config = checkConfig(
  {
    project: 'bench',
    dataDir: directory,
    content: { modalities: world.modalities },
    interactions: { positiveBehaviors: world.positiveBehaviors, otherBehaviors: world.otherBehaviors },
    semanticIds: { levels: [64, 64, 64] },
    refresh: { everyMs: 0 },
    training: { threads },
    log: { partitions: Number(options.partitions) },
  },
  { env: {} },
)
const inputs = (): SourceEvent[] => [...world.events()].filter(({ topic }) => topic !== 'id-embeddings')

/** Input records, their end and all samples. */
async function fill(project: Project): Promise<void> {
  const events = inputs()
  const feed = await InputFeed.open(project)
  for (let from = 0; from < events.length; from += 512) await feed.append(events.slice(from, from + 512))
  await feed.end()
  await feed.close()
  const daemon = await startDaemon(project, { roles: ['ingest'] })
  await daemon.idle()
  await daemon.stop()
}

/** What the owner tells, with the time of it. */
class Watch implements OwnerEvents {
  readonly rounds: TrainedRound[] = []
  versionAt = NaN
  lastRoundAt = NaN
  /** Time of steps: a round's first one begins unseen and counts as the median of the others. */
  stepMs = 0
  #steps: number[] = []

  onStep(): void {
    this.#steps.push(performance.now())
  }

  onRound(round: TrainedRound): void {
    this.rounds.push(round)
    this.lastRoundAt = performance.now()
    const gaps = this.#steps.slice(1).map((at, i) => at - this.#steps[i]!)
    if (gaps.length > 0) this.stepMs += gaps.reduce((sum, gap) => sum + gap, 0) + median(gaps)
    this.#steps = []
  }

  onTask(): void {
    this.versionAt = performance.now()
  }
}

async function stream(): Promise<void> {
  const project = await openProject(config)
  try {
    await fill(project)
    const watch = new Watch()
    const others = watchOthers()
    const cpu = process.cpuUsage()
    const start = performance.now()
    const daemon = await startDaemon(project, { roles: ['distill', 'publish'], events: watch })
    await daemon.idle()
    const { user, system } = process.cpuUsage(cpu)
    const share = others()
    const { rounds } = watch
    const count = (of: (round: TrainedRound) => number): number => rounds.reduce((sum, round) => sum + of(round), 0)
    const rows = count(({ counts }) => counts.rows)
    const samples = rows - count(({ replayed }) => replayed)
    const steps = count(({ losses }) => losses.length)
    const roundsMs = watch.lastRoundAt - watch.versionAt
    const line = {
      bench: `distill stream, ${threads} threads`,
      'samples/s': figure((samples / (watch.lastRoundAt - start)) * 1000),
      'rows/s in rounds': figure((rows / roundsMs) * 1000),
      'own samples/s in rounds': figure((samples / roundsMs) * 1000),
      'share in steps': figure(watch.stepMs / roundsMs),
      'ms/step': figure(watch.stepMs / steps),
      samples,
      rows,
      steps,
      rounds: rounds.length,
      'version 1 s': figure((watch.versionAt - start) / 1000),
      'cpu s': figure((user + system) / 1e6),
      s: figure((watch.lastRoundAt - start) / 1000),
      'peak MB': Math.round(process.resourceUsage().maxRSS / 1024),
      others: share,
      node: process.version,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
    await daemon.stop()
  } finally {
    await project.close()
  }
}

async function offline(): Promise<void> {
  const passes = Number(options.passes)
  const interactions: Interaction[] = []
  const content: ContentRecord[] = []
  for (const event of inputs()) {
    if (event.topic === 'interactions') interactions.push(event.record)
    else if (event.topic === 'item-content') content.push({ itemId: event.itemId, content: event.record })
  }
  const others = watchOthers()
  const cpu = process.cpuUsage()
  const start = performance.now()
  let trainingAt = NaN
  const { report } = await distillOffline({
    interactions: [interactions],
    content: [content],
    options: {
      head: headOptions({ config }),
      samples: { ...sampleOptions(config), emptyHistories: false },
      trainer: trainerOptions(config),
      passes,
      seed: config.seed,
    },
    onProgress: ({ phase }) => {
      if (phase === 'train' && Number.isNaN(trainingAt)) trainingAt = performance.now()
    },
  })
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const line = {
    bench: `distill offline, ${threads} threads`,
    'samples/s': figure((report.rows * passes) / seconds),
    'samples/s in training': figure((report.rows * passes) / (seconds - (trainingAt - start) / 1000)),
    samples: report.rows,
    passes,
    steps: report.steps,
    'cpu s': figure((user + system) / 1e6),
    s: figure(seconds),
    'peak MB': Math.round(process.resourceUsage().maxRSS / 1024),
    others: others(),
    node: process.version,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const jobs: Readonly<Record<string, () => Promise<void>>> = { stream, offline }
try {
  if (options.job !== undefined) await jobs[options.job]!()
  else {
    // One process each, so that each peak of memory is its own.
    const given = process.argv.slice(2)
    for (const job of Object.keys(jobs)) {
      execFileSync(process.execPath, [...process.execArgv, import.meta.filename, ...given, '--job', job], { stdio: 'inherit' })
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
