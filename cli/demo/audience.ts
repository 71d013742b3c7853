/**
 * The users of the generated world: sessions of views in which tastes decide what is liked.
 * Invariant: a session depends on its number and on the sessions of the same user before it.
 */
import type { Interaction, SourceEvent } from '../../schemas/index.ts'
import { itemName, type Catalogue } from './catalogue.ts'
import { drawIndex, RandomStream } from './random.ts'
import { tasteDim, tasteVector, type TasteModel } from './taste.ts'
import type { WorldSettings } from './world-options.ts'

/** Items that the recommender weighs for one view. */
const candidates = 24
/** Views that a user remembers, so that nothing is shown twice soon. */
const memory = 60
const surfaces = ['feed', 'feed', 'feed', 'search', 'push'] as const

interface User {
  readonly lasting: Float64Array
  readonly style: Float64Array
  readonly community: Float64Array
  /** Present topic mix: drifts around the lasting one. */
  mix: Float64Array
  readonly seen: number[]
}

export class Audience {
  readonly #seed: number
  readonly #catalogue: Catalogue
  readonly #users: readonly User[]
  readonly #cumulative: Float64Array
  #sessions = 0

  constructor({ seed, users }: WorldSettings, model: TasteModel, catalogue: Catalogue) {
    this.#seed = seed
    this.#catalogue = catalogue
    this.#cumulative = new Float64Array(users)
    let sum = 0
    this.#users = Array.from({ length: users }, (_, i) => {
      const { mix, style, community, activity } = model.user(i)
      sum += activity
      this.#cumulative[i] = sum
      return { lasting: mix, mix: mix.slice(), style, community, seen: [] }
    })
  }

  /**
   * One session of one user that begins within `spreadMs` after `now`. Returns the number of its interactions.
   * @param limit - most interactions it may have
   * @param out - its interactions are added here, in time order among themselves
   */
  session(now: number, spreadMs: number, limit: number, out: SourceEvent[]): number {
    const random = new RandomStream(this.#seed, 'session', this.#sessions++)
    const index = drawIndex(random, this.#cumulative)
    const user = this.#users[index]!
    drift(user, random)
    const taste = tasteVector(user.mix, user.style, user.community)
    const length = Math.min(limit, 1 + random.geometric(0.16))
    const surface = surfaces[random.below(surfaces.length)]!
    const userId = `u${String(index).padStart(5, '0')}`
    let eventTs = Math.floor(now + spreadMs * random.uniform())
    for (let i = 0; i < length; i++) {
      const record = this.#view(user, userId, taste, surface, eventTs, `s${this.#sessions - 1}-${i}`, random)
      out.push({ topic: 'interactions', eventTs, record })
      eventTs += 1000 + (record.dwellMs ?? 0) + Math.floor(8000 * random.uniform())
    }
    return length
  }

  #view(
    user: User,
    userId: string,
    taste: Float32Array,
    surface: string,
    eventTs: number,
    requestId: string,
    random: RandomStream,
  ): Interaction {
    let best = -1
    let bestScore = -Infinity
    let affinity = 0
    for (let c = 0; c < candidates; c++) {
      const item = this.#catalogue.draw(random)
      if (user.seen.includes(item)) continue
      const other = this.#catalogue.natures[item]!.taste
      let dot = 0
      for (let d = 0; d < tasteDim; d++) dot += taste[d]! * other[d]!
      const score = 0.6 * dot + random.gumbel()
      if (score > bestScore) {
        best = item
        bestScore = score
        affinity = dot
      }
    }
    if (best < 0) best = this.#catalogue.draw(random) // a tiny catalogue, all of it seen
    user.seen.push(best)
    if (user.seen.length > memory) user.seen.shift()

    const pull = affinity - 1.6
    const behaviors = ['view']
    if (random.chance(logistic(pull))) {
      behaviors.push('click')
      if (random.chance(logistic(pull - 0.5))) behaviors.push('finish')
      if (random.chance(logistic(pull - 2))) behaviors.push('like')
      if (random.chance(logistic(pull - 3.5))) behaviors.push('share')
    }
    const dwellMs = Math.floor((behaviors.length > 1 ? 12_000 : 2500) * Math.exp(0.5 * random.normal()))
    return { userId, itemId: itemName(best), eventTs, behaviors, surface, dwellMs, requestId }
  }
}

/** Interests return slowly to the lasting ones; now and then something new takes over. */
function drift(user: User, random: RandomStream): void {
  const novelty = random.chance(0.12) ? random.below(user.mix.length) : -1
  for (let t = 0; t < user.mix.length; t++) {
    const present = 0.85 * user.mix[t]! + 0.15 * user.lasting[t]!
    user.mix[t] = novelty < 0 ? present : 0.6 * present + (t === novelty ? 0.4 : 0)
  }
}

function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x))
}
