/**
 * Distillation over files: the streaming job's code without a log.
 * Invariants: a head appears whole or not at all, after its report; equal files and options give equal bytes, stopped on the way
 * or not; a head that was refused has another name than one that passed.
 */

import { totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { getHeapStatistics } from 'node:v8'
import { distillOffline, encodeHead } from '../distill/index.ts'
import type { Head, OfflineOptions, OfflineProgress, OfflineReport, OfflineRecords } from '../distill/index.ts'
import {
  isSidestreamError,
  readContent,
  readIdEmbeddings,
  readInteractions,
  readItemPairs,
  requireWritable,
  SidestreamError,
  writeWhole,
} from '../schemas/index.ts'
import type { Config, ReadRecordsOptions } from '../schemas/index.ts'
import { openArtifacts } from './compose.ts'
import { fingerprintOf, keepRun, readRun } from './distill-run.ts'
import { afterDivergence, readDistilled, requireFree, writeEnd, writeLastGood, writeTrained } from './distilled-heads.ts'
import { sampleOptions, setOptions } from './ingest.ts'
import { judgeOptions } from './judge-options.ts'
import { headOptions, trainerOptions } from './training.ts'
import { configuredTeachers, configuredTraining } from './training-plan.ts'

export interface DistillFiles {
  readonly interactions: string
  readonly content: string
  readonly idEmbeddings?: string
  readonly pairs?: string
  /** Directory of the result: artifact `head`, or `refused-head`, those of `readDistilled`, and the report. */
  readonly out: string
  /** Directory of a head to begin from, or one artifact in it. @default PCA of the content */
  readonly start?: string
  /** Share of the interactions, the newest ones, that is judged by and not trained on; 0 judges nothing. @default 0.1 */
  readonly holdOut?: number
  /** No stage takes more steps than this. */
  readonly steps?: number
  /** Goes on with the run in `out`, if there is one. @default false */
  readonly resume?: boolean
  /** Steps between two checkpoints. Lower: less is lost when killed, more writing. @default 1000 */
  readonly keepEvery?: number
  /** Asked before each step: true stops in order, and `resume` goes on. */
  readonly shouldStop?: () => boolean
  /** Asked when it was stopped: whether the head of that moment is judged and written as `unfinished-head`. @default it is not */
  readonly judgeStopped?: () => boolean
  /** Makes `report.html`. @default there is none */
  readonly page?: (report: DistillReport) => Promise<string>
  /** @param share - of the file that has been read, up to 1 */
  readonly onRead?: (file: string, share: number) => void
  readonly onProgress?: (progress: OfflineProgress) => void
}

export const distillDefaults = { holdOut: 0.1, keepEvery: 1000 } as const

/** `report.json`. */
export interface DistillReport extends OfflineReport {
  /** `reported`: it failed a clause, and `guard.mode` only says so; null: nothing was held out. */
  readonly verdict: 'pass' | 'refused' | 'reported' | null
  /** By source of ids: its configured kinds of ID embeddings that teach no item. */
  readonly silentKinds: Readonly<Record<string, readonly string[]>>
  /** Rows of the files that were left out, and the first one's reason. */
  readonly leftOut: Readonly<Record<string, { readonly rows: number; readonly first: string }>>
}

export interface DistillOutcome {
  readonly report: DistillReport
  /** Path of the head's artifact; null when it was stopped and not judged. `report.stopped` says whether it is the last one. */
  readonly head: string | null
}

/**
 * Trains a head on files and writes it with `head.onnx` (plain ONNX), `report.json` and `report.html`.
 * @throws what the readers and the trainer throw; SIDESTREAM_USAGE_INVALID when `out` holds a head or a run already;
 * SIDESTREAM_GUARD_REFUSED with every reason, after it was written as `refused-head` or `refused-unfinished-head`
 */
export async function distillFiles(config: Config, files: DistillFiles): Promise<DistillOutcome> {
  try {
    return await distilled(config, files)
  } catch (error) {
    throw withAdvice(error, files.out)
  }
}

async function distilled(config: Config, files: DistillFiles): Promise<DistillOutcome> {
  const { holdOut = distillDefaults.holdOut, resume = false, steps, start: startDirectory, out } = files
  // Before hours of training, not after.
  await requireWritable(out)
  const artifacts = await openArtifacts(out)
  await requireFree(artifacts, out, resume)
  const begun = startDirectory === undefined ? undefined : await readDistilled(startDirectory, { training: false })
  const start = begun?.head
  const { content, interactions, sequences, head, training, seed } = config
  const fingerprint = await fingerprintOf(
    { content, interactions, sequences, head, training, seed, holdOut, steps, start: start && digestOf(start) },
    { interactions: files.interactions, content: files.content, idEmbeddings: files.idEmbeddings, pairs: files.pairs },
  )
  const from = resume ? await readRun(artifacts, fingerprint, out) : undefined
  const leftOut: Record<string, { rows: number; first: string }> = {}
  let isJudged = true
  const { checkpoint, report, mixed } = await distillOffline({
    ...recordsOf(config, files, leftOut),
    options: offlineOptions(config, files),
    ...(start && { start }),
    ...(begun?.taught && { startTaught: begun.taught }),
    ...(from && { from }),
    keep: (kept) => keepRun(artifacts, fingerprint, kept),
    memory: memoryOfProcess(),
    onStageEnd: (ended) => writeEnd(artifacts, ended),
    onDiverged: (good) => writeLastGood(artifacts, good),
    judgeStopped: () => (isJudged = files.judgeStopped?.() ?? false),
    ...(files.shouldStop && { shouldStop: files.shouldStop }),
    ...(files.onProgress && { onProgress: files.onProgress }),
  })
  const failed = report.judged?.judgement.verdict === 'refused'
  const verdict = report.judged === null ? null : !failed ? 'pass' : config.guard.mode === 'enforce' ? 'refused' : 'reported'
  const whole: DistillReport = {
    ...report,
    sources: { ...untaught(config, report), ...report.sources },
    silentKinds: silentKinds(config, report),
    verdict,
    leftOut,
  }
  if (!isJudged) return { report: whole, head: null }
  await writeText(join(out, 'report.json'), `${JSON.stringify(whole)}\n`)
  if (files.page) await writeText(join(out, 'report.html'), await files.page(whole))
  const reasons = report.judged?.judgement.reasons ?? []
  const isRefused = verdict === 'refused'
  const written = await writeTrained(artifacts, out, {
    checkpoint,
    verdict,
    reasons,
    isRefused,
    isFinished: report.stopped === null,
    mixed: mixed && { head: mixed, k: report.mixed!.k },
  })
  if (!isRefused) return { report: whole, head: written.head }
  const { stopped } = report
  throw new SidestreamError(
    'SIDESTREAM_GUARD_REFUSED',
    `the head ${stopped === null ? '' : `after ${stopped.done} of ${stopped.of} steps `}was refused: ${reasons.join('; ')}. It is kept in ${out} as ${basename(written.head, '.artifact')}, with its report${
      written.mixed === null ? '' : `; the head at k = ${report.mixed!.k} between content and this one passes: take ${written.mixed}`
    }${stopped === null ? '' : '; the same command with --resume goes on with the training'}`,
    { reasons, out, ...(written.mixed !== null && { mixed: written.mixed }), ...(stopped !== null && { stopped }) },
  )
}

function digestOf(head: Head): string[] {
  return [...encodeHead(head).values()].map((bytes) => Buffer.from(bytes).toString('base64'))
}

function recordsOf(config: Config, files: DistillFiles, leftOut: Record<string, { rows: number; first: string }>): OfflineRecords {
  // A bad ID embedding or pair costs itself alone, as an item without any vector does; other faults of the main files are refused,
  // since nobody knows what else is wrong with them.
  const count = (what: string) => (error: SidestreamError) => {
    const { rows, first } = leftOut[what] ?? { rows: 0, first: error.message }
    leftOut[what] = { rows: rows + 1, first }
  }
  const { interactions, content, pairs, idEmbeddings } = files
  const watched = (file: string): Pick<ReadRecordsOptions, 'onRead'> => ({ onRead: (share) => files.onRead?.(file, share) })
  return {
    interactions: readInteractions(interactions, {}, watched(interactions)),
    content: readContent(content, config.content.modalities, { onBare: count('content'), ...watched(content) }),
    ...(pairs !== undefined && { pairs: readItemPairs(pairs, { onInvalid: count('pairs'), ...watched(pairs) }) }),
    ...(idEmbeddings !== undefined && {
      idEmbeddings: readIdEmbeddings(idEmbeddings, { onInvalid: count('idEmbeddings'), ...watched(idEmbeddings) }),
    }),
  }
}

function offlineOptions(config: Config, { holdOut = distillDefaults.holdOut, keepEvery, steps }: DistillFiles): OfflineOptions {
  const { sources: _, ...trainer } = trainerOptions(config)
  return {
    head: headOptions({ config }),
    samples: { ...sampleOptions(config), emptyHistories: false },
    sets: setOptions(config),
    ...(config.sequences.contentCutFrom !== null && { contentCutFrom: config.sequences.contentCutFrom }),
    trainer,
    plan: (dims) => {
      const { sources, start, round } = configuredTraining(config, 'files', dims)
      const rowsOf = config.training.sources
      return {
        sources: sources.map((source) => ({ ...source, set: rowsOf[source.name]!.set, from: rowsOf[source.name]!.from })),
        stages: [...start, ...round],
      }
    },
    ...configuredTeachers(config),
    seed: config.seed,
    holdOut,
    judge: judgeOptions(config),
    keepEvery: keepEvery ?? distillDefaults.keepEvery,
    ...(steps !== undefined && { maxSteps: steps }),
  }
}

/** Sources of ids that nothing teaches: no kind of theirs has an ID embedding, so that there was nothing to build. */
function untaught({ training }: Config, { sources, items }: OfflineReport): OfflineReport['sources'] {
  const missing = Object.entries(training.sources).filter(([name]) => sources[name] === undefined)
  return Object.fromEntries(missing.map(([name, { kind }]) => [name, { kind, rows: 0, unknown: items, heldOut: 0 }]))
}

function silentKinds({ training }: Config, { sources }: OfflineReport): DistillReport['silentKinds'] {
  return Object.fromEntries(
    Object.entries(training.sources).flatMap(([name, { entities }]) => {
      const silent = entities.filter((kind) => (sources[name]?.teachers?.[kind]?.present ?? 0) === 0)
      return silent.length === 0 ? [] : [[name, silent] as const]
    }),
  )
}

/** Nine tenths of what Node and the machine, or its container, allow. */
function memoryOfProcess(): { readonly heapBytes: number; readonly totalBytes: number } {
  // Without a bound it is 0, or more than any machine has.
  const bound = process.constrainedMemory() || Infinity
  return { heapBytes: 0.9 * getHeapStatistics().heap_size_limit, totalBytes: 0.9 * Math.min(totalmem(), bound) }
}

function withAdvice(error: unknown, out: string): unknown {
  if (!isSidestreamError(error)) return error
  if (error.code === 'SIDESTREAM_DISK_FULL')
    return new SidestreamError(error.code, `${error.message}, with --resume: what was trained is kept`, { cause: error, ...error.details })
  if (error.code !== 'SIDESTREAM_TRAINING_DIVERGED') return error
  return new SidestreamError(error.code, `${error.message} in ${out}: ${afterDivergence(out)}`, { cause: error, ...error.details })
}

function writeText(file: string, text: string): Promise<unknown> {
  return writeWhole(file, (handle) => handle.writeFile(text))
}
