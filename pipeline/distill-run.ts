/**
 * An offline run on disk: what is kept while it trains, so that one that was killed goes on.
 * Invariants: of a run there is one checkpoint or, for a moment, two, each whole; it is gone on with only by the same records,
 * options and start.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { decodeCheckpoint, decodeHead, encodeCheckpoint, encodeHead } from '../distill/index.ts'
import type { KeptTraining, StageEnd, StagePosition, TrainingTrace } from '../distill/index.ts'
import { fileError, SidestreamError } from '../schemas/index.ts'
import type { Artifacts } from '../connectors/index.ts'

const prefix = 'run/'
const runPart = 'run.json'
const format = 1

/** The JSON beside the parts of a checkpoint. */
interface KeptRun {
  readonly format: number
  /** Of records, options and start. */
  readonly fingerprint: string
  readonly position: StagePosition
  readonly trace: TrainingTrace
  /** Stages whose last head is kept as `end-<stage>.…`. */
  readonly ends: readonly number[]
}

/** SHA-256 over plain JSON and the bytes of files, in order. @throws SIDESTREAM_FILE_UNREADABLE */
export async function fingerprintOf(options: object, files: Readonly<Record<string, string | undefined>>): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(options))
  for (const [role, file] of Object.entries(files)) {
    if (file === undefined) continue
    hash.update(`\n${role}\n`)
    try {
      for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
    } catch (error) {
      throw fileError(file, error)
    }
  }
  return hash.digest('hex')
}

/** Writes what training needs to go on, then removes what was kept before. */
export async function keepRun(artifacts: Artifacts, fingerprint: string, kept: KeptTraining): Promise<void> {
  const { position, checkpoint, trace, ends } = kept
  const { parts, about } = encodeCheckpoint(checkpoint)
  for (const { stage, head } of ends) for (const [part, bytes] of encodeHead(head)) parts.set(`end-${stage}.${part}`, bytes)
  const run: KeptRun = { format, fingerprint, position, trace, ends: ends.map(({ stage }) => stage) }
  parts.set(runPart, Buffer.from(JSON.stringify(run)))
  // Stopped before its first step, a stage may have been balanced since it was kept: that is another artifact.
  const name = `${prefix}${padded(position.stage, 3)}-${padded(position.done, 10)}-${padded(trace.balances.length, 3)}`
  await artifacts.write(name, parts, about)
  for (const other of await artifacts.list(prefix)) if (other !== name) await artifacts.remove(other)
}

function padded(number: number, digits: number): string {
  return String(number).padStart(digits, '0')
}

export async function hasRun(artifacts: Artifacts): Promise<boolean> {
  return (await artifacts.list(prefix)).length > 0
}

/** @throws SIDESTREAM_USAGE_INVALID when the run is of other records or options; SIDESTREAM_ARTIFACT_CORRUPT */
export async function readRun(artifacts: Artifacts, fingerprint: string, out: string): Promise<KeptTraining | undefined> {
  const newest = (await artifacts.list(prefix)).at(-1)
  if (newest === undefined) return undefined
  const { manifest, parts } = await artifacts.read(newest)
  const part = parts.get(runPart)
  if (part === undefined) throw new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `${newest} in ${out} lacks ${runPart}: remove ${out}`)
  const run = JSON.parse(Buffer.from(part).toString()) as KeptRun
  if (run.format !== format || run.fingerprint !== fingerprint) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      `the run in ${out} was begun with other files or options: give it the same ones, or train into another directory`,
    )
  }
  const endOf = (stage: number): StageEnd => {
    const own = [...parts].flatMap(([name, bytes]) => {
      const start = `end-${stage}.`
      return name.startsWith(start) ? [[name.slice(start.length), bytes] as const] : []
    })
    return { stage, head: decodeHead(new Map(own)) }
  }
  return {
    position: run.position,
    trace: run.trace,
    ends: run.ends.map(endOf),
    checkpoint: decodeCheckpoint({ parts, about: manifest.about }),
  }
}

/** The run is over. */
export async function forgetRun(artifacts: Artifacts): Promise<void> {
  for (const name of await artifacts.list(prefix)) await artifacts.remove(name)
}
