/**
 * The heads in a directory of `distill`: what they are called, how they are written, and which one is read.
 * Invariants: a head appears whole or not at all; one that was refused, or whose training was stopped, has a name that says so.
 */

import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { decodeCheckpoint, encodeCheckpoint, headModel } from '../distill/index.ts'
import type { Checkpoint, CheckpointParts, EndedStage, Head } from '../distill/index.ts'
import { fileExists, SidestreamError } from '../schemas/index.ts'
import type { Artifacts } from '../connectors/index.ts'
import { openArtifacts } from './compose.ts'
import { forgetRun, hasRun } from './distill-run.ts'

const names = {
  head: 'head',
  refused: 'refused-head',
  unfinished: 'unfinished-head',
  refusedUnfinished: 'refused-unfinished-head',
  mixed: 'mixed-head',
  lastGood: 'last-good',
} as const
const endPrefix = 'end-'
const artifactEnding = '.artifact'
const onnxPart = 'head.onnx'

/** A head that was judged, or would have been had something been held out. */
export interface TrainedHead {
  readonly checkpoint: Checkpoint
  readonly verdict: string | null
  readonly reasons: readonly string[]
  readonly isRefused: boolean
  /** Whether there is no more to train. */
  readonly isFinished: boolean
  /** A head between content and this one that passes instead, and its place. */
  readonly mixed: { readonly head: Head; readonly k: number } | null
}

/**
 * Writes a head with its ONNX under the name that it deserves, and removes what it takes the place of; of a finished run, all
 * that it was resumed from.
 * @returns paths of the artifacts
 */
export async function writeTrained(
  artifacts: Artifacts,
  out: string,
  { checkpoint, verdict, reasons, isRefused, isFinished, mixed }: TrainedHead,
): Promise<{ readonly head: string; readonly mixed: string | null }> {
  if (mixed === null) await artifacts.remove(names.mixed)
  else {
    const { training: _, ...trained } = checkpoint
    const between = withModel({ ...trained, head: mixed.head })
    await rewrite(artifacts, names.mixed, { ...between, about: { ...between.about, verdict: 'pass', k: mixed.k } })
  }
  const unfinished = isRefused ? names.refusedUnfinished : names.unfinished
  const name = isFinished ? (isRefused ? names.refused : names.head) : unfinished
  const { parts, about } = withModel(checkpoint)
  await rewrite(artifacts, name, { parts, about: { ...about, verdict, reasons } })
  for (const other of [names.unfinished, names.refusedUnfinished]) if (other !== name) await artifacts.remove(other)
  if (isFinished) {
    await forgetRun(artifacts)
    await artifacts.remove(names.lastGood)
  }
  return { head: artifactIn(out, name), mixed: mixed === null ? null : artifactIn(out, names.mixed) }
}

function withModel(checkpoint: Checkpoint): CheckpointParts {
  const encoded = encodeCheckpoint(checkpoint)
  encoded.parts.set(onnxPart, headModel(checkpoint.head))
  return encoded
}

/** Writes the head at the end of a stage alone: no moments, learned temperatures, projections of ID embeddings or pooler. */
export function writeEnd(artifacts: Artifacts, { name, checkpoint }: EndedStage): Promise<void> {
  const { training: _, ...trained } = checkpoint
  return rewrite(artifacts, `${endPrefix}${name}`, encodeCheckpoint(trained))
}

/** Writes the last good state of a training that diverged. */
export function writeLastGood(artifacts: Artifacts, checkpoint: Checkpoint): Promise<void> {
  return rewrite(artifacts, names.lastGood, encodeCheckpoint(checkpoint))
}

/** What to do when training has diverged. */
export function afterDivergence(out: string): string {
  const options = `--start ${artifactIn(out, names.lastGood)} --out OTHER`
  return `begin from its last good head with \`${options}\`, with a lower \`learningRate\` or a higher \`temperature\``
}

/** Where the plain ONNX file of a head stands. @param artifact - path that `distillFiles` gave */
export function headModelFile(artifact: string): string {
  return join(artifact, onnxPart)
}

function artifactIn(out: string, name: string): string {
  return join(out, `${name}${artifactEnding}`)
}

/**
 * The head that `distillFiles` wrote to a directory; when its training diverged, the last good one; when it was stopped, the
 * head of that moment. The path of an artifact in it
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
    const artifact = (await fileExists(directory))
      ? await readArtifact(await openArtifacts(dirname(directory)), directory, training)
      : undefined
    if (artifact === undefined) throw missing(`there is no such artifact; ${dirname(directory)} is where \`distill --out\` writes them`)
    return artifact
  }
  const found = await stat(directory).catch(() => undefined)
  if (found?.isDirectory() !== true)
    throw missing(`${found ? 'is a file' : 'there is no such directory'}; the head's is the one that \`distill --out\` wrote`)
  const artifacts = await openArtifacts(directory)
  const known = await artifacts.list('')
  const wanted = refused
    ? [names.head, names.refused, names.lastGood, names.unfinished, names.refusedUnfinished]
    : [names.head, names.lastGood, names.unfinished]
  const name = wanted.find((one) => known.includes(one))
  if (name !== undefined) return (await readArtifact(artifacts, name, training))!
  const kept = [names.refused, names.refusedUnfinished].find((one) => known.includes(one))
  if (kept !== undefined) {
    const others = known.includes(names.mixed) ? `, or a mix that passes, ${artifactIn(directory, names.mixed)}` : ''
    throw missing(
      `the head in it was refused (report.html says why); take it all the same by its name, ${artifactIn(directory, kept)}${others}`,
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

/** @throws SIDESTREAM_USAGE_INVALID when there is a head already, or a run that is not to be gone on with */
export async function requireFree(artifacts: Artifacts, out: string, resume: boolean): Promise<void> {
  const usage = (message: string): SidestreamError => new SidestreamError('SIDESTREAM_USAGE_INVALID', `${out} ${message}`)
  const known = await artifacts.list('')
  for (const [name, what] of [
    [names.head, 'a head'],
    [names.refused, 'a refused head'],
  ] as const) {
    if (known.includes(name)) throw usage(`holds ${what} already: write to another directory, or remove that one first`)
  }
  // Gone on with, it would take the same steps again.
  if (!resume && known.includes(names.lastGood)) throw usage(`holds a run that diverged: ${afterDivergence(out)}, or remove it first`)
  if (!resume && (await hasRun(artifacts))) throw usage('holds a run that has not ended: go on with --resume, or remove it first')
}
