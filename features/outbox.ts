/**
 * Copies the pointer's history to the `feature-versions` topic, so that store and log never disagree for long.
 * Invariant: every change is appended at least once and in order; `seq` makes repeats harmless.
 */

import type { Store } from '../connectors/index.ts'
import type { FeatureVersion } from '../schemas/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { requireVersion } from './versions.ts'

export interface FeatureVersionSink {
  /** Resolves when the rows are durable. */
  append(rows: readonly FeatureVersion[]): Promise<void>
}

/**
 * Copies changes with seq > `afterSeq`.
 * @param afterSeq - seq of the newest row that is in the log for sure; 0 when none is
 * @returns seq of the last change copied, to be passed next time
 */
export async function copyOutbox(store: Store, project: string, afterSeq: number, sink: FeatureVersionSink): Promise<number> {
  const changes = await store.history(project, afterSeq)
  if (changes.length === 0) return afterSeq
  const rows: FeatureVersion[] = []
  for (const { seq, version, action, at, commandId } of changes) {
    const { head, codebook, trainedUntil, teacherUntil, codebookUntil } = await requireVersion(store, project, version)
    rows.push({ seq, version, action, at, commandId, head, codebook, trainedUntil, teacherUntil, codebookUntil })
  }
  await sink.append(rows)
  return changes.at(-1)!.seq
}

/** False when the store does not have the change `seq`, which was copied from it: it was emptied, or is an older copy. */
export async function hasChange(store: Store, project: string, seq: number): Promise<boolean> {
  return seq === 0 || (await store.history(project, seq - 1)).some((change) => change.seq === seq)
}

/**
 * Makes the moves of the pointer again that the store has lost, as `feature-versions` has them; at the store's time of now.
 * @throws SIDESTREAM_POINTER_MOVED when somebody else moves the pointer meanwhile
 */
export async function repeatChanges(store: Store, project: string, rows: readonly FeatureVersion[]): Promise<void> {
  const done = (await store.history(project, 0)).at(-1)?.seq ?? 0
  for (const { seq, version, action, commandId } of rows) {
    if (seq <= done) continue
    const { outcome } = await store.swap({ project, expected: await store.live(project), version, action, commandId })
    if (outcome !== 'moved') continue
    throw new SidestreamError('SIDESTREAM_POINTER_MOVED', `another process moves the live pointer of ${project} while it is restored`)
  }
}
