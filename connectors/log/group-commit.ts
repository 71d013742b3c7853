/**
 * Shares fdatasync between the appends of all partitions of one log.
 * Invariant: every request is followed by a sync that started after it; one round of syncs runs at a time.
 */

/** A file that has unsynced appends. `sync` reports its own failures to those who wait and never rejects. */
export interface Syncable {
  sync(): Promise<void>
}

/** Files synced side by side: more would keep the thread pool from everybody else's work. */
const lanes = 2

export class GroupCommit {
  readonly #waitMs: number
  readonly #bytes: number
  #dirty = new Set<Syncable>()
  #pendingBytes = 0
  #timer: NodeJS.Timeout | undefined
  #due = false
  #running = false

  /**
   * @param waitMs - longest wait of a request before its round starts
   * @param bytes - a round starts early when this much waits
   */
  constructor(waitMs: number, bytes: number) {
    this.#waitMs = waitMs
    this.#bytes = bytes
  }

  request(file: Syncable, bytes: number): void {
    this.#dirty.add(file)
    this.#pendingBytes += bytes
    if (this.#pendingBytes >= this.#bytes) this.#fire()
    else this.#timer ??= setTimeout(() => this.#fire(), this.#waitMs)
  }

  #fire(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#due = true
    if (!this.#running) void this.#rounds()
  }

  async #rounds(): Promise<void> {
    this.#running = true
    while (this.#due) {
      this.#due = false
      const files = [...this.#dirty]
      this.#dirty = new Set()
      this.#pendingBytes = 0
      const work = files.values()
      await Promise.all(
        Array.from({ length: Math.min(lanes, files.length) }, async () => {
          for (const file of work) await file.sync()
        }),
      )
    }
    this.#running = false
  }
}
