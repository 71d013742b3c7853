/**
 * The newest frames of a partition in memory, so that consumers at the head need no file.
 * Invariant: entries are adjoining and ascending, and at most `limitBytes` big (the newest one always stays).
 */
import type { Block } from './file-frame.ts'
import type { Segment } from './file-segment.ts'

export interface TailEntry {
  readonly block: Block
  /** First offset in the block, and one past the last. */
  readonly base: number
  readonly next: number
  /** Where the block's first byte stands. */
  readonly segment: Segment
  readonly byte: number
}

export class Tail {
  readonly #limitBytes: number
  #entries: TailEntry[] = []
  #dropped = 0
  #bytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  push(entry: TailEntry): void {
    this.#entries.push(entry)
    this.#bytes += entry.block.bytes.length
    while (this.#bytes > this.#limitBytes && this.#dropped < this.#entries.length - 1) {
      this.#bytes -= this.#entries[this.#dropped]!.block.bytes.length
      this.#dropped++
    }
    if (this.#dropped > 64 && this.#dropped * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#dropped)
      this.#dropped = 0
    }
  }

  /** The entry that holds `offset`. */
  find(offset: number): TailEntry | undefined {
    let low = this.#dropped
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#entries[middle]!.next <= offset) low = middle + 1
      else high = middle
    }
    const entry = this.#entries[low]
    return entry !== undefined && entry.base <= offset ? entry : undefined
  }
}
