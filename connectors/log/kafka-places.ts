/**
 * Who in this process has which partition of a group.
 * Invariant: a lane has its place only after every earlier lane of the place has ended, with its handler and `onRevoked`; a lane of
 * an older assignment never takes a place from one of a newer.
 */

export interface Holding {
  /** Of its assignment; of two lanes the one with the higher is right. */
  readonly epoch: number
  /** Ends the lane. Resolves, never rejects, when its handler has ended and `onRevoked` was told. */
  end(): Promise<unknown>
}

/** What consumers of one driver have in common. */
export class KafkaPlaces {
  readonly #holdings = new Map<string, Holding>()
  #epoch = 0

  /** Grows with every assignment. */
  nextEpoch(): number {
    return ++this.#epoch
  }

  /** Waits for the place. @returns false when a newer assignment has given it away */
  async take(name: string, holding: Holding): Promise<boolean> {
    for (;;) {
      const other = this.#holdings.get(name)
      if (other === undefined || other === holding) {
        this.#holdings.set(name, holding)
        return true
      }
      if (other.epoch > holding.epoch) return false
      await other.end()
      if (this.#holdings.get(name) === other) this.#holdings.delete(name)
    }
  }

  release(name: string, holding: Holding): void {
    if (this.#holdings.get(name) === holding) this.#holdings.delete(name)
  }
}
