/**
 * One user's history in memory: the newest events in order of (event time, arrival), one per exposure.
 * Invariant: events ascend by event time; among equal times the earlier offset stands first; at most `limit` are visible.
 */
import type { HistoryEvent } from '../schemas/index.ts'
import { chunkEvents } from './sequence-codec.ts'

/** What became of one event. `index` is its place among `events`. */
export type Insertion =
  | { readonly outcome: 'added' | 'merged'; readonly index: number }
  | { readonly outcome: 'duplicate' | 'expired'; readonly index: -1 }

/** History of one user, mutable. `events` may start with up to one chunk of events that are no longer visible. */
export class UserSequence {
  readonly limit: number
  /** Number of the chunk that `events[0]` begins. */
  firstChunk: number
  readonly events: HistoryEvent[]
  /** Index of the first event that changed since loading; `events.length` when nothing did. */
  #dirtyFrom: number
  readonly #loadedTail: number
  #removed: number[] = []

  constructor(limit: number, firstChunk = 0, events: HistoryEvent[] = []) {
    this.limit = limit
    this.firstChunk = firstChunk
    this.events = events
    this.#dirtyFrom = events.length
    this.#loadedTail = this.tail
  }

  /** Index of the oldest visible event. */
  get start(): number {
    return Math.max(0, this.events.length - this.limit)
  }

  /**
   * Puts an event in its place. The same item at the same time is the same exposure: its behaviors are united, and an
   * event that adds none is a duplicate. An event older than a full history is `expired` and not kept.
   */
  insert(event: HistoryEvent): Insertion {
    const { events } = this
    let at = events.length
    while (at > 0 && events[at - 1]!.eventTs > event.eventTs) at--
    for (let i = at - 1; i >= this.start && events[i]!.eventTs === event.eventTs; i--) {
      const known = events[i]!
      if (known.itemId !== event.itemId) continue
      const added = event.behaviors.filter((behavior) => !known.behaviors.includes(behavior))
      if (added.length === 0) return { outcome: 'duplicate', index: -1 }
      events[i] = { itemId: known.itemId, eventTs: known.eventTs, behaviors: [...known.behaviors, ...new Set(added)] }
      this.#dirtyFrom = Math.min(this.#dirtyFrom, i)
      return { outcome: 'merged', index: i }
    }
    if (events.length >= this.limit && at <= this.start) return { outcome: 'expired', index: -1 }
    if (at === events.length) events.push(event)
    else events.splice(at, 0, event)
    this.#dirtyFrom = Math.min(this.#dirtyFrom, at)
    if (events.length - this.limit < chunkEvents) return { outcome: 'added', index: at }
    events.splice(0, chunkEvents)
    this.#removed.push(this.firstChunk++)
    this.#dirtyFrom = Math.max(0, this.#dirtyFrom - chunkEvents)
    return { outcome: 'added', index: at - chunkEvents }
  }

  /**
   * The newest `length` distinct items before `index` that count as liked, oldest first. Exposures of one item are
   * united: its place is its newest exposure, its behaviors those of all its exposures, both before `index` only.
   * The excluded item (the target) never appears, whatever happened to it earlier.
   */
  itemsBefore(index: number, length: number, excluded: string, isPositive: (behaviors: readonly string[]) => boolean): string[] {
    const newestFirst: string[] = []
    const liked = new Map<string, boolean>()
    let settled = 0
    for (let i = index - 1; i >= this.start && settled < length; i--) {
      const { itemId, behaviors } = this.events[i]!
      if (itemId === excluded) continue
      const known = liked.get(itemId)
      if (known === true) continue
      if (known === undefined) newestFirst.push(itemId)
      liked.set(itemId, isPositive(behaviors))
      // An item not yet seen liked may still turn out so further back: only the run of liked ones is settled.
      while (settled < newestFirst.length && liked.get(newestFirst[settled]!)) settled++
    }
    const items: string[] = []
    for (const itemId of newestFirst) {
      if (items.length === length) break
      if (liked.get(itemId)) items.push(itemId)
    }
    return items.reverse()
  }

  /**
   * What was done with each item before `index`: exposures of one item are united. Items come in order of their newest
   * exposure, newest first. Items with equal behaviors in one exposure may share their list.
   */
  behaviorsBefore(index: number): Map<string, readonly string[]> {
    const united = new Map<string, readonly string[]>()
    for (let i = index - 1; i >= this.start; i--) {
      const { itemId, behaviors } = this.events[i]!
      const known = united.get(itemId)
      if (known === undefined) united.set(itemId, behaviors)
      else if (known !== behaviors) {
        const added = behaviors.filter((behavior) => !known.includes(behavior))
        if (added.length > 0) united.set(itemId, [...known, ...added])
      }
    }
    return united
  }

  /**
   * Numbers of the chunks to write again, ascending; the last one is the tail. Empty when nothing changed. A tail that
   * filled up is among them: it moves to the key of a full chunk.
   */
  changedChunks(): number[] {
    if (this.#dirtyFrom >= this.events.length) return []
    const { tail } = this
    let from = this.firstChunk + Math.floor(this.#dirtyFrom / chunkEvents)
    if (tail !== this.#loadedTail) from = Math.min(from, Math.max(this.firstChunk, this.#loadedTail))
    return Array.from({ length: tail - from + 1 }, (_, i) => from + i)
  }

  /** Numbers of the chunks that fell out since loading. */
  removedChunks(): readonly number[] {
    return this.#removed
  }

  /** Events of one chunk, at most 64. */
  chunk(number: number): HistoryEvent[] {
    const from = (number - this.firstChunk) * chunkEvents
    return this.events.slice(from, from + chunkEvents)
  }

  /** Number of the newest chunk. */
  get tail(): number {
    return this.firstChunk + Math.max(0, Math.ceil(this.events.length / chunkEvents) - 1)
  }
}
