/**
 * What SAIL-Embedding measures on a space of items beside ranking: next items of all and of cold targets, consistent histories,
 * agreement with the items' own ID embeddings, graded pairs. The stream and the offline run ask the same questions here.
 * Invariant: every vector set is asked the same events, items and pairs, evenly thinned; equal input gives equal figures.
 */

import { spaceFigures, type SpaceFigure } from '../schemas/index.ts'
import { hits, scoreVectors, unitRows, type EvaluationScores } from './evaluation-scores.ts'
import type { EvaluationPlan } from './evaluation.ts'
import type { GradedPairs } from './held-out-pairs.ts'
import type { OpenSimilarity } from './ports.ts'
import { clusterAgreement, pairAuc, recallDepths, retrievalMetrics } from './retrieval-metrics.ts'
import { rowsOf } from './score-rows.ts'
import { kendallAgreement, topKIntersection } from './space-agreement.ts'
import type { VectorSet } from './vector-set.ts'

/** What is known of the items of a window beside their vectors, by number. */
export interface SpaceInput {
  /** Label or cluster of each item, -1 = none; shape [items]. */
  readonly labels: Int32Array
  /** Undefined: no kind of ID embedding is joined by the item itself, or none has come. */
  readonly idEmbeddings?: ItemIdEmbeddings | undefined
  /** Undefined: there are none that no training saw. */
  readonly graded?: GradedPairs | undefined
}

/** The recommender's vectors of the items themselves. */
export interface ItemIdEmbeddings {
  readonly dim: number
  /** Undefined for an item that has none. */
  readonly vector: (item: number) => Float32Array | undefined
  /** Whether the item's ID embedding may have taught the candidate. */
  readonly hasTaught: (item: number) => boolean
}

/** How far back a history of one label reaches (SAIL's Filtered set). */
export const filteredReach = 1000
/** Most clusters of items without a label: as fine as a label is. */
export const labelClusters = 100

/** Events, items and pairs that the figures look at, the most: each is compared with every item, or clustered. */
const askedEvents = 2000
const askedItems = 2000
const askedPairs = 20_000
/** Neighbors that two spaces share, of so many nearest; with fewer items a tenth of them, else chance alone would look like agreement. */
const nearest = 100
const itemsPerNeighbor = 10
/** Items between which there is an order to agree on. */
const fewestItems = 3

/** The questions of a window, the same for every vector set. */
export interface SpaceQuestions {
  readonly plan: EvaluationPlan
  /** Of consistent histories. */
  readonly filtered: EvaluationPlan
  readonly next: { readonly all: Int32Array; readonly cold: Int32Array }
  readonly ids: { readonly untaught: IdQuestion; readonly taught: IdQuestion; readonly cold: IdQuestion }
  readonly graded: GradedPairs | undefined
  /** Events, items or pairs behind each figure. */
  readonly behind: Readonly<Record<SpaceFigure, number>>
  /** Why there is nothing to ask, in words. */
  readonly notMeasured: NotMeasured
}

/** Reasons by figure. */
export type NotMeasured = Readonly<Partial<Record<SpaceFigure, string>>>

/** Items and their ID embeddings. */
interface IdQuestion {
  readonly items: Int32Array
  /** Row-major float32, shape [items.length, dim]. */
  readonly vectors: Float32Array
  readonly dim: number
}

/**
 * Chooses what is asked.
 * @param filtered - the plan of the same window with histories of the target's label
 * @param isCold - of an item by number: nobody had liked it before the window
 */
export function askSpaces(
  plan: EvaluationPlan,
  filtered: EvaluationPlan,
  { idEmbeddings, graded }: SpaceInput,
  isCold: (item: number) => boolean,
): SpaceQuestions {
  const events = Int32Array.from({ length: plan.events }, (_, event) => event)
  const next = {
    all: thinned(events, askedEvents),
    cold: thinned(
      events.filter((event) => plan.cold[event] === 1),
      askedEvents,
    ),
  }
  const known = knownIds(plan.items, idEmbeddings)
  const untaught = known.filter((item) => !idEmbeddings!.hasTaught(item))
  const ask = (items: Int32Array): IdQuestion => idQuestion(thinned(items, askedItems), idEmbeddings)
  const questions = {
    plan,
    filtered,
    next,
    ids: {
      untaught: ask(untaught),
      taught: ask(known.filter((item) => idEmbeddings!.hasTaught(item))),
      cold: ask(untaught.filter(isCold)),
    },
    graded: graded && thinnedPairs(graded),
  }
  return { ...questions, behind: countsOf(questions), notMeasured: reasonsOf(questions, known, known.filter(isCold).length, idEmbeddings) }
}

type Asked = Omit<SpaceQuestions, 'behind' | 'notMeasured'>

function countsOf({ filtered, next, ids, graded }: Asked): SpaceQuestions['behind'] {
  const coldFiltered = filtered.cold.reduce((sum, flag) => sum + flag, 0)
  const counts = spaceFigures.map((name): [SpaceFigure, number] => {
    const cold = name.startsWith('cold')
    if (name === 'pairAuc') return [name, graded?.close.length ?? 0]
    if (/FilteredRecall|filteredRecall/.test(name)) return [name, cold ? coldFiltered : filtered.events]
    if (/kendall|top100/i.test(name)) return [name, ids[cold ? 'cold' : name.startsWith('taught') ? 'taught' : 'untaught'].items.length]
    return [name, cold ? next.cold.length : next.all.length]
  })
  return Object.fromEntries(counts) as Record<SpaceFigure, number>
}

function reasonsOf(asked: Asked, known: Int32Array, knownCold: number, idEmbeddings: ItemIdEmbeddings | undefined): NotMeasured {
  const behind = countsOf(asked)
  const noKind = idEmbeddings === undefined ? 'there are no ID embeddings that are joined by the item itself' : undefined
  const few = (name: SpaceFigure, all: number, what: string): string | undefined => {
    const count = behind[name]
    if (/top100/i.test(name) ? neighborsAsked(count) > 0 : count >= fewestItems) return undefined
    if (noKind !== undefined) return noKind
    if (all === 0) return `no ${what} has an ID embedding`
    if (name.startsWith('taught')) return count === 0 ? 'no ID embedding taught this head' : `only ${count} ID embeddings taught this head`
    return count === 0
      ? `each ${what} with an ID embedding taught this head (${all})`
      : `only ${count} of ${all} ID embeddings of ${what}s did not teach this head`
  }
  const reasons = spaceFigures.map((name): [SpaceFigure, string | undefined] => {
    const cold = name.startsWith('cold')
    if (/kendall|top100/i.test(name)) return [name, cold ? few(name, knownCold, 'cold item') : few(name, known.length, 'item')]
    if (behind[name] > 0) return [name, undefined]
    if (name === 'pairAuc') return [name, 'there are no graded pairs that no training saw']
    if (/filteredRecall/i.test(name)) return [name, `no event${cold ? ' of a cold item' : ''} has a history of its label or cluster`]
    return [name, cold ? 'no event has a cold item' : 'there is no event']
  })
  return Object.fromEntries(reasons.filter(([, reason]) => reason !== undefined))
}

function knownIds(items: number, idEmbeddings: ItemIdEmbeddings | undefined): Int32Array {
  if (idEmbeddings === undefined) return new Int32Array(0)
  return Int32Array.from({ length: items }, (_, item) => item).filter((item) => idEmbeddings.vector(item) !== undefined)
}

function idQuestion(items: Int32Array, idEmbeddings: ItemIdEmbeddings | undefined): IdQuestion {
  const dim = idEmbeddings?.dim ?? 0
  const vectors = new Float32Array(items.length * dim)
  items.forEach((item, i) => vectors.set(idEmbeddings!.vector(item)!, i * dim))
  return { items, vectors, dim }
}

/** Figures of one vector set; null where there is nothing to measure. */
export interface MeasuredSpace {
  readonly figures: Readonly<Record<SpaceFigure, number | null>>
  /** Scores on the plan of consistent histories. */
  readonly filtered: EvaluationScores
}

export async function measureSpace(questions: SpaceQuestions, set: VectorSet, open: OpenSimilarity): Promise<MeasuredSpace> {
  const { plan, filtered, next, ids, graded } = questions
  const byPlace = { vectors: unitRows(set.vectors, set.dim, plan.order), dim: set.dim }
  const all = await nextItems(plan, next.all, byPlace, open)
  const cold = await nextItems(plan, next.cold, byPlace, open)
  const untaught = await idAgreement(ids.untaught, set, open)
  const taught = await idAgreement(ids.taught, set, open)
  const coldIds = await idAgreement(ids.cold, set, open)
  const scores = await scoreVectors(filtered, set.vectors, set.dim, open)
  const measured: Record<string, number> = {
    ...all,
    ...filteredRecalls('filteredRecall', scores, () => true),
    ...untaught,
    taughtKendall: taught.kendall,
    taughtTop100: taught.top100,
    pairAuc: graded === undefined ? NaN : gradedAuc(graded, set),
    coldSeparability: cold.separability,
    coldDPrime: cold.dPrime,
    coldBijective: cold.bijective,
    coldNmi: cold.nmi,
    ...filteredRecalls('coldFilteredRecall', scores, (event) => filtered.cold[event] === 1),
    coldKendall: coldIds.kendall,
    coldTop100: coldIds.top100,
  }
  const figures = spaceFigures.map((name) => [name, Number.isFinite(measured[name]) ? measured[name]! : null])
  return { figures: Object.fromEntries(figures) as MeasuredSpace['figures'], filtered: scores }
}

function filteredRecalls(name: string, { ranks }: EvaluationScores, counts: (event: number) => boolean): Record<string, number> {
  const own = ranks.filter((_, event) => counts(event))
  return Object.fromEntries(recallDepths.map((k) => [`${name}${k}`, hits(own, k).reduce((sum, hit) => sum + hit, 0) / own.length]))
}

type NextItems = Record<'separability' | 'dPrime' | 'bijective' | 'nmi', number>

/**
 * Histories against the items that were liked next.
 * @param set - unit rows by place
 */
async function nextItems(plan: EvaluationPlan, events: Int32Array, set: VectorSet, open: OpenSimilarity): Promise<NextItems> {
  const { vectors: items, dim } = set
  const count = events.length
  if (count === 0) return { separability: NaN, dPrime: NaN, bijective: NaN, nmi: NaN }
  const queries = new Float32Array(count * dim)
  events.forEach((event, e) => {
    for (let h = event * plan.historyLength; h < (event + 1) * plan.historyLength && plan.histories[h]! >= 0; h++) {
      for (let d = 0; d < dim; d++) queries[e * dim + d]! += items[plan.histories[h]! * dim + d]!
    }
  })
  const relevance = { offsets: Int32Array.from({ length: count + 1 }, (_, i) => i), items: events.map((event) => plan.targets[event]!) }
  const { separability, bijective } = await retrievalMetrics({ queries, items, dim, relevance }, open)
  const nmi = count < 2 ? NaN : await clusterAgreement(queries, rowsOf(items, dim, relevance.items), dim)
  return { separability: separability.auc, dPrime: separability.dPrime, bijective, nmi }
}

/** Some items against the recommender's vectors of the same. */
async function idAgreement(
  { items, vectors: theirs, dim: idDim }: IdQuestion,
  { vectors, dim }: VectorSet,
  open: OpenSimilarity,
): Promise<{ readonly kendall: number; readonly top100: number }> {
  if (items.length < fewestItems) return { kendall: NaN, top100: NaN }
  const own = rowsOf(vectors, dim, items)
  const pair = {
    a: { queries: own, items: own, dim },
    b: { queries: theirs, items: theirs, dim: idDim },
    self: Int32Array.from(items.keys()),
  }
  const k = neighborsAsked(items.length)
  return {
    kendall: await kendallAgreement(pair, {}, open),
    top100: k === 0 ? NaN : await topKIntersection(pair, k, open),
  }
}

function neighborsAsked(items: number): number {
  return Math.max(0, Math.min(nearest, Math.floor((items - 1) / itemsPerNeighbor)))
}

function gradedAuc({ queries, targets, close }: GradedPairs, { vectors, dim }: VectorSet): number {
  return pairAuc(rowsOf(vectors, dim, queries), rowsOf(vectors, dim, targets), dim, close)
}

function thinnedPairs({ queries, targets, close }: GradedPairs): GradedPairs {
  const kept = thinned(Int32Array.from(close.keys()), askedPairs)
  return {
    queries: kept.map((p) => queries[p]!),
    targets: kept.map((p) => targets[p]!),
    close: Uint8Array.from(kept, (p) => close[p]!),
  }
}

/** At most `most` of them, evenly over all. */
function thinned(all: Int32Array, most: number): Int32Array {
  const count = Math.min(all.length, most)
  return Int32Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]!)
}
