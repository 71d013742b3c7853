/**
 * The state port: one worker's keyed bytes with the log position in the same transaction.
 * Invariant: after a crash, position and data are of the same commit. One writer per environment.
 * Keys are UTF-8 text, ordered by bytes.
 */

export interface StateCommit {
  readonly puts?: readonly (readonly [key: string, value: Uint8Array])[]
  readonly deletes?: readonly string[]
  /** Next offset to read, per position name (`topic/partition`). */
  readonly positions?: readonly (readonly [name: string, next: bigint])[]
}

export interface State {
  get(key: string): Uint8Array | undefined
  /** `result[i]` belongs to `keys[i]`. */
  getMany(keys: readonly string[]): (Uint8Array | undefined)[]
  /** Entries with `start <= key < end` in key order. */
  range(start: string, end: string): Iterable<readonly [key: string, value: Uint8Array]>
  position(name: string): bigint | undefined
  /** All or nothing; resolves when durable. Deletes are applied after puts. */
  commit(change: StateCommit): Promise<void>
  close(): Promise<void>
}
