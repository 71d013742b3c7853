/**
 * Version records in the store: create, read, change.
 * Invariants: a record is changed by one caller of this process at a time (`exclusively`), and by the one control owner among
 * processes; a build that would not fit is refused before anything of it exists.
 */

import type { Store } from '../connectors/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { decodeVersion, encodeVersion } from './version-record.ts'
import type { VersionRecord } from './version-record.ts'

/** What a build knows of its version before it starts. */
export type VersionPlan = Omit<
  VersionRecord,
  'format' | 'state' | 'project' | 'createdAt' | 'readyAt' | 'liveSince' | 'liveUntil' | 'pinnedAt' | 'goneAt'
>

const turns = new WeakMap<Store, Map<string, Promise<unknown>>>()

/** Runs one change of a project's versions after the other. Not reentrant. */
export async function exclusively<T>(store: Store, project: string, run: () => Promise<T>): Promise<T> {
  const projects = turns.get(store) ?? new Map<string, Promise<unknown>>()
  turns.set(store, projects)
  const turn = (projects.get(project) ?? Promise.resolve()).then(run, run)
  projects.set(
    project,
    turn.catch(() => undefined),
  )
  return turn
}

/**
 * Creates a version in state `building`. Asked again for a version that is still building, it gives the stored record: a
 * restarted build goes on with its number.
 * @param maxBytes - most bytes that all versions not gone may take together, this one's estimate included
 * @throws SIDESTREAM_BUILD_REFUSED with the arithmetic; SIDESTREAM_VERSION_STATE_INVALID when the number is used
 */
export async function createVersion(store: Store, project: string, plan: VersionPlan, maxBytes: number): Promise<VersionRecord> {
  return exclusively(store, project, async () => {
    const stored = await readVersion(store, project, plan.version)
    if (stored?.state === 'building') return stored
    if (stored !== undefined) {
      throw new SidestreamError(
        'SIDESTREAM_VERSION_STATE_INVALID',
        `version ${plan.version} exists and is ${stored.state}: a build needs a new number`,
        { version: plan.version, from: stored.state, to: 'building' },
      )
    }
    await refuseAboveBudget(store, project, plan, maxBytes)
    const record: VersionRecord = {
      ...plan,
      format: 1,
      project,
      state: 'building',
      createdAt: await store.now(),
      readyAt: null,
      liveSince: null,
      liveUntil: null,
      pinnedAt: null,
      goneAt: null,
    }
    await writeVersion(store, record)
    return record
  })
}

/** The record, or undefined when there is none. */
export async function readVersion(store: Store, project: string, version: number): Promise<VersionRecord | undefined> {
  const bytes = await store.getVersion(project, version)
  return bytes === undefined ? undefined : decodeVersion(bytes)
}

/** The record. @throws SIDESTREAM_VERSION_UNKNOWN */
export async function requireVersion(store: Store, project: string, version: number): Promise<VersionRecord> {
  const record = await readVersion(store, project, version)
  if (record !== undefined) return record
  throw new SidestreamError('SIDESTREAM_VERSION_UNKNOWN', `project ${project} has no version ${version}; \`versions list\` shows them`, {
    project,
    version,
  })
}

/** All records, ascending. */
export async function listVersions(store: Store, project: string): Promise<VersionRecord[]> {
  return (await store.listVersions(project)).map(({ record }) => decodeVersion(record))
}

/**
 * Reads, changes and writes a record.
 * @param change - gets the record and the store's time; its answer is written
 * @throws SIDESTREAM_VERSION_UNKNOWN, and whatever `change` throws (then nothing is written)
 */
export async function updateVersion(
  store: Store,
  project: string,
  version: number,
  change: (record: VersionRecord, at: number) => VersionRecord,
): Promise<VersionRecord> {
  return exclusively(store, project, async () => {
    const next = change(await requireVersion(store, project, version), await store.now())
    await writeVersion(store, next)
    return next
  })
}

/** Writes a record as it is; for callers that hold `exclusively` already. */
export async function writeVersion(store: Store, record: VersionRecord): Promise<void> {
  await store.putVersion(record.project, record.version, encodeVersion(record))
}

async function refuseAboveBudget(store: Store, project: string, plan: VersionPlan, maxBytes: number): Promise<void> {
  const parts: string[] = []
  let used = 0
  for (const { version, state, estimateBytes } of await listVersions(store, project)) {
    if (state === 'gone') continue
    const { bytes } = await store.usage(project, version)
    const counted = state === 'building' ? Math.max(bytes, estimateBytes) : bytes // a build still grows to its estimate
    used += counted
    parts.push(`version ${version} (${state}) ${counted}`)
  }
  if (used + plan.estimateBytes <= maxBytes) return
  const sum = [...parts, `version ${plan.version} (estimate) ${plan.estimateBytes}`].join(' + ')
  throw new SidestreamError(
    'SIDESTREAM_BUILD_REFUSED',
    `version ${plan.version} would not fit: ${sum} = ${used + plan.estimateBytes} bytes, above store.maxBytes ${maxBytes}; ` +
      'collect versions (`versions gc`), keep fewer (store.keepVersions) or raise store.maxBytes',
    { version: plan.version, used, estimate: plan.estimateBytes, maxBytes },
  )
}
