/**
 * The hidden side of the generated world: what items are, what users like, and what an encoder sees of it.
 *
 * An item is a mix of a few topics, a style, and a community; users weigh all three. Content vectors show topics
 * clearly, style faintly, the community not at all, and much that no user cares about (camera, layout, language),
 * which dominates their variance. So raw content predicts tastes somewhat, and what users do has more to teach.
 * Invariant: items and users are pure functions of (seed, index).
 */
import { RandomStream } from './random.ts'

export const topicNames = [
  'football', 'politics', 'cooking', 'travel', 'music', 'film', 'gaming', 'fashion', 'science', 'finance', 'health', 'pets',
  'comedy', 'crime', 'weather', 'cars', 'books', 'art', 'dance', 'fitness', 'parenting', 'gadgets', 'gardening', 'history',
] as const // prettier-ignore

const topics = topicNames.length
const styles = 8
const communities = 4
const nuisances = 16

/** Dimensions of the taste space: topics, styles, communities side by side, each scaled by how much users care. */
export const tasteDim = topics + styles + communities

/** How much users care: affinity is the dot product of user and item taste, in logits. */
const care = { topic: 2.6, style: 1.0, community: 0.8 } as const

/** Energy of each part in a content vector, per modality. */
const shown = {
  image: { dim: 64, topic: 1.0, style: 0.28, nuisance: 0.5, noise: 0.45, missing: 0.12 },
  text: { dim: 96, topic: 1.25, style: 0.2, nuisance: 0.4, noise: 0.4, missing: 0.08 },
} as const

export type Modality = keyof typeof shown

/** Modalities of the world with their dimensions. */
export const modalities: Readonly<Record<Modality, { readonly dim: number }>> = {
  image: { dim: shown.image.dim },
  text: { dim: shown.text.dim },
}

/** What one item is. */
export interface ItemNature {
  /** Topic mix, sums to 1, shape [topics]. */
  readonly mix: Float64Array
  /** Shape [styles]. */
  readonly style: Float64Array
  /** Taste vector, shape [tasteDim]; the part that users respond to. */
  readonly taste: Float32Array
  readonly author: number
}

/** What one author tends to make. */
interface AuthorNature {
  readonly topics: readonly [number, number]
  readonly style: Float64Array
  readonly community: Float64Array
}

/** Natures of items, tastes of users, and encoders, for one seed. */
export class TasteModel {
  readonly #seed: number
  readonly #authors: readonly AuthorNature[]
  readonly #encoders: Readonly<Record<Modality, Encoder>>

  constructor(seed: number, authors: number) {
    this.#seed = seed
    this.#authors = Array.from({ length: authors }, (_, i) => authorNature(new RandomStream(seed, 'author', i)))
    this.#encoders = { image: encoder(seed, 'image'), text: encoder(seed, 'text') }
  }

  /** Draws item `index`. */
  item(index: number): ItemNature {
    const random = new RandomStream(this.#seed, 'item', index)
    // some authors make far more than others
    const author = Math.floor(this.#authors.length * random.uniform() ** 2)
    const { topics: own, style: ownStyle, community: ownCommunity } = this.#authors[author]!
    const mix = new Float64Array(topics)
    const main = random.chance(0.75) ? own[random.below(2)]! : random.below(topics)
    const lead = 0.55 + 0.4 * random.uniform()
    mix[main]! += lead
    mix[random.below(topics)]! += (1 - lead) * 0.7
    mix[random.below(topics)]! += (1 - lead) * 0.3
    const style = ownStyle.map((value) => 0.5 * value + Math.sqrt(0.75) * random.normal())
    const community = ownCommunity.map((value) => 0.8 * value + 0.6 * random.normal())
    return { mix, style, taste: tasteVector(mix, style, community), author }
  }

  /** Draws the lasting taste of user `index`; topics drift around it (`driftTowards`). */
  user(index: number): {
    readonly mix: Float64Array
    readonly style: Float64Array
    readonly community: Float64Array
    readonly activity: number
  } {
    const random = new RandomStream(this.#seed, 'user', index)
    const mix = new Float64Array(topics)
    for (const weight of [0.5, 0.3, 0.2]) mix[random.below(topics)]! += weight
    return {
      mix,
      style: normals(random, styles),
      community: normals(random, communities),
      activity: Math.exp(1.1 * random.normal()),
    }
  }

  /** What the encoder of one modality makes of an item; another `revision` is another upload. Undefined: the modality is missing. */
  encode(index: number, nature: ItemNature, modality: Modality, revision: number): Float32Array | undefined {
    // one draw decides for both modalities, so that never both are missing
    const fate = new RandomStream(this.#seed, 'missing', index).uniform()
    if (modality === 'image' ? fate < shown.image.missing : fate >= 1 - shown.text.missing) return undefined
    return encode(this.#encoders[modality], nature, new RandomStream(this.#seed, `${modality}-${revision}`, index))
  }
}

/** Taste vector of topics, style and community, shape [tasteDim]: its dot product with another is an affinity in logits. */
export function tasteVector(mix: Float64Array, style: Float64Array, community: Float64Array): Float32Array {
  const taste = new Float32Array(tasteDim)
  for (let i = 0; i < topics; i++) taste[i] = care.topic * mix[i]!
  for (let i = 0; i < styles; i++) taste[topics + i] = (care.style * style[i]!) / styles ** 0.25
  for (let i = 0; i < communities; i++) taste[topics + styles + i] = (care.community * community[i]!) / communities ** 0.25
  return taste
}

function authorNature(random: RandomStream): AuthorNature {
  return { topics: [random.below(topics), random.below(topics)], style: normals(random, styles), community: normals(random, communities) }
}

function normals(random: RandomStream, n: number): Float64Array {
  return Float64Array.from({ length: n }, () => random.normal())
}

/** A fixed random map from what an item is to what the encoder says. */
interface Encoder {
  readonly parts: (typeof shown)[Modality]
  /** Row-major, shape [dim, factors]. */
  readonly map: Float64Array
  readonly offset: Float64Array
}

const factors = topics + styles + nuisances

function encoder(seed: number, modality: Modality): Encoder {
  const random = new RandomStream(seed, `encoder-${modality}`)
  const parts = shown[modality]
  const scale = 1 / Math.sqrt(parts.dim)
  return {
    parts,
    map: Float64Array.from({ length: parts.dim * factors }, () => random.normal() * scale),
    offset: Float64Array.from({ length: parts.dim }, () => 1.5 * random.normal() * scale),
  }
}

function encode({ parts, map, offset }: Encoder, { mix, style }: ItemNature, random: RandomStream): Float32Array {
  const sources = new Float64Array(factors)
  for (let i = 0; i < topics; i++) sources[i] = parts.topic * mix[i]!
  for (let i = 0; i < styles; i++) sources[topics + i] = parts.style * style[i]!
  for (let i = 0; i < nuisances; i++) sources[topics + styles + i] = parts.nuisance * random.normal()
  const vector = new Float32Array(parts.dim)
  const noise = parts.noise / Math.sqrt(parts.dim)
  for (let d = 0; d < parts.dim; d++) {
    let sum = offset[d]!
    for (let f = 0; f < factors; f++) sum += map[d * factors + f]! * sources[f]!
    vector[d] = sum + noise * random.normal()
  }
  return vector
}
