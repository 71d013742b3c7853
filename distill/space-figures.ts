/**
 * What SAIL-Embedding measures on a space of items beside ranking: next items of all and of cold targets, agreement with the
 * items' own ID embeddings, graded pairs.
 * Invariant: the events are those of the plan, evenly thinned; equal input gives equal figures.
 */

import type { SpaceFigure } from '../schemas/index.ts'
import { unitRows } from './evaluation-scores.ts'
import type { EvaluationPlan } from './evaluation.ts'
import type { VectorSet } from './judge.ts'
import type { OfflineData } from './offline-data.ts'
import type { OfflineWindow } from './offline-judge.ts'
import type { OpenSimilarity } from './ports.ts'
import { clusterAgreement, pairAuc, retrievalMetrics } from './retrieval-metrics.ts'
import { rowsOf } from './score-rows.ts'
import { kendallAgreement, topKIntersection } from './space-agreement.ts'

/** Null where there is nothing to measure. */
export type SpaceFigures = Readonly<Record<SpaceFigure, number | null>>

export interface MeasuredSpace {
  readonly figures: SpaceFigures
  /** Events, items or pairs behind each figure. */
  readonly behind: Readonly<Record<SpaceFigure, number>>
}

export interface SpaceQuestion {
  readonly data: OfflineData
  readonly window: OfflineWindow
  readonly plan: EvaluationPlan
  /** Kind of ID embedding that is joined by the item itself, to compare with. */
  readonly itemKind: string | undefined
}

/** Events and items that the figures look at, the most: each is compared with every item, or clustered. */
const askedEvents = 2000
const askedItems = 2000

/** Figures of one vector set. */
export async function measureSpace(question: SpaceQuestion, set: VectorSet, open: OpenSimilarity): Promise<MeasuredSpace> {
  const { plan, window } = question
  const events = Int32Array.from({ length: plan.events }, (_, event) => event)
  const items = Int32Array.from(window.ids.keys())
  const all = await nextItems(plan, thinned(events, askedEvents), set, open)
  const cold = await nextItems(
    plan,
    thinned(
      events.filter((event) => plan.cold[event] === 1),
      askedEvents,
    ),
    set,
    open,
  )
  const near = await idAgreement(question, items, set, open)
  const nearCold = await idAgreement(
    question,
    items.filter((item) => window.since[item]! >= window.window.from),
    set,
    open,
  )
  const graded = gradedAuc(question.data, window, set)
  return {
    figures: {
      separability: all.separability,
      dPrime: all.dPrime,
      bijective: all.bijective,
      nmi: all.nmi,
      kendall: near.kendall,
      top100: near.top100,
      pairAuc: graded.value,
      coldSeparability: cold.separability,
      coldDPrime: cold.dPrime,
      coldBijective: cold.bijective,
      coldNmi: cold.nmi,
      coldKendall: nearCold.kendall,
      coldTop100: nearCold.top100,
    },
    behind: {
      separability: all.events,
      dPrime: all.events,
      bijective: all.events,
      nmi: all.events,
      kendall: near.items,
      top100: near.items,
      pairAuc: graded.pairs,
      coldSeparability: cold.events,
      coldDPrime: cold.events,
      coldBijective: cold.events,
      coldNmi: cold.events,
      coldKendall: nearCold.items,
      coldTop100: nearCold.items,
    },
  }
}

interface NextItems {
  readonly events: number
  readonly separability: number | null
  readonly dPrime: number | null
  readonly bijective: number | null
  readonly nmi: number | null
}

/** Histories against the items that were liked next. */
async function nextItems(plan: EvaluationPlan, events: Int32Array, { vectors, dim }: VectorSet, open: OpenSimilarity): Promise<NextItems> {
  const count = events.length
  if (count === 0) return { events: 0, separability: null, dPrime: null, bijective: null, nmi: null }
  const items = unitRows(vectors, dim, plan.order)
  const queries = new Float32Array(count * dim)
  events.forEach((event, e) => {
    for (let h = event * plan.historyLength; h < (event + 1) * plan.historyLength && plan.histories[h]! >= 0; h++) {
      for (let d = 0; d < dim; d++) queries[e * dim + d]! += items[plan.histories[h]! * dim + d]!
    }
  })
  const relevance = { offsets: Int32Array.from({ length: count + 1 }, (_, i) => i), items: events.map((event) => plan.targets[event]!) }
  const { separability, bijective } = await retrievalMetrics({ queries, items, dim, relevance }, open)
  return {
    events: count,
    separability: finite(separability.auc),
    dPrime: finite(separability.dPrime),
    bijective: finite(bijective),
    nmi: count < 2 ? null : finite(clusterAgreement(queries, rowsOf(items, dim, relevance.items), dim)),
  }
}

/** Some items against the recommender's vectors of the same. */
async function idAgreement(
  { data: { teachers }, window: { ids }, itemKind }: SpaceQuestion,
  items: Int32Array,
  { vectors, dim }: VectorSet,
  open: OpenSimilarity,
): Promise<{ readonly items: number; readonly kendall: number | null; readonly top100: number | null }> {
  const kind = teachers.kinds.find(({ name }) => name === itemKind)
  const all =
    kind === undefined ? items.subarray(0, 0) : items.filter((number) => teachers.embedding(kind.name, ids[number]!) !== undefined)
  if (kind === undefined || all.length < 3) return { items: all.length, kendall: null, top100: null }
  const chosen = thinned(all, askedItems)
  const own = rowsOf(vectors, dim, chosen)
  const theirs = new Float32Array(chosen.length * kind.dim)
  chosen.forEach((number, i) => theirs.set(teachers.embedding(kind.name, ids[number]!)!.vector, i * kind.dim))
  const pair = {
    a: { queries: own, items: own, dim },
    b: { queries: theirs, items: theirs, dim: kind.dim },
    self: Int32Array.from(chosen.keys()),
  }
  return {
    items: chosen.length,
    kendall: finite(await kendallAgreement(pair, {}, open)),
    top100: finite(await topKIntersection(pair, Math.min(100, chosen.length - 1), open)),
  }
}

function gradedAuc(
  { pairs }: OfflineData,
  { ids }: OfflineWindow,
  { vectors, dim }: VectorSet,
): { readonly pairs: number; readonly value: number | null } {
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const graded = [...pairs.values()].flatMap(({ heldOut }) =>
    heldOut.filter(({ queryId, targetId, score }) => score !== undefined && numbers.has(queryId) && numbers.has(targetId)),
  )
  if (graded.length === 0) return { pairs: 0, value: null }
  const ascending = Float64Array.from(graded, ({ score }) => score!).sort()
  const [least, median] = [ascending[0]!, ascending[Math.floor(ascending.length / 2)]!]
  const side = (id: (pair: (typeof graded)[number]) => string): Float32Array =>
    rowsOf(
      vectors,
      dim,
      Int32Array.from(graded, (pair) => numbers.get(id(pair))!),
    )
  // With two grades the median is one of them: the lowest grade never counts as close.
  const labels = graded.map(({ score }) => (score! >= median && score! > least ? 1 : 0))
  const value = finite(
    pairAuc(
      side(({ queryId }) => queryId),
      side(({ targetId }) => targetId),
      dim,
      labels,
    ),
  )
  return { pairs: graded.length, value }
}

/** At most `most` of them, evenly over all. */
function thinned(all: Int32Array, most: number): Int32Array {
  const count = Math.min(all.length, most)
  return Int32Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]!)
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
