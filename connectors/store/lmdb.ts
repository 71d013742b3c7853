/**
 * The embedded store: one LMDB environment, one table per version ("slot") and one for everything else.
 * Invariants: a write compares the source with what is stored inside its transaction and is durable when it resolves;
 * collecting a version empties its slot and forgets it in one transaction; a slot serves one version at a time.
 *
 * Keys: `view NUL id` in a slot; `kind NUL project NUL …` in the `meta` table, numbers zero-padded so that they sort.
 */

import { SidestreamError, compareSource } from '../../schemas/index.ts'
import { closedError } from '../closed.ts'
import { Gate, environmentFailure, openEnvironment, openTable } from '../lmdb-environment.ts'
import type { Environment, Table } from '../lmdb-environment.ts'
import { checkEntries, checkLabel, checkProject, checkTarget, checkVersion } from './checks.ts'
import { judgeSwap } from './pointer.ts'
import type { PointerState } from './pointer.ts'
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

export interface LmdbStoreOptions {
  /** Directory of this environment alone; created when missing. */
  readonly directory: string
  /** The store's clock, milliseconds since epoch. */
  readonly clock: () => number
  /**
   * Most bytes that tables may use; a write that would pass it is SIDESTREAM_DISK_FULL. The file itself may be larger,
   * since LMDB keeps freed pages for later writes.
   * @default no limit but the disk
   */
  readonly mapSizeBytes?: number
}

/** Most versions with values at a time; each open table costs a little memory in every transaction. */
const mostSlots = 254
const scanBatch = 1000

/** Opens the embedded store. @throws SIDESTREAM_FILE_UNREADABLE */
export async function openLmdbStore(options: LmdbStoreOptions): Promise<Store> {
  return new LmdbStore(options, await openEnvironment(options.directory, mostSlots + 2))
}

class LmdbStore implements Store {
  readonly name = 'lmdb'
  readonly #directory: string
  readonly #clock: () => number
  readonly #mostBytes: number
  readonly #environment: Environment
  readonly #meta: Table
  readonly #gate = new Gate()
  /** Slot number by `project NUL version`. */
  readonly #slots = new Map<string, number>()
  readonly #tables = new Map<number, Table>()
  #closed = false
  #closing: Promise<void> | undefined

  constructor({ directory, clock, mapSizeBytes = Infinity }: LmdbStoreOptions, environment: Environment) {
    this.#directory = directory
    this.#clock = clock
    this.#mostBytes = mapSizeBytes
    this.#environment = environment
    this.#meta = openTable(this.#environment, 'meta')
    for (const { key, value } of this.#meta.getRange(within('slot'))) {
      const slot = fromJson<number>(value)
      this.#slots.set(key.slice('slot\0'.length), slot)
      this.#tables.set(slot, openTable(this.#environment, `values-${slot}`))
    }
  }

  async write(target: StoreTarget, entries: readonly StoreEntry[]): Promise<WriteOutcome[]> {
    this.#assertOpen()
    checkTarget(target)
    checkEntries(entries)
    if (entries.length === 0) return []
    for (;;) {
      const outcomes = await this.#gate.shared(async () => {
        const table = this.#table(target.project, target.version)
        return table === undefined ? undefined : this.#writeGuarded(table, `${target.view}\0`, entries)
      })
      if (outcomes !== undefined) return outcomes
      await this.#gate.exclusive(() => this.#takeSlot(target.project, target.version))
    }
  }

  async #writeGuarded(table: Table, prefix: string, entries: readonly StoreEntry[]): Promise<WriteOutcome[]> {
    this.#assertOpen()
    this.#assertRoom(entries)
    const outcomes: WriteOutcome[] = []
    const body = (): void => {
      for (const { id, value } of entries) {
        const key = prefix + id
        const stored = table.getBinaryFast(key)
        const newer = stored === undefined || compareSource(value, stored) > 0
        if (newer) void table.put(key, value)
        outcomes.push(newer ? 'written' : 'stale')
      }
    }
    await this.#transaction(() => this.#environment.transaction(body))
    return outcomes
  }

  async read(target: StoreTarget, ids: readonly string[]): Promise<StoreRead> {
    this.#assertOpen()
    checkTarget(target)
    const live = this.#pointer(target.project)?.live
    const values: (Uint8Array | undefined)[] = ids.map(() => undefined)
    const table = this.#table(target.project, target.version)
    if (table === undefined) return { live, values }
    // No await between the gets: pointer and values are of one snapshot. Copies go to one arena per few hundred values.
    const prefix = `${target.view}\0`
    let arena = new Uint8Array(0)
    let at = 0
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!
      const stored = id.length > 0 && id.length <= 512 ? table.getBinaryFast(prefix + id) : undefined
      if (stored === undefined) continue
      const length = stored.length
      if (at + length > arena.length) {
        const rest = Math.min(ids.length - i, 256)
        arena = Buffer.allocUnsafeSlow(length * rest)
        at = 0
      }
      const value = new Uint8Array(arena.buffer, arena.byteOffset + at, length)
      value.set(stored.subarray(0, length))
      values[i] = value
      at += length
    }
    return { live, values }
  }

  async *scan(target: StoreTarget): AsyncIterable<readonly StoreEntry[]> {
    this.#assertOpen()
    checkTarget(target)
    const prefix = `${target.view}\0`
    let start = prefix
    for (;;) {
      this.#assertOpen()
      const table = this.#table(target.project, target.version)
      if (table === undefined) return
      const page: StoreEntry[] = []
      const range = { start, end: `${target.view}\u0001`, exclusiveStart: true, limit: scanBatch, snapshot: false }
      for (const { key, value } of table.getRange(range)) page.push({ id: key.slice(prefix.length), value: Uint8Array.from(value) })
      if (page.length === 0) return
      start = prefix + page.at(-1)!.id
      yield page
    }
  }

  async live(project: string): Promise<LivePointer | undefined> {
    this.#assertOpen()
    checkProject(project)
    return this.#pointer(project)?.live
  }

  async swap(request: SwapRequest): Promise<SwapOutcome> {
    this.#assertOpen()
    const { project, commandId } = request
    checkProject(project)
    checkVersion(request.version)
    checkLabel('a command id', commandId)
    const commandKey = `command\0${project}\0${commandId}`
    const body = (): SwapOutcome => {
      const outcome = judgeSwap(request, this.#pointer(project), this.#getJson<PointerChange>(commandKey), this.#clock())
      if (outcome.outcome === 'swapped') {
        const { change } = outcome
        const state: PointerState = { live: { version: change.version, epoch: change.epoch }, seq: change.seq }
        void this.#meta.put(`live\0${project}`, toJson(state))
        void this.#meta.put(`history\0${project}\0${padded(change.seq)}`, toJson(change))
        void this.#meta.put(commandKey, toJson(change))
      }
      return outcome
    }
    // A child transaction: were one put to fail, the others would go with it.
    return this.#gate.shared(() => this.#transaction(() => this.#environment.childTransaction(body)))
  }

  async history(project: string, afterSeq: number): Promise<readonly PointerChange[]> {
    this.#assertOpen()
    checkProject(project)
    const { end } = within(`history\0${project}`)
    const range = this.#meta.getRange({ start: `history\0${project}\0${padded(Math.max(0, afterSeq) + 1)}`, end })
    return Array.from(range, ({ value }) => fromJson<PointerChange>(value))
  }

  async putVersion(project: string, version: number, record: Uint8Array): Promise<void> {
    this.#assertOpen()
    checkProject(project)
    checkVersion(version)
    await this.#putMeta(`version\0${project}\0${padded(version)}`, Uint8Array.from(record))
  }

  async getVersion(project: string, version: number): Promise<Uint8Array | undefined> {
    this.#assertOpen()
    checkProject(project)
    checkVersion(version)
    const record = this.#meta.getBinary(`version\0${project}\0${padded(version)}`)
    return record === undefined ? undefined : Uint8Array.from(record)
  }

  async listVersions(project: string): Promise<{ version: number; record: Uint8Array }[]> {
    this.#assertOpen()
    checkProject(project)
    const range = this.#meta.getRange(within(`version\0${project}`))
    return Array.from(range, ({ key, value }) => ({
      version: Number(key.slice(key.lastIndexOf('\0') + 1)),
      record: Uint8Array.from(value),
    }))
  }

  async pin(project: string, version: number, holder: string, ttlMs: number): Promise<void> {
    this.#assertOpen()
    await this.#putMeta(pinKey(project, version, holder), toJson({ untilTs: this.#clock() + ttlMs }))
  }

  async unpin(project: string, version: number, holder: string): Promise<void> {
    this.#assertOpen()
    const key = pinKey(project, version, holder)
    await this.#gate.shared(() => this.#transaction(() => this.#meta.remove(key)))
  }

  async pins(project: string, version: number): Promise<string[]> {
    this.#assertOpen()
    checkProject(project)
    checkVersion(version)
    const now = this.#clock()
    const holders: string[] = []
    for (const { key, value } of this.#meta.getRange(within(`pin\0${project}\0${padded(version)}`))) {
      if (fromJson<{ untilTs: number }>(value).untilTs > now) holders.push(key.slice(key.lastIndexOf('\0') + 1))
    }
    return holders
  }

  /**
   * Emptying a table only walks its branch pages, on the writer's thread: the event loop is free meanwhile. It is one
   * transaction with the version's entry in the slot list, so a crash leaves the version whole or gone, never half.
   */
  async collect(project: string, version: number): Promise<void> {
    this.#assertOpen()
    checkProject(project)
    checkVersion(version)
    await this.#gate.exclusive(async () => {
      this.#assertOpen()
      const slotKey = `${project}\0${padded(version)}`
      const slot = this.#slots.get(slotKey)
      const table = slot === undefined ? undefined : this.#tables.get(slot)
      if (table === undefined) return
      await this.#transaction(() =>
        this.#environment.batch(() => {
          void table.clearAsync()
          void this.#meta.remove(`slot\0${slotKey}`)
        }),
      )
      this.#slots.delete(slotKey)
    })
  }

  async usage(project: string, version: number): Promise<{ entries: number; bytes: number }> {
    this.#assertOpen()
    checkProject(project)
    checkVersion(version)
    const table = this.#table(project, version)
    if (table === undefined) return { entries: 0, bytes: 0 }
    const { entryCount } = table.getStats() as TableStats
    return { entries: entryCount, bytes: entryCount === 0 ? 0 : tableBytes(table) }
  }

  async now(): Promise<number> {
    this.#assertOpen()
    return this.#clock()
  }

  close(): Promise<void> {
    this.#closed = true
    this.#closing ??= this.#gate.exclusive(() => this.#environment.close())
    return this.#closing
  }

  #pointer(project: string): PointerState | undefined {
    return this.#getJson<PointerState>(`live\0${project}`)
  }

  #getJson<T>(key: string): T | undefined {
    const bytes = this.#meta.getBinary(key)
    return bytes === undefined ? undefined : fromJson<T>(bytes)
  }

  async #putMeta(key: string, value: Uint8Array): Promise<void> {
    await this.#gate.shared(() => this.#transaction(() => this.#meta.put(key, value)))
  }

  #table(project: string, version: number): Table | undefined {
    const slot = this.#slots.get(`${project}\0${padded(version)}`)
    return slot === undefined ? undefined : this.#tables.get(slot)
  }

  /** Gives a version its table. Runs alone (see `Gate`), because opening a table is a transaction of its own. */
  async #takeSlot(project: string, version: number): Promise<void> {
    this.#assertOpen()
    const slotKey = `${project}\0${padded(version)}`
    if (this.#slots.has(slotKey)) return
    const taken = new Set(this.#slots.values())
    let slot = 0
    while (taken.has(slot)) slot++
    if (slot >= mostSlots) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${mostSlots} versions hold values in ${this.#directory}: collect some first`)
    }
    if (!this.#tables.has(slot)) this.#tables.set(slot, openTable(this.#environment, `values-${slot}`))
    await this.#transaction(() => this.#meta.put(`slot\0${slotKey}`, toJson(slot)))
    this.#slots.set(slotKey, slot)
  }

  #assertRoom(entries: readonly StoreEntry[]): void {
    if (this.#mostBytes === Infinity) return
    let needed = 0
    for (const { id, value } of entries) needed += id.length + value.length + 16
    let used = tableBytes(this.#meta)
    for (const table of this.#tables.values()) used += tableBytes(table)
    if (used + needed <= this.#mostBytes) return
    throw new SidestreamError(
      'SIDESTREAM_DISK_FULL',
      `the store in ${this.#directory} uses ${used} bytes and this write needs about ${needed} more, above its limit of ${this.#mostBytes}: ` +
        'collect versions or raise the limit; nothing of this call was stored',
      { directory: this.#directory, used, needed, limit: this.#mostBytes },
    )
  }

  async #transaction<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run()
    } catch (error) {
      throw await environmentFailure(error, this.#directory)
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError('the lmdb store')
  }
}

interface TableStats {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
  readonly entryCount: number
}

function tableBytes(table: Table): number {
  const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = table.getStats() as TableStats
  return pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages)
}

function pinKey(project: string, version: number, holder: string): string {
  checkProject(project)
  checkVersion(version)
  checkLabel('a pin holder', holder)
  return `pin\0${project}\0${padded(version)}\0${holder}`
}

/** All keys that start with `prefix NUL`. */
function within(prefix: string): { start: string; end: string } {
  return { start: `${prefix}\0`, end: `${prefix}\u0001` }
}

function padded(value: number): string {
  return String(value).padStart(16, '0')
}

function toJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function fromJson<T>(bytes: Uint8Array): T {
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')) as T
}
