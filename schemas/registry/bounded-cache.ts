/**
 * Entries by key. Invariant: never more entries, nor more weight together, than allowed; what was not used for longest goes
 * first. An entry heavier than all that is allowed is not kept.
 */
export class BoundedCache<K, V> {
  readonly #entries = new Map<K, { readonly value: V; readonly weight: number }>()
  readonly #mostEntries: number
  readonly #mostWeight: number
  #weight = 0

  constructor(mostEntries: number, mostWeight = Infinity) {
    this.#mostEntries = mostEntries
    this.#mostWeight = mostWeight
  }

  get size(): number {
    return this.#entries.size
  }

  /** The value, which now counts as used. */
  get(key: K): V | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** The value, without counting as a use: for the hot path. */
  peek(key: K): V | undefined {
    return this.#entries.get(key)?.value
  }

  set(key: K, value: V, weight = 1): void {
    this.delete(key)
    this.#entries.set(key, { value, weight })
    this.#weight += weight
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#mostEntries && this.#weight <= this.#mostWeight) return
      this.delete(oldest)
    }
  }

  delete(key: K): void {
    this.#weight -= this.#entries.get(key)?.weight ?? 0
    this.#entries.delete(key)
  }
}
