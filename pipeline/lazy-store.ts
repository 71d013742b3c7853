/** A store that is opened when something of it is used: what only uses the log works while the store is away. */

import type { Store } from '../connectors/index.ts'
import { lazily } from './lazily.ts'

/** @param open - called once, by the first use; again by the next one when it failed */
export function lazyStore(name: string, open: () => Promise<Store>): Store {
  const { use: store, close } = lazily(open)
  return {
    name,
    write: async (target, entries) => (await store()).write(target, entries),
    read: async (target, ids) => (await store()).read(target, ids),
    scan: async function* (target) {
      yield* (await store()).scan(target)
    },
    live: async (project) => (await store()).live(project),
    swap: async (request) => (await store()).swap(request),
    history: async (project, afterSeq) => (await store()).history(project, afterSeq),
    putVersion: async (project, version, record) => (await store()).putVersion(project, version, record),
    getVersion: async (project, version) => (await store()).getVersion(project, version),
    listVersions: async (project) => (await store()).listVersions(project),
    pin: async (project, version, holder, ttlMs) => (await store()).pin(project, version, holder, ttlMs),
    unpin: async (project, version, holder) => (await store()).unpin(project, version, holder),
    pins: async (project, version) => (await store()).pins(project, version),
    collect: async (project, version) => (await store()).collect(project, version),
    usage: async (project, version) => (await store()).usage(project, version),
    now: async () => (await store()).now(),
    close,
  }
}
