/**
 * What can be asked of a project, however it is reached: opened here, through the socket of the daemon that owns its directory,
 * or over the servers it shares with its daemons. A caller never knows which.
 * Invariants: the same question gets the same answer and the same error codes on every way; a command with an id is done once.
 */

import type { FeatureRead, VersionRecord } from '../features/index.ts'
import type { PointerChange } from '../connectors/index.ts'
import type { VersionLine } from './commands.ts'
import type { ControlBody, ControlEntry } from './control-records.ts'
import type { DaemonStatus } from './daemon.ts'
import type { ListedLetter, RetryReport } from './dead-letters.ts'
import type { ImportReport } from './import.ts'
import type { TaskResult } from './owner-commands.ts'

/** Files to import, by path as this process sees them. */
export interface ImportRequest {
  readonly interactions?: string
  readonly content?: string
  readonly idEmbeddings?: string
  readonly pairs?: string
  /** A recipe file and the directory of its files. */
  readonly recipe?: { readonly file: string; readonly data: string }
  /** Whether nothing more will come: every partition is closed. */
  readonly end: boolean
}

export interface ImportEvents {
  onProgress?(counts: Pick<ImportReport, 'appended' | 'skipped'>): void
  /** A row that is left out, with the reason. Only the first ones are told; all are counted. */
  onRefused?(reason: string): void
  onNote?(text: string): void
}

export interface RefreshEvents {
  /** @param loss - mean of the step losses; null when there was nothing to train on */
  onRound?(round: number, rows: number, loss: number | null): void
  /** Another task of the owner ended. */
  onTask?(message: string): void
  onNote?(text: string): void
}

export interface FeatureRequest {
  /** @default the view that owns the semantic IDs */
  readonly view?: string
  readonly items: readonly string[]
  /** @default the live one */
  readonly version?: number
}

export interface LetterFilter {
  readonly topic?: string
  readonly code?: string
}

export interface ProjectCommands {
  /** Aborted, it stops between two batches; asked again, it goes on there. */
  importFiles(request: ImportRequest, events?: ImportEvents, signal?: AbortSignal): Promise<ImportReport>
  /** A refusal is an answer. Aborted, whoever has begun the refresh ends it. */
  refresh(id: string, events?: RefreshEvents, signal?: AbortSignal): Promise<TaskResult>
  listVersions(): Promise<VersionLine[]>
  showVersion(version: number): Promise<VersionRecord>
  activateVersion(version: number): Promise<PointerChange>
  rollbackVersion(): Promise<PointerChange>
  collectVersions(): Promise<number[]>
  readFeatures(request: FeatureRequest): Promise<FeatureRead>
  /** Oldest first. */
  listDeadLetters(filter: LetterFilter): Promise<ListedLetter[]>
  /** Those that were not retried yet. */
  retryDeadLetters(filter: LetterFilter): Promise<RetryReport>
  /** Of the daemon that was asked; undefined when none was. */
  status(): Promise<DaemonStatus | undefined>
  close(): Promise<void>
}

/** Tells what an entry of the control log means to whoever waits for the refresh `id`. */
export function tellRefresh(events: RefreshEvents, id: string, entry: ControlEntry): void {
  if (entry.kind === 'trained') {
    const { round, rows, losses } = entry.body as ControlBody<'trained'>
    events.onRound?.(round, rows, losses.length === 0 ? null : losses.reduce((sum, loss) => sum + loss, 0) / losses.length)
  }
  if (entry.kind === 'done' && entry.id !== id) events.onTask?.((entry.body as ControlBody<'done'>).message)
}
