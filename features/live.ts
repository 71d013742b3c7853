/**
 * Which version is live: activate, roll back, and making the records agree with the pointer.
 * Invariants: the pointer and its history are the truth, records follow them; a command is done at most once, however often it
 * is asked; a crash between the swap and the records leaves nothing that `reconcile` does not repair.
 */

import type { LivePointer, PointerChange, Store } from '../connectors/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { moveVersion } from './version-record.ts'
import type { VersionRecord } from './version-record.ts'
import { exclusively, listVersions, requireVersion, writeVersion } from './versions.ts'

export interface SwitchResult {
  /** `repeated`: this command was done before; nothing changed now. */
  readonly outcome: 'swapped' | 'repeated'
  readonly change: PointerChange
}

export interface ActivateRequest {
  readonly version: number
  /** Id of the command that asks; asking again with the same id changes nothing. */
  readonly commandId: string
}

/**
 * Makes a version live. It must be ready or kept, and its parent must be live.
 * @throws SIDESTREAM_BUILD_REFUSED when something else than its parent is live; SIDESTREAM_VERSION_GONE,
 * SIDESTREAM_VERSION_STATE_INVALID, SIDESTREAM_VERSION_UNKNOWN; SIDESTREAM_POINTER_MOVED when another process moved the pointer
 */
export async function activate(store: Store, project: string, { version, commandId }: ActivateRequest): Promise<SwitchResult> {
  return exclusively(store, project, async () => {
    const repeated = await doneBefore(store, project, commandId)
    if (repeated !== undefined) return repeated
    const record = await requireVersion(store, project, version)
    const live = await store.live(project)
    refuseUnlessWhole(record)
    if (live?.version === version) {
      throw new SidestreamError('SIDESTREAM_VERSION_STATE_INVALID', `version ${version} is live already`, {
        version,
        from: 'live',
        to: 'live',
      })
    }
    if (record.parent !== (live?.version ?? null)) {
      throw new SidestreamError(
        'SIDESTREAM_BUILD_REFUSED',
        `version ${version} follows ${record.parent ?? 'nothing'}, but ${live === undefined ? 'nothing' : `version ${live.version}`} is live: ` +
          'build a new version on what is live, or roll back to its parent first',
        { version, parent: record.parent, live: live?.version ?? null },
      )
    }
    return swap(store, project, live, version, 'activate', commandId)
  })
}

/**
 * Makes the parent of the live version live again. Forward is `activate`.
 * @throws SIDESTREAM_BUILD_REFUSED when nothing is live or it has no parent; SIDESTREAM_VERSION_GONE when the parent is collected
 */
export async function rollback(store: Store, project: string, commandId: string): Promise<SwitchResult> {
  return exclusively(store, project, async () => {
    const repeated = await doneBefore(store, project, commandId)
    if (repeated !== undefined) return repeated
    const live = await store.live(project)
    const parent = live === undefined ? null : (await requireVersion(store, project, live.version)).parent
    if (parent === null) {
      const what = live === undefined ? 'nothing is live' : `version ${live.version} is the first`
      throw new SidestreamError('SIDESTREAM_BUILD_REFUSED', `there is nothing to roll back to: ${what}`, { live: live?.version ?? null })
    }
    refuseUnlessWhole(await requireVersion(store, project, parent))
    return swap(store, project, live, parent, 'rollback', commandId)
  })
}

/**
 * Makes the records agree with the pointer and its history: run at start, and after every swap.
 * @returns the live pointer
 */
export async function reconcile(store: Store, project: string): Promise<LivePointer | undefined> {
  return exclusively(store, project, () => agree(store, project))
}

async function swap(
  store: Store,
  project: string,
  expected: LivePointer | undefined,
  version: number,
  action: 'activate' | 'rollback',
  commandId: string,
): Promise<SwitchResult> {
  const result = await store.swap({ project, expected, version, action, commandId })
  if (result.outcome === 'moved') {
    throw new SidestreamError(
      'SIDESTREAM_POINTER_MOVED',
      `another process moved the live pointer of ${project} to version ${result.live?.version ?? 'none'} meanwhile: look again, then decide`,
      { project, live: result.live?.version ?? null },
    )
  }
  await agree(store, project)
  return result
}

async function doneBefore(store: Store, project: string, commandId: string): Promise<SwitchResult | undefined> {
  const change = (await store.history(project, 0)).find((done) => done.commandId === commandId)
  if (change === undefined) return undefined
  await agree(store, project)
  return { outcome: 'repeated', change }
}

async function agree(store: Store, project: string): Promise<LivePointer | undefined> {
  const live = await store.live(project)
  const history = await store.history(project, 0)
  for (const record of await listVersions(store, project)) {
    const next = asHistorySays(record, live, history)
    if (next !== record) await writeVersion(store, next)
  }
  return live
}

/** The record as pointer and history say it must be; the same object when it is so already. */
function asHistorySays(record: VersionRecord, live: LivePointer | undefined, history: readonly PointerChange[]): VersionRecord {
  const last = history.findLastIndex(({ version }) => version === record.version)
  if (last < 0 || record.state === 'collecting' || record.state === 'gone') return record
  const since = history[last]!.at
  const isLive = live?.version === record.version
  const until = isLive ? null : (history[last + 1]?.at ?? null)
  const { state, liveSince, liveUntil } = record
  if (state === (isLive ? 'live' : 'kept') && liveSince === since && liveUntil === until) return record
  // Along legal moves: a version may have been replaced and made live again since its record was written.
  let next = record
  if (next.state === 'building') next = moveVersion(next, 'ready', since)
  if (next.state === 'live' && liveSince !== since) next = moveVersion(next, 'kept', since)
  if (next.state !== 'live') next = moveVersion(next, 'live', since)
  return until === null ? next : moveVersion(next, 'kept', until)
}

function refuseUnlessWhole({ version, state }: VersionRecord): void {
  if (state === 'collecting' || state === 'gone') {
    throw new SidestreamError('SIDESTREAM_VERSION_GONE', `version ${version} is ${state}: its values are deleted, build a new version`, {
      version,
    })
  }
  if (state === 'building') {
    throw new SidestreamError('SIDESTREAM_VERSION_STATE_INVALID', `version ${version} is still building: wait until it is ready`, {
      version,
      from: state,
      to: 'live',
    })
  }
}
