/**
 * Which versions nobody needs any more, and deleting them.
 * Invariants: never the live version, nor its parent within the rollback window; `collecting` is recorded before the first
 * byte is deleted and `gone` after the last, so a crash in between is taken up where it stopped.
 */

import type { LivePointer, Store } from '../connectors/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { moveVersion } from './version-record.ts'
import type { VersionRecord } from './version-record.ts'
import { exclusively, listVersions, updateVersion, writeVersion } from './versions.ts'

export interface CollectOptions {
  /** Earlier versions kept for rollback beside the live one. */
  readonly keepVersions: number
  /** How long a version stays after it was last live or pinned, milliseconds. */
  readonly graceMs: number
  /** How long after a switch the live version's parent stays, whatever `keepVersions` says, milliseconds. */
  readonly rollbackWindowMs: number
}

export interface CollectContext extends CollectOptions {
  readonly live: LivePointer | undefined
  /** Versions with a lease now. */
  readonly pinned: ReadonlySet<number>
  /** Store clock, milliseconds. */
  readonly now: number
}

/** Why a version stays, or that it may go. */
export type CollectVerdict = 'collect' | 'live' | 'building' | 'parent' | 'kept' | 'waiting' | 'pinned' | 'grace' | 'gone'

/**
 * Judges every version. Pure.
 * @returns one verdict per record, in order
 */
export function judgeCollection(records: readonly VersionRecord[], context: CollectContext): CollectVerdict[] {
  const { live, pinned, now, keepVersions, graceMs, rollbackWindowMs } = context
  const liveRecord = records.find(({ version }) => version === live?.version)
  const newestKept = records
    .filter(({ state }) => state === 'kept')
    .sort((a, b) => (b.liveUntil ?? 0) - (a.liveUntil ?? 0) || b.version - a.version)
    .slice(0, keepVersions)
  return records.map((record) => {
    const { version, state } = record
    if (state === 'gone' || state === 'building') return state
    if (state === 'collecting') return 'collect'
    if (version === live?.version || state === 'live') return 'live'
    if (version === liveRecord?.parent && now - (liveRecord.liveSince ?? now) < rollbackWindowMs) return 'parent'
    if (newestKept.includes(record)) return 'kept'
    if (state === 'ready' && record.parent === (live?.version ?? null)) return 'waiting' // it may still be activated
    if (pinned.has(version)) return 'pinned'
    const lastNeeded = Math.max(record.liveUntil ?? 0, record.pinnedAt ?? 0, record.readyAt ?? 0)
    return now < lastNeeded + graceMs ? 'grace' : 'collect'
  })
}

/**
 * Collects what may go; resumes what a crash interrupted.
 * @returns the versions that are gone now
 */
export async function collectVersions(store: Store, project: string, options: CollectOptions): Promise<number[]> {
  const marked = await exclusively(store, project, () => markCollecting(store, project, options))
  const gone: number[] = []
  for (const version of marked) {
    await store.collect(project, version)
    await updateVersion(store, project, version, (record, at) => (record.state === 'gone' ? record : moveVersion(record, 'gone', at)))
    gone.push(version)
  }
  return gone
}

/**
 * Gives up a version that was never live (a refused or broken build): the next collection deletes its values.
 * @throws SIDESTREAM_VERSION_STATE_INVALID when it is live or kept
 */
export async function abandonVersion(store: Store, project: string, version: number, reason: string): Promise<VersionRecord> {
  return updateVersion(store, project, version, (record, at) => {
    if (record.state === 'collecting' || record.state === 'gone') return record
    if (record.liveSince === null) return { ...moveVersion(record, 'collecting', at), reason }
    throw new SidestreamError(
      'SIDESTREAM_VERSION_STATE_INVALID',
      `version ${version} is ${record.state}: only a version that was never live can be given up`,
      {
        version,
        from: record.state,
        to: 'collecting',
      },
    )
  })
}

async function markCollecting(store: Store, project: string, options: CollectOptions): Promise<number[]> {
  const records = await listVersions(store, project)
  const now = await store.now()
  const pinned = new Set<number>()
  for (const record of records) {
    if (record.state === 'gone' || (await store.pins(project, record.version)).length === 0) continue
    pinned.add(record.version)
    // Remembered, so that the grace counts from when the lease was last seen.
    if (record.state !== 'collecting') await writeVersion(store, { ...record, pinnedAt: now })
  }
  const live = await store.live(project)
  const verdicts = judgeCollection(records, { ...options, live, pinned, now })
  const marked: number[] = []
  for (const [i, record] of records.entries()) {
    const leftover = record.state === 'gone' && (await store.usage(project, record.version)).entries > 0 // a writer that was late
    if (verdicts[i] !== 'collect' && !leftover) continue
    if (record.state !== 'collecting' && record.state !== 'gone') await writeVersion(store, moveVersion(record, 'collecting', now))
    marked.push(record.version)
  }
  return marked
}
