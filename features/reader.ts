/**
 * Reads features of many items, all from one version.
 * Invariants: one request sees exactly one version over all its views; absent means the item is not in that version, never
 * that the version was collected; a deleted item is absent; every value has passed its checksum.
 */

import type { LivePointer, Store } from '../connectors/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { decodeValue } from './value.ts'
import type { Feature } from './value.ts'
import { requireVersion } from './versions.ts'

export interface FeatureRead {
  /** The version that all features are from. */
  readonly version: number
  /** `features[i]` belongs to `ids[i]`; undefined when the item is absent or deleted. */
  readonly features: readonly (Feature | undefined)[]
}

export interface FeatureViewsRead {
  readonly version: number
  /** Per view, in the order asked for: features aligned with the ids. */
  readonly views: readonly (readonly (Feature | undefined)[])[]
}

export interface ReadOptions {
  /** Reads this version instead of the live one. */
  readonly version?: number
}

/** How often a request starts again because the live version changed under it; each time means another whole switch. */
const mostTries = 8

export class FeatureReader {
  readonly #store: Store
  readonly #project: string
  #live: LivePointer | undefined

  constructor(options: { readonly store: Store; readonly project: string }) {
    this.#store = options.store
    this.#project = options.project
  }

  /**
   * Features of one view.
   * @throws SIDESTREAM_VERSION_UNKNOWN when nothing is live or there is no such version; SIDESTREAM_VERSION_GONE when the
   * version asked for is being collected; SIDESTREAM_STORE_CORRUPT
   */
  async read(view: string, ids: readonly string[], options: ReadOptions = {}): Promise<FeatureRead> {
    const { version, views } = await this.readViews([view], ids, options)
    return { version, features: views[0]! }
  }

  /** Features of several views, all of one version. @throws as `read` */
  async readViews(views: readonly string[], ids: readonly string[], { version }: ReadOptions = {}): Promise<FeatureViewsRead> {
    if (version !== undefined) {
      const features = await this.#readVersion(version, views, ids, undefined)
      if (features === undefined) throw gone(this.#project, version)
      return { version, views: features }
    }
    for (let tried = 0; tried < mostTries; tried++) {
      const live = (this.#live ??= await this.#store.live(this.#project))
      if (live === undefined) {
        throw new SidestreamError(
          'SIDESTREAM_VERSION_UNKNOWN',
          `nothing is live in project ${this.#project} yet: wait for its first version`,
        )
      }
      const features = await this.#readVersion(live.version, views, ids, live)
      if (features !== undefined) return { version: live.version, views: features }
    }
    throw new SidestreamError(
      'SIDESTREAM_STORE_UNREACHABLE',
      `the live version of project ${this.#project} changed ${mostTries} times during one read: try again`,
    )
  }

  /** Undefined: the version is not (or no longer) the one to read. */
  async #readVersion(
    version: number,
    views: readonly string[],
    ids: readonly string[],
    known: LivePointer | undefined,
  ): Promise<(Feature | undefined)[][] | undefined> {
    const reads = await Promise.all(views.map((view) => this.#store.read({ project: this.#project, view, version }, ids)))
    const moved = known === undefined ? undefined : reads.find(({ live }) => live?.version !== version)
    if (moved !== undefined) {
      this.#live = newest(reads.map(({ live }) => live))
      return undefined
    }
    const missed = reads.some(({ values }) => values.includes(undefined))
    // Looked up after the values: `collecting` is set before anything is deleted, so a miss is never taken for absence.
    if (missed || ids.length === 0) {
      const { state } = await requireVersion(this.#store, this.#project, version)
      if (state === 'collecting' || state === 'gone') {
        this.#live = undefined
        return undefined
      }
    }
    return reads.map(({ values }) => values.map(toFeature))
  }
}

function toFeature(value: Uint8Array | undefined): Feature | undefined {
  if (value === undefined) return undefined
  const feature = decodeValue(value)
  return feature.deleted ? undefined : feature
}

function newest(pointers: readonly (LivePointer | undefined)[]): LivePointer | undefined {
  return pointers.reduce((best, pointer) => ((pointer?.epoch ?? 0) > (best?.epoch ?? 0) ? pointer : best), undefined)
}

function gone(project: string, version: number): SidestreamError {
  return new SidestreamError('SIDESTREAM_VERSION_GONE', `version ${version} of project ${project} is collected: read the live one`, {
    project,
    version,
  })
}
