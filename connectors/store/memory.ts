/**
 * The store port in maps, for tests and backtests. Invariant: nobody outside holds a reference into it; values are
 * copied on the way in and on the way out.
 */

import { compareSource } from '../../schemas/index.ts'
import { closedError } from '../closed.ts'
import { checkEntries, checkLabel, checkProject, checkTarget, checkVersion } from './checks.ts'
import { judgeSwap } from './pointer.ts'
import type {
  LivePointer,
  PointerChange,
  Store,
  StoreEntry,
  StoreRead,
  StoreTarget,
  SwapOutcome,
  SwapRequest,
  WriteOutcome,
} from './store.ts'

export interface MemoryStoreOptions {
  /** The store's clock, milliseconds since epoch. */
  readonly clock: () => number
}

/** Opens a store that forgets everything when it is closed. */
export function memoryStore(options: MemoryStoreOptions): Store {
  return new MemoryStore(options)
}

interface Project {
  /** Version to view to id to value. */
  readonly values: Map<number, Map<string, Map<string, Uint8Array>>>
  readonly changes: PointerChange[]
  readonly records: Map<number, Uint8Array>
  /** Version to holder to end of the lease. */
  readonly pins: Map<number, Map<string, number>>
}

const scanBatch = 1000

class MemoryStore implements Store {
  readonly name = 'memory'
  readonly #clock: () => number
  readonly #projects = new Map<string, Project>()
  #closed = false

  constructor({ clock }: MemoryStoreOptions) {
    this.#clock = clock
  }

  async write(target: StoreTarget, entries: readonly StoreEntry[]): Promise<WriteOutcome[]> {
    checkTarget(target)
    checkEntries(entries)
    const { values } = this.#project(target.project)
    if (entries.length === 0) return []
    const views = entryOf(values, target.version, () => new Map<string, Map<string, Uint8Array>>())
    const items = entryOf(views, target.view, () => new Map<string, Uint8Array>())
    return entries.map(({ id, value }) => {
      const stored = items.get(id)
      if (stored !== undefined && compareSource(value, stored) <= 0) return 'stale'
      items.set(id, Uint8Array.from(value))
      return 'written'
    })
  }

  async read(target: StoreTarget, ids: readonly string[]): Promise<StoreRead> {
    checkTarget(target)
    const items = this.#project(target.project).values.get(target.version)?.get(target.view)
    const live = this.#pointer(target.project)
    return { live, values: ids.map((id) => copyOf(items?.get(id))) }
  }

  async *scan(target: StoreTarget): AsyncIterable<readonly StoreEntry[]> {
    checkTarget(target)
    const items = this.#project(target.project).values.get(target.version)?.get(target.view)
    const ids = [...(items?.keys() ?? [])].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    for (let at = 0; at < ids.length; at += scanBatch) {
      const page: StoreEntry[] = []
      for (const id of ids.slice(at, at + scanBatch)) {
        const value = copyOf(items?.get(id))
        if (value !== undefined) page.push({ id, value })
      }
      yield page
    }
  }

  async live(project: string): Promise<LivePointer | undefined> {
    checkProject(project)
    return this.#pointer(project)
  }

  async swap(request: SwapRequest): Promise<SwapOutcome> {
    const { project, commandId } = request
    checkProject(project)
    checkVersion(request.version)
    checkLabel('a command id', commandId)
    const { changes } = this.#project(project)
    const live = this.#pointer(project)
    const state = live === undefined ? undefined : { live, seq: changes.length }
    const earlier = changes.find((change) => change.commandId === commandId)
    const outcome = judgeSwap(request, state, earlier, this.#clock())
    if (outcome.outcome === 'swapped') changes.push(outcome.change)
    return outcome
  }

  async history(project: string, afterSeq: number): Promise<PointerChange[]> {
    checkProject(project)
    return this.#project(project).changes.filter(({ seq }) => seq > afterSeq)
  }

  async putVersion(project: string, version: number, record: Uint8Array): Promise<void> {
    checkProject(project)
    checkVersion(version)
    this.#project(project).records.set(version, Uint8Array.from(record))
  }

  async getVersion(project: string, version: number): Promise<Uint8Array | undefined> {
    checkProject(project)
    checkVersion(version)
    return copyOf(this.#project(project).records.get(version))
  }

  async listVersions(project: string): Promise<{ version: number; record: Uint8Array }[]> {
    checkProject(project)
    return [...this.#project(project).records]
      .sort(([a], [b]) => a - b)
      .map(([version, record]) => ({ version, record: Uint8Array.from(record) }))
  }

  async pin(project: string, version: number, holder: string, ttlMs: number): Promise<void> {
    const holders = this.#holders(project, version)
    checkLabel('a pin holder', holder)
    holders.set(holder, this.#clock() + ttlMs)
  }

  async unpin(project: string, version: number, holder: string): Promise<void> {
    this.#holders(project, version).delete(holder)
  }

  async pins(project: string, version: number): Promise<string[]> {
    const now = this.#clock()
    const holders = [...this.#holders(project, version)].filter(([, untilTs]) => untilTs > now).map(([holder]) => holder)
    return holders.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  }

  async collect(project: string, version: number): Promise<void> {
    checkProject(project)
    checkVersion(version)
    this.#project(project).values.delete(version)
  }

  async usage(project: string, version: number): Promise<{ entries: number; bytes: number }> {
    checkProject(project)
    checkVersion(version)
    let entries = 0
    let bytes = 0
    for (const items of this.#project(project).values.get(version)?.values() ?? []) {
      for (const [id, value] of items) {
        entries++
        bytes += Buffer.byteLength(id) + value.length
      }
    }
    return { entries, bytes }
  }

  async now(): Promise<number> {
    this.#assertOpen()
    return this.#clock()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#projects.clear()
  }

  #pointer(project: string): LivePointer | undefined {
    const change = this.#project(project).changes.at(-1)
    return change === undefined ? undefined : { version: change.version, epoch: change.epoch }
  }

  #holders(project: string, version: number): Map<string, number> {
    checkProject(project)
    checkVersion(version)
    return entryOf(this.#project(project).pins, version, () => new Map<string, number>())
  }

  #project(name: string): Project {
    this.#assertOpen()
    return entryOf(this.#projects, name, () => ({ values: new Map(), changes: [], records: new Map(), pins: new Map() }))
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError('the memory store')
  }
}

function entryOf<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = create()))
  return value
}

function copyOf(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes === undefined ? undefined : Uint8Array.from(bytes)
}
