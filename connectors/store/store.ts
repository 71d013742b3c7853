/**
 * The store port: published values by (project, view, version, item), the live pointer, version records and pins.
 * Every driver must pass test/contract/store.ts.
 * Invariants: a value is replaced only by one with a newer source (bytes 4-16 of the value header); the live pointer
 * changes only by compare-and-set and every change is in the history; absent is undefined, never a zero vector.
 */

/** Where values live. Project and view match `[a-z0-9_-]{1,64}`; version >= 1. */
export interface StoreTarget {
  readonly project: string
  readonly view: string
  readonly version: number
}

export interface StoreEntry {
  readonly id: string
  /** Native value bytes (schemas/value-header.ts), tombstones included. */
  readonly value: Uint8Array
}

export type WriteOutcome = 'written' | 'stale'

export interface LivePointer {
  readonly version: number
  /** Grows by one with every change. */
  readonly epoch: number
}

export interface PointerChange {
  /** 1, 2, 3, … per project. */
  readonly seq: number
  readonly version: number
  readonly epoch: number
  readonly action: 'activate' | 'rollback'
  /** Id of the command that asked; a retry that finds its id in the history is done. */
  readonly commandId: string
  /** Store clock, milliseconds since epoch. */
  readonly at: number
}

export interface SwapRequest {
  readonly project: string
  /** What must be live now; undefined = nothing is live yet. */
  readonly expected: LivePointer | undefined
  readonly version: number
  readonly action: 'activate' | 'rollback'
  readonly commandId: string
}

/** `swapped`: done now; `repeated`: this command was done before; `moved`: something else is live, nothing changed. */
export type SwapOutcome =
  | { readonly outcome: 'swapped' | 'repeated'; readonly change: PointerChange }
  | { readonly outcome: 'moved'; readonly live: LivePointer | undefined }

export interface StoreRead {
  /** The live pointer at the moment of this read. */
  readonly live: LivePointer | undefined
  /** `values[i]` belongs to `ids[i]`; undefined when absent. Ids may repeat. Bytes are the caller's own. */
  readonly values: readonly (Uint8Array | undefined)[]
}

export interface Store {
  readonly name: string
  /** Writes entries whose source is newer than what is stored; one outcome per entry, in order; resolves when durable. */
  write(target: StoreTarget, entries: readonly StoreEntry[]): Promise<WriteOutcome[]>
  read(target: StoreTarget, ids: readonly string[]): Promise<StoreRead>
  /** All entries of a target in id order (UTF-8 bytes), in batches. */
  scan(target: StoreTarget): AsyncIterable<readonly StoreEntry[]>

  live(project: string): Promise<LivePointer | undefined>
  swap(request: SwapRequest): Promise<SwapOutcome>
  /** Pointer changes with seq > `afterSeq`, ascending. */
  history(project: string, afterSeq: number): Promise<readonly PointerChange[]>

  /** Version records are opaque bytes here; `features` owns their shape. */
  putVersion(project: string, version: number, record: Uint8Array): Promise<void>
  getVersion(project: string, version: number): Promise<Uint8Array | undefined>
  listVersions(project: string): Promise<readonly { readonly version: number; readonly record: Uint8Array }[]>

  /** Takes or renews a lease that keeps a version from being collected, for `ttlMs` by the store's clock. */
  pin(project: string, version: number, holder: string, ttlMs: number): Promise<void>
  unpin(project: string, version: number, holder: string): Promise<void>
  /** Holders of leases that have not run out. */
  pins(project: string, version: number): Promise<readonly string[]>

  /** Deletes all values of a version in all views; resumable; the version record stays. */
  collect(project: string, version: number): Promise<void>
  /** Bytes used by one version's values over all views (an estimate where the store cannot tell). */
  usage(project: string, version: number): Promise<{ readonly entries: number; readonly bytes: number }>
  /** The store's clock, milliseconds since epoch. */
  now(): Promise<number>
  close(): Promise<void>
}
