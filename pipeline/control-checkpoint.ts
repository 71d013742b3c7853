/**
 * What the control log said up to some place, kept in the data directory: a start reads the log from there.
 * Invariant: it only saves reading. It is used when the record it ends at stands in the log as it did; else, and for whatever else
 * is doubtful about it, the log is read from its beginning.
 */

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { z } from 'zod'

import { isSidestreamError, writeWhole } from '../schemas/index.ts'
import type { LogRecord } from '../connectors/index.ts'
import { controlBody, offsetText } from './control-records.ts'
import type { ControlEntry, ControlKind } from './control-records.ts'
import type { Project } from './project.ts'

/** The last record that was read. */
export interface ControlPlace {
  readonly offset: bigint
  /** Of its key, value and headers. */
  readonly sha256: string
}

/** Entries that the log holds up to `last`, oldest first: those that anybody may still ask for. */
export interface ControlCheckpoint {
  readonly last: ControlPlace
  readonly entries: readonly ControlEntry[]
}

const saved = z.object({
  format: z.literal(1),
  project: z.string(),
  last: z.object({ offset: offsetText, sha256: z.string() }),
  entries: z.array(z.object({ kind: z.string(), id: z.string(), at: z.number(), offset: offsetText, body: z.unknown() })),
})

export function placeOf({ key, value, headers, offset }: LogRecord): ControlPlace {
  const hash = createHash('sha256')
  const parts = [key, value, ...headers.flatMap(([name, bytes]) => [Buffer.from(name), bytes])]
  for (const part of parts) hash.update(part === null ? '-' : `${part.length} `).update(part ?? '')
  return { offset, sha256: hash.digest('hex') }
}

/** @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE */
export async function saveControl({ config }: Pick<Project, 'config'>, { last, entries }: ControlCheckpoint): Promise<void> {
  const text = JSON.stringify({ format: 1, project: config.project, last, entries }, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  )
  await writeWhole(pathOf(config.dataDir), (handle) => handle.writeFile(text))
}

/** The checkpoint of this log; undefined when there is none that can be used. @throws what reading the log throws */
export async function loadControl({
  config,
  log,
  logger,
}: Pick<Project, 'config' | 'log' | 'logger'>): Promise<ControlCheckpoint | undefined> {
  const text = await readFile(pathOf(config.dataDir), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const checkpoint = parsed(text, config.project)
  if (checkpoint !== undefined && (await stands(log, checkpoint.last))) return checkpoint
  logger.warn({}, 'the control log is read from its beginning: what was kept of it in the data directory is damaged, or of another log')
  return undefined
}

const pathOf = (dataDir: string): string => join(dataDir, 'control.checkpoint')

function parsed(text: string, project: string): ControlCheckpoint | undefined {
  const stored = saved.safeParse(jsonOf(text))
  if (!stored.success || stored.data.project !== project) return undefined
  const { last, entries } = stored.data
  const read: ControlEntry[] = []
  for (const { kind, id, at, offset, body } of entries) {
    const known = controlBody(kind, body)
    if (known === undefined) return undefined
    read.push({ kind: kind as ControlKind, id, at, offset: BigInt(offset), body: known })
  }
  return { last: { ...last, offset: BigInt(last.offset) }, entries: read }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Whether the log holds the record, at its place. */
async function stands(log: Project['log'], { offset, sha256 }: ControlPlace): Promise<boolean> {
  let found = false
  const look = ({ records }: { readonly records: readonly LogRecord[] }): void => {
    found ||= records.some((record) => record.offset === offset && placeOf(record).sha256 === sha256)
  }
  try {
    await log.read('control', look, { from: [offset], upTo: [offset + 1n] })
  } catch (error) {
    if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_STATE_GAP') throw error // the log ends before it
  }
  return found
}
