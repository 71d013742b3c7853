/**
 * A generated world for `sidestream demo`: items that keep arriving, users with drifting interests, and a recommender
 * that shows, counts and embeds. Gives the input records of a project as one stream in event-time order.
 * Invariant: the same options give the same bytes; event times never fall; no clock and no outside randomness is read.
 */
import type { IdEmbedding, ItemContent, SourceEvent } from '../../schemas/index.ts'
import { Audience } from './audience.ts'
import { authorName, Catalogue, itemIndex, itemName } from './catalogue.ts'
import { RandomStream } from './random.ts'
import { modalities, tasteDim, TasteModel } from './taste.ts'
import { worldDefaults, type WorldOptions, type WorldSettings } from './world-options.ts'

export type { WorldOptions } from './world-options.ts'

/** A world that can be streamed any number of times. */
export interface World {
  readonly options: WorldSettings
  /** Modalities of item content, as `content.modalities` of the configuration wants them. */
  readonly modalities: Readonly<Record<string, { readonly dim: number }>>
  readonly positiveBehaviors: readonly string[]
  readonly otherBehaviors: readonly string[]
  /** All records in event-time order. Each call starts anew and gives the same. */
  events(): Generator<SourceEvent, void, undefined>
  /** The truth that no reader of the stream sees: what users respond to in an item, shape [36]. */
  itemTaste(itemId: string): Float32Array
}

const tickMs = 60_000
const catalogueTickMs = 600_000
const idDim = 32

/** Makes a world; nothing is generated before `events()` is read. */
export function createWorld(options: WorldOptions = {}): World {
  const settings = { ...worldDefaults, ...options }
  const model = new TasteModel(settings.seed, Math.max(8, Math.round(settings.items / 20)))
  return {
    options: settings,
    modalities,
    positiveBehaviors: ['click', 'like', 'share', 'finish'],
    otherBehaviors: ['view'],
    events: () => generate(settings, model),
    itemTaste: (itemId) => model.item(itemIndex(itemId)).taste,
  }
}

function* generate(settings: WorldSettings, model: TasteModel): Generator<SourceEvent, void, undefined> {
  const { seed, interactions, spanMs, startTs, idEmbeddingsEveryMs } = settings
  const endTs = startTs + spanMs
  const catalogue = new Catalogue(settings, model)
  const audience = new Audience(settings, model, catalogue)
  const teacher = new Teacher(seed, catalogue)
  const pending: SourceEvent[] = []
  let begun = 0
  let nextPublication = startTs + idEmbeddingsEveryMs
  let nextCatalogue = -Infinity

  for (let now = catalogue.firstTs - (catalogue.firstTs % tickMs); now < endTs || pending.length > 0; now += tickMs) {
    const until = now + tickMs
    for (const change of catalogue.advance(until)) pending.push(contentEvent(catalogue, model, change.index, change.eventTs, change.kind))
    if (now >= startTs && now >= nextCatalogue) {
      catalogue.weigh(now)
      nextCatalogue = now + catalogueTickMs
    }
    if (now >= startTs && now < endTs) {
      const target = Math.round(interactions * shareOfDay((until - startTs) / spanMs, spanMs))
      while (begun < target) begun += audience.session(now, Math.min(tickMs, endTs - now), interactions - begun, pending)
    }
    if (until > nextPublication && nextPublication < endTs) {
      for (const record of teacher.publish(nextPublication)) pending.push({ topic: 'id-embeddings', eventTs: record.eventTs, record })
      nextPublication += idEmbeddingsEveryMs
    }
    yield* due(pending, until, teacher)
  }
}

/** Takes the events before `until` out of `pending`, in order. */
function* due(pending: SourceEvent[], until: number, teacher: Teacher): Generator<SourceEvent, void, undefined> {
  const ready: SourceEvent[] = []
  let kept = 0
  for (const event of pending) {
    if (event.eventTs < until) ready.push(event)
    else pending[kept++] = event
  }
  pending.length = kept
  ready.sort((a, b) => a.eventTs - b.eventTs || topicOrder[a.topic] - topicOrder[b.topic])
  for (const event of ready) {
    if (event.topic === 'interactions') teacher.count(event.record.itemId)
    yield event
  }
}

const topicOrder: Readonly<Record<SourceEvent['topic'], number>> = {
  'item-content': 0,
  'id-embeddings': 1,
  'item-pairs': 2,
  interactions: 3,
}

/** Share of all interactions that have begun after a share of the span: two peaks a day, quiet nights; the span begins at midnight. */
function shareOfDay(share: number, spanMs: number): number {
  const days = spanMs / 86_400_000
  return Math.min(1, Math.max(0, activityUntil(share * days) / activityUntil(days)))
}

/** Integral of 1 - 0.55 cos(2 pi t) - 0.25 cos(4 pi t) over the first `day` days. */
function activityUntil(day: number): number {
  return day - (0.55 * Math.sin(2 * Math.PI * day)) / (2 * Math.PI) - (0.25 * Math.sin(4 * Math.PI * day)) / (4 * Math.PI)
}

function contentEvent(
  catalogue: Catalogue,
  model: TasteModel,
  index: number,
  eventTs: number,
  kind: 'new' | 'update' | 'delete',
): SourceEvent {
  const itemId = itemName(index)
  if (kind === 'delete') return { topic: 'item-content', eventTs, itemId, record: null }
  const nature = catalogue.natures[index]!
  const vectors: Record<string, Float32Array> = {}
  for (const modality of ['image', 'text'] as const) {
    const vector = model.encode(index, nature, modality, kind === 'new' ? 0 : 1)
    if (vector !== undefined) vectors[modality] = vector
  }
  const record: ItemContent = { itemId, eventTs, vectors, labels: catalogue.labels(index), authorId: authorName(nature.author) }
  return { topic: 'item-content', eventTs, itemId, record }
}

/** The recommender whose ID embeddings teach: it sees tastes through noise that shrinks with exposures. */
class Teacher {
  readonly #seed: number
  readonly #catalogue: Catalogue
  readonly #map: Float64Array
  /** Exposures so far, and at the last publication, per item. */
  readonly #exposures: Uint32Array
  readonly #published: Uint32Array
  readonly #authorPublished = new Map<number, number>()
  #round = 0

  constructor(seed: number, catalogue: Catalogue) {
    this.#seed = seed
    this.#catalogue = catalogue
    const random = new RandomStream(seed, 'teacher')
    this.#map = Float64Array.from({ length: idDim * tasteDim }, () => random.normal() / Math.sqrt(tasteDim))
    this.#exposures = new Uint32Array(catalogue.natures.length)
    this.#published = new Uint32Array(catalogue.natures.length)
  }

  count(itemId: string): void {
    this.#exposures[itemIndex(itemId)]!++
  }

  /** ID embeddings of items and authors whose exposures have grown by a third since the last time. */
  *publish(ts: number): Generator<IdEmbedding, void, undefined> {
    this.#round++
    const authors = new Map<number, { taste: Float32Array; exposures: number }>()
    for (let i = 0; i < this.#exposures.length; i++) {
      const exposures = this.#exposures[i]!
      if (exposures === 0) continue
      const { taste, author } = this.#catalogue.natures[i]!
      const sum = authors.get(author) ?? { taste: new Float32Array(tasteDim), exposures: 0 }
      for (let d = 0; d < tasteDim; d++) sum.taste[d]! += exposures * taste[d]!
      sum.exposures += exposures
      authors.set(author, sum)
      if (exposures * 3 < this.#published[i]! * 4) continue
      this.#published[i] = exposures
      yield this.#embed('item', itemName(i), i, taste, exposures, ts)
    }
    for (const [author, { taste, exposures }] of authors) {
      if (exposures * 3 < (this.#authorPublished.get(author) ?? 0) * 4) continue
      this.#authorPublished.set(author, exposures)
      const mean = taste.map((value) => value / exposures)
      yield this.#embed('author', authorName(author), author, mean, exposures, ts)
    }
  }

  #embed(entity: string, entityId: string, index: number, taste: Float32Array, exposures: number, ts: number): IdEmbedding {
    const random = new RandomStream(this.#seed, `teacher-${entity}-${this.#round}`, index)
    const noise = 1.2 / Math.sqrt(exposures)
    const vector = new Float32Array(idDim)
    for (let d = 0; d < idDim; d++) {
      let sum = 0
      for (let f = 0; f < tasteDim; f++) sum += this.#map[d * tasteDim + f]! * taste[f]!
      vector[d] = sum + noise * random.normal()
    }
    return { entity, entityId, eventTs: ts, vector, exposures }
  }
}
