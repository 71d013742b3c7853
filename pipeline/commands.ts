/** Questions and switches over an opened project: what `ProjectCommands` is made of, and what library users call. */

import { randomUUID } from 'node:crypto'
import { collectVersions as collect, FeatureReader, listVersions as list, requireVersion } from '../features/index.ts'
import type { FeatureRead, VersionRecord } from '../features/index.ts'
import { limits, SidestreamError } from '../schemas/index.ts'
import type { PointerChange } from '../connectors/index.ts'
import type { Project } from './project.ts'
import { Versions } from './versions.ts'

/** One line of `versions list`. */
export interface VersionLine {
  readonly version: number
  readonly state: VersionRecord['state']
  readonly parent: number | null
  readonly head: string
  readonly codebook: string
  readonly entries: number
  readonly bytes: number
}

export async function listVersions({ store, config }: Pick<Project, 'store' | 'config'>): Promise<VersionLine[]> {
  const records = await list(store, config.project)
  return Promise.all(
    records.map(async ({ version, state, parent, head, codebook }) => ({
      version,
      state,
      parent,
      head,
      codebook,
      ...(await store.usage(config.project, version)),
    })),
  )
}

/** @throws SIDESTREAM_VERSION_UNKNOWN */
export function showVersion({ store, config }: Pick<Project, 'store' | 'config'>, version: number): Promise<VersionRecord> {
  return requireVersion(store, config.project, version)
}

/** @throws SIDESTREAM_BUILD_REFUSED, SIDESTREAM_VERSION_UNKNOWN, SIDESTREAM_VERSION_GONE, SIDESTREAM_VERSION_STATE_INVALID */
export function activateVersion(project: Project, version: number): Promise<PointerChange> {
  return withVersions(project, async (versions) => (await versions.activate(version, `activate-${randomUUID()}`)).change)
}

/** @throws SIDESTREAM_BUILD_REFUSED, SIDESTREAM_VERSION_GONE */
export function rollbackVersion(project: Project): Promise<PointerChange> {
  return withVersions(project, async (versions) => (await versions.rollback(`rollback-${randomUUID()}`)).change)
}

/** @returns versions that are gone now */
export function collectVersions({ store, config }: Project): Promise<number[]> {
  const { keepVersions, graceMs } = config.store
  return collect(store, config.project, { keepVersions, graceMs, rollbackWindowMs: config.refresh.rollbackWindowMs })
}

/** Features of some items, all from one version. @throws SIDESTREAM_USAGE_INVALID for an unknown view; SIDESTREAM_VERSION_UNKNOWN, SIDESTREAM_VERSION_GONE */
export async function readFeatures(
  { store, config }: Pick<Project, 'store' | 'config'>,
  view: string,
  ids: readonly string[],
  version?: number,
): Promise<FeatureRead> {
  if (config.views[view] === undefined) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `no view is named ${view}; there are: ${Object.keys(config.views).join(', ')}`)
  }
  for (const id of ids) {
    const bytes = Buffer.byteLength(id)
    if (bytes === 0 || bytes > limits.idBytes) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `an item id has 1 to ${limits.idBytes} bytes, this one has ${bytes}`)
    }
  }
  return new FeatureReader({ store, project: config.project }).read(view, ids, version === undefined ? {} : { version })
}

/** A switch runs the writers as the daemon does, so that the version that goes live is up to the log's end. */
async function withVersions<T>(project: Project, body: (versions: Versions) => Promise<T>): Promise<T> {
  let fail: (error: Error) => void = () => {}
  const failure = new Promise<never>((_, reject) => (fail = reject))
  failure.catch(() => {})
  const versions = await Versions.start(project, fail)
  try {
    return await Promise.race([failure, body(versions)])
  } finally {
    await versions.stop()
  }
}
