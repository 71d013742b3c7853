/**
 * Interactions in memory as columns: 20 bytes each, and every id and list of behaviors once. Rows of objects take ten times that.
 * Invariant: what was added comes back in order of event time; among equal times in the order in which it was added.
 */

import type { SampleInput } from './samples.ts'

/** Numbers things as they are first seen. */
class Numbered<T> {
  readonly values: T[] = []
  readonly #numbers = new Map<string, number>()

  numberOf(key: string, value: T): number {
    let number = this.#numbers.get(key)
    if (number === undefined) this.#numbers.set(key, (number = this.values.push(value) - 1))
    return number
  }
}

/** Grows; the strings that it gives are shared by all interactions that name them. */
export class InteractionColumns {
  length = 0
  readonly #users = new Numbered<string>()
  readonly #items = new Numbered<string>()
  readonly #behaviors = new Numbered<readonly string[]>()
  #times = new Float64Array(1024)
  /** User, item and behaviors by number, shape [capacity, 3]. */
  #numbers = new Int32Array(3 * 1024)

  /** Distinct ids so far. */
  get users(): number {
    return this.#users.values.length
  }

  get items(): number {
    return this.#items.values.length
  }

  /** Distinct kinds of behavior so far, sorted. */
  get kinds(): string[] {
    return [...new Set(this.#behaviors.values.flat())].sort()
  }

  add({ userId, itemId, eventTs, behaviors }: SampleInput): void {
    const at = this.length++
    if (at === this.#times.length) this.#grow()
    this.#times[at] = eventTs
    this.#numbers[3 * at] = this.#users.numberOf(userId, userId)
    this.#numbers[3 * at + 1] = this.#items.numberOf(itemId, itemId)
    this.#numbers[3 * at + 2] = this.#behaviors.numberOf(JSON.stringify(behaviors), behaviors)
  }

  /** Places in order of event time, shape [length]. */
  order(): Uint32Array {
    const times = this.#times
    const order = Uint32Array.from({ length: this.length }, (_, i) => i)
    for (let i = 1; i < this.length; i++) {
      if (times[i]! < times[i - 1]!) return order.sort((a, b) => times[a]! - times[b]! || a - b)
    }
    return order
  }

  timeAt(place: number): number {
    return this.#times[place]!
  }

  at(place: number): SampleInput {
    return {
      userId: this.#users.values[this.#numbers[3 * place]!]!,
      itemId: this.#items.values[this.#numbers[3 * place + 1]!]!,
      eventTs: this.#times[place]!,
      behaviors: this.#behaviors.values[this.#numbers[3 * place + 2]!]!,
    }
  }

  #grow(): void {
    const times = new Float64Array(2 * this.#times.length)
    times.set(this.#times)
    this.#times = times
    const numbers = new Int32Array(2 * this.#numbers.length)
    numbers.set(this.#numbers)
    this.#numbers = numbers
  }
}
