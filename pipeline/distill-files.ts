/**
 * Distillation over files: the streaming job's code without a log.
 * Invariants: a head appears whole or not at all, after its report; equal files and options give equal bytes, stopped on the way
 * or not; a head that was refused has another name than one that passed.
 */

import { mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { decodeCheckpoint, distillOffline, encodeCheckpoint, encodeHead, headModel } from '../distill/index.ts'
import type { Checkpoint, CheckpointParts, Head, OfflineOptions, OfflineProgress, OfflineReport, OfflineRecords } from '../distill/index.ts'
import {
  fileError,
  fileExists,
  isSidestreamError,
  readContent,
  readIdEmbeddings,
  readInteractions,
  readItemPairs,
  SidestreamError,
  writeWhole,
} from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { Artifacts } from '../connectors/index.ts'
import { openArtifacts } from './compose.ts'
import { fingerprintOf, forgetRun, hasRun, keepRun, readRun } from './distill-run.ts'
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
  /** Makes `report.html`. @default there is none */
  readonly page?: (report: DistillReport) => Promise<string>
  readonly onProgress?: (progress: OfflineProgress) => void
}

export const distillDefaults = { holdOut: 0.1, keepEvery: 1000 } as const

/** `report.json`. */
export interface DistillReport extends OfflineReport {
  /** `reported`: it failed a clause, and `guard.mode` only says so; null: nothing was held out. */
  readonly verdict: 'pass' | 'refused' | 'reported' | null
  /** Rows of the files that were left out, and the first one's reason. */
  readonly leftOut: Readonly<Record<string, { readonly rows: number; readonly first: string }>>
}

export interface DistillOutcome {
  readonly report: DistillReport
  /** Steps done and in all when it was stopped; null when there is a head. */
  readonly stopped: { readonly stage: string; readonly done: number } | null
}

const names = { head: 'head', refused: 'refused-head', mixed: 'mixed-head', lastGood: 'last-good' } as const
const endPrefix = 'end-'
const artifactEnding = '.artifact'
const onnxPart = 'head.onnx'

/**
 * Trains a head on files and writes it with `head.onnx` (plain ONNX), `report.json` and `report.html`.
 * @throws what the readers and the trainer throw; SIDESTREAM_USAGE_INVALID when `out` holds a head or a run already;
 * SIDESTREAM_GUARD_REFUSED with every reason, after it was written as `refused-head`
 */
export async function distillFiles(config: Config, files: DistillFiles): Promise<DistillOutcome> {
  const { holdOut = distillDefaults.holdOut, resume = false, steps, start: startDirectory, out } = files
  await mkdir(out, { recursive: true }).catch((error: unknown) => {
    throw fileError(out, error)
  })
  const artifacts = await openArtifacts(out)
  await requireFree(artifacts, out, resume)
  const start = startDirectory === undefined ? undefined : (await readDistilled(startDirectory, { training: false })).head
  const { content, interactions, sequences, head, training, seed } = config
  const fingerprint = await fingerprintOf(
    { content, interactions, sequences, head, training, seed, holdOut, steps, start: start && digestOf(start) },
    { interactions: files.interactions, content: files.content, idEmbeddings: files.idEmbeddings, pairs: files.pairs },
  )
  const from = resume ? await readRun(artifacts, fingerprint, out) : undefined
  const leftOut: Record<string, { rows: number; first: string }> = {}
  const { checkpoint, report, ends, mixed, stopped } = await distillOffline({
    ...recordsOf(config, files, leftOut),
    options: offlineOptions(config, files),
    ...(start && { start }),
    ...(from && { from }),
    keep: (kept) => keepRun(artifacts, fingerprint, kept),
    onDiverged: (good) => writeLastGood(artifacts, good),
    ...(files.shouldStop && { shouldStop: files.shouldStop }),
    ...(files.onProgress && { onProgress: files.onProgress }),
  }).catch((error: unknown) => {
    throw withAdvice(error, out)
  })
  const refused = report.judged?.judgement.verdict === 'refused'
  const verdict = report.judged === null ? null : !refused ? 'pass' : config.guard.mode === 'enforce' ? 'refused' : 'reported'
  const whole: DistillReport = { ...report, sources: { ...untaught(config, report), ...report.sources }, verdict, leftOut }
  if (stopped !== null) return { report: whole, stopped: { stage: stopped.name, done: report.steps } }
  await writeText(join(out, 'report.json'), `${JSON.stringify(whole)}\n`)
  if (files.page) await writeText(join(out, 'report.html'), await files.page(whole))
  const { training: _, ...trained } = checkpoint
  // The last stage ends with the head itself.
  for (const { stage, head: ended } of ends.filter((end) => end.stage < report.plan.length - 1)) {
    await rewrite(artifacts, `${endPrefix}${report.plan[stage]!.name}`, encodeCheckpoint({ ...trained, head: ended }))
  }
  if (mixed !== null) {
    const between = encodeCheckpoint({ ...trained, head: mixed })
    between.parts.set(onnxPart, headModel(mixed))
    await rewrite(artifacts, names.mixed, { ...between, about: { ...between.about, verdict: 'pass', k: report.mixed!.k } })
  }
  const { parts, about } = encodeCheckpoint(checkpoint)
  parts.set(onnxPart, headModel(checkpoint.head))
  const reasons = report.judged?.judgement.reasons ?? []
  await artifacts.write(verdict === 'refused' ? names.refused : names.head, parts, { ...about, verdict, reasons })
  await forgetRun(artifacts)
  await artifacts.remove(names.lastGood)
  if (verdict === 'refused') {
    throw new SidestreamError(
      'SIDESTREAM_GUARD_REFUSED',
      `the head was refused: ${reasons.join('; ')}. It is kept in ${out} as refused-head, with its report${
        mixed === null
          ? ''
          : `; the head at k = ${report.mixed!.k} between content and this one passes: take ${artifactIn(out, names.mixed)}`
      }`,
      { reasons, out, ...(mixed !== null && { mixed: artifactIn(out, names.mixed) }) },
    )
  }
  return { report: whole, stopped: null }
}

/** Where the plain ONNX file of a head stands that `distillFiles` wrote to `out`. */
export function headModelFile(out: string): string {
  return join(artifactIn(out, names.head), onnxPart)
}

function artifactIn(out: string, name: string): string {
  return join(out, `${name}${artifactEnding}`)
}

/**
 * The head that `distillFiles` wrote to a directory; when its training diverged, the last good one. The path of an artifact in it
 * names that one: `refused-head.artifact`, `mixed-head.artifact`, `end-<stage>.artifact`.
 * @param options.refused - whether one that was refused will do
 * @throws SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT
 */
export async function readDistilled(
  directory: string,
  { training, refused = false }: { readonly training: boolean; readonly refused?: boolean },
): Promise<Checkpoint> {
  const missing = (what: string): SidestreamError => new SidestreamError('SIDESTREAM_ARTIFACT_MISSING', `${directory}: ${what}`)
  if (basename(directory).endsWith(artifactEnding)) {
    const found = (await fileExists(directory))
      ? await readArtifact(await openArtifacts(dirname(directory)), directory, training)
      : undefined
    if (found === undefined) throw missing(`there is no such artifact; ${dirname(directory)} is where \`distill --out\` writes them`)
    return found
  }
  if (!(await fileExists(directory))) throw missing("there is no such directory; the head's is the one that `distill --out` wrote")
  const artifacts = await openArtifacts(directory)
  const known = await artifacts.list('')
  const name = [names.head, ...(refused ? [names.refused] : []), names.lastGood].find((one) => known.includes(one))
  if (name !== undefined) return (await readArtifact(artifacts, name, training))!
  if (known.includes(names.refused)) {
    const others = known.includes(names.mixed) ? `, or a mix that passes, ${artifactIn(directory, names.mixed)}` : ''
    throw missing(
      `the head in it was refused (report.html says why); take it all the same by its name, ${artifactIn(directory, names.refused)}${others}`,
    )
  }
  if (await hasRun(artifacts)) throw missing('the run in it has not ended; go on with `distill --resume`')
  throw missing('there is no head in it; name the directory that `distill --out` wrote')
}

/** @param name - of the artifact, or the path of its directory @returns undefined when there is no artifact of the name */
async function readArtifact(artifacts: Artifacts, name: string, training: boolean): Promise<Checkpoint | undefined> {
  const own = basename(name, artifactEnding)
  if (!(await artifacts.list('')).includes(own)) return undefined
  const { manifest, parts } = await artifacts.read(own)
  return decodeCheckpoint({ parts, about: manifest.about }, { training })
}

/** Instead of what an earlier, broken-off run left under the name. */
async function rewrite(artifacts: Artifacts, name: string, { parts, about }: CheckpointParts): Promise<void> {
  await artifacts.remove(name)
  await artifacts.write(name, parts, about)
}

/** @throws SIDESTREAM_USAGE_INVALID */
async function requireFree(artifacts: Artifacts, out: string, resume: boolean): Promise<void> {
  const usage = (message: string): SidestreamError => new SidestreamError('SIDESTREAM_USAGE_INVALID', `${out} ${message}`)
  const known = await artifacts.list('')
  for (const [name, what] of [
    [names.head, 'a head'],
    [names.refused, 'a refused head'],
  ] as const) {
    if (known.includes(name)) throw usage(`holds ${what} already: write to another directory, or remove that one first`)
  }
  if (!resume && (await hasRun(artifacts))) throw usage('holds a run that has not ended: go on with --resume, or remove it first')
}

function digestOf(head: Head): string[] {
  return [...encodeHead(head).values()].map((bytes) => Buffer.from(bytes).toString('base64'))
}

function recordsOf(config: Config, files: DistillFiles, leftOut: Record<string, { rows: number; first: string }>): OfflineRecords {
  // A bad ID embedding or pair costs itself alone; the main files are refused, since nobody knows what else is wrong with them.
  const count = (what: string) => (error: SidestreamError) => {
    const { rows, first } = leftOut[what] ?? { rows: 0, first: error.message }
    leftOut[what] = { rows: rows + 1, first }
  }
  return {
    interactions: readInteractions(files.interactions),
    content: readContent(files.content, config.content.modalities),
    ...(files.pairs !== undefined && { pairs: readItemPairs(files.pairs, { onInvalid: count('pairs') }) }),
    ...(files.idEmbeddings !== undefined && {
      idEmbeddings: readIdEmbeddings(files.idEmbeddings, { onInvalid: count('idEmbeddings') }),
    }),
  }
}

function offlineOptions(config: Config, { holdOut = distillDefaults.holdOut, keepEvery, steps }: DistillFiles): OfflineOptions {
  const { sources: _, ...trainer } = trainerOptions(config)
  return {
    head: headOptions({ config }),
    samples: { ...sampleOptions(config), emptyHistories: false },
    sets: setOptions(config),
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

async function writeLastGood(artifacts: Artifacts, checkpoint: Checkpoint): Promise<void> {
  await rewrite(artifacts, names.lastGood, encodeCheckpoint(checkpoint))
}

function withAdvice(error: unknown, out: string): unknown {
  if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_TRAINING_DIVERGED') return error
  return new SidestreamError(
    error.code,
    `${error.message} in ${out}: begin from it with \`--start ${out} --out OTHER\`, with a lower \`learningRate\` or a higher \`temperature\``,
    { cause: error, ...error.details },
  )
}

function writeText(file: string, text: string): Promise<unknown> {
  return writeWhole(file, (handle) => handle.writeFile(text))
}
