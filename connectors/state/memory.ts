/** The state port in maps, for tests and backtests. Invariant: values are copied on the way in and out. */

import { closedError } from '../closed.ts'
import { checkCommit } from './checks.ts'
import type { State, StateCommit } from './state.ts'

/** Opens a state that forgets everything when it is closed. */
export function memoryState(): State {
  return new MemoryState()
}

class MemoryState implements State {
  readonly #data = new Map<string, Uint8Array>()
  readonly #positions = new Map<string, bigint>()
  #closed = false

  get(key: string): Uint8Array | undefined {
    this.#assertOpen()
    const value = this.#data.get(key)
    return value === undefined ? undefined : Uint8Array.from(value)
  }

  getMany(keys: readonly string[]): (Uint8Array | undefined)[] {
    this.#assertOpen()
    return keys.map((key) => this.get(key))
  }

  *range(start: string, end: string): Iterable<readonly [key: string, value: Uint8Array]> {
    this.#assertOpen()
    const from = Buffer.from(start)
    const to = Buffer.from(end)
    const found: [Buffer, string][] = []
    for (const key of this.#data.keys()) {
      const bytes = Buffer.from(key)
      if (Buffer.compare(bytes, from) >= 0 && Buffer.compare(bytes, to) < 0) found.push([bytes, key])
    }
    found.sort(([a], [b]) => Buffer.compare(a, b))
    for (const [, key] of found) {
      const value = this.get(key)
      if (value !== undefined) yield [key, value]
    }
  }

  position(name: string): bigint | undefined {
    this.#assertOpen()
    return this.#positions.get(name)
  }

  async commit(change: StateCommit): Promise<void> {
    this.#assertOpen()
    checkCommit(change)
    const { puts = [], deletes = [], positions = [] } = change
    for (const [key, value] of puts) this.#data.set(key, Uint8Array.from(value))
    for (const key of deletes) this.#data.delete(key)
    for (const [name, next] of positions) this.#positions.set(name, next)
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError('the state')
  }
}
