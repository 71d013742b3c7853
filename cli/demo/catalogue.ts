/**
 * The items of the generated world through time: when each appears, changes and goes, and how popular it is now.
 * Invariant: an item is shown only after its content was published and before it is deleted.
 */
import { drawIndex, RandomStream } from './random.ts'
import { topicNames, type ItemNature, type TasteModel } from './taste.ts'
import type { WorldSettings } from './world-options.ts'

/** Something that happens to an item. */
export interface ItemChange {
  readonly index: number
  readonly eventTs: number
  readonly kind: 'new' | 'update' | 'delete'
}

/** Event time before the start in which the first items were published. */
const initialMs = 21_600_000
/** An item can be shown this long after its content was published. */
const readyMs = 60_000
const updateShare = 0.03
const deleteShare = 0.01

export class Catalogue {
  readonly natures: readonly ItemNature[]
  /** Event time of the first item. */
  readonly firstTs: number
  readonly #changes: readonly ItemChange[]
  readonly #bornTs: Float64Array
  readonly #deadTs: Float64Array
  readonly #appeal: Float64Array
  readonly #lifeMs: Float64Array
  readonly #live: number[] = []
  #next = 0
  #cumulative: Float64Array = new Float64Array(0)
  #shown: number[] = []

  constructor(settings: WorldSettings, model: TasteModel) {
    const { seed, items, startTs, spanMs, initialShare } = settings
    this.natures = Array.from({ length: items }, (_, i) => model.item(i))
    this.#bornTs = new Float64Array(items)
    this.#deadTs = new Float64Array(items).fill(Infinity)
    this.#appeal = new Float64Array(items)
    this.#lifeMs = new Float64Array(items)
    const initial = Math.round(items * initialShare)
    const changes: ItemChange[] = []
    for (let i = 0; i < items; i++) {
      const random = new RandomStream(seed, 'life', i)
      const at = random.uniform()
      const bornTs = Math.floor(i < initial ? startTs - initialMs * (1 - at) : startTs + spanMs * ((i - initial + at) / (items - initial)))
      this.#bornTs[i] = bornTs
      this.#appeal[i] = (1 - random.uniform()) ** -0.7 // Pareto: the head of the catalogue takes most of the views
      this.#lifeMs[i] = 43_200_000 * Math.exp(0.6 * random.normal())
      changes.push({ index: i, eventTs: bornTs, kind: 'new' })
      const updated = random.uniform()
      const deleted = random.uniform()
      const rest = startTs + spanMs - bornTs
      if (updated < updateShare)
        changes.push({ index: i, eventTs: Math.floor(bornTs + rest * (0.1 + 0.5 * random.uniform())), kind: 'update' })
      if (deleted < deleteShare) {
        this.#deadTs[i] = Math.floor(bornTs + rest * (0.7 + 0.3 * random.uniform()))
        changes.push({ index: i, eventTs: this.#deadTs[i]!, kind: 'delete' })
      }
    }
    this.#changes = changes.sort((a, b) => a.eventTs - b.eventTs || a.index - b.index)
    this.firstTs = this.#changes[0]!.eventTs
  }

  /** Changes before `until` that were not given yet. */
  *advance(until: number): Generator<ItemChange, void, undefined> {
    for (; this.#next < this.#changes.length && this.#changes[this.#next]!.eventTs < until; this.#next++) {
      const change = this.#changes[this.#next]!
      if (change.kind === 'new') this.#live.push(change.index)
      yield change
    }
  }

  /** Sets the popularity of every live item for the time around `now`: appeal, fading with age, with a start bonus. */
  weigh(now: number): void {
    this.#shown = this.#live.filter((i) => this.#bornTs[i]! + readyMs <= now && this.#deadTs[i]! > now + 3_600_000)
    this.#cumulative = new Float64Array(this.#shown.length)
    let sum = 0
    this.#shown.forEach((i, at) => {
      const age = now - this.#bornTs[i]!
      const fresh = age < 7_200_000 ? 2 : 1
      sum += this.#appeal[i]! * fresh * (0.03 + Math.exp(-age / this.#lifeMs[i]!))
      this.#cumulative[at] = sum
    })
  }

  /** Draws an item by popularity. */
  draw(random: RandomStream): number {
    return this.#shown[drawIndex(random, this.#cumulative)]!
  }

  /** Labels of an item: its topics, strongest first. */
  labels(index: number): string[] {
    const { mix } = this.natures[index]!
    return Array.from(mix.keys())
      .filter((topic) => mix[topic]! > 0.1)
      .sort((a, b) => mix[b]! - mix[a]!)
      .map((topic) => `topic:${topicNames[topic]}`)
  }
}

/** Id of item `index`. */
export function itemName(index: number): string {
  return `v${String(index).padStart(6, '0')}`
}

/** Index of the item with this id. */
export function itemIndex(itemId: string): number {
  return Number(itemId.slice(1))
}

/** Id of author `index`. */
export function authorName(index: number): string {
  return `a${String(index).padStart(4, '0')}`
}
