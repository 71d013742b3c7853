/**
 * What a vector set knows of pairs that belong together by their content and that no training saw: each query is ranked
 * against all items but itself.
 * Invariant: the same pairs give the same queries in the same order for every vector set, so that figures can be paired.
 */
import type { ContentFigure, ItemPair } from '../schemas/index.ts'
import type { OpenSimilarity } from './ports.ts'
import { recallDepths, recallPerQuery, retrievalMetrics } from './retrieval-metrics.ts'
import type { Relevance } from './retrieval-metrics.ts'
import { rowsOf } from './score-rows.ts'
import { openSimilarity } from './similarity.ts'

/** Pairs by item number: `targets[p]` belongs to `queries[p]`. Repeated pairs count once; an item with itself is no pair. */
export interface HeldOutPairs {
  readonly queries: Int32Array
  readonly targets: Int32Array
}

/** Pairs with a score, by item number: `close[p]` is 1 for one of the median score of its source and above, shape [pairs]. */
export interface GradedPairs extends HeldOutPairs {
  readonly close: Uint8Array
}

/** A pair of two items that are known. */
export interface GivenPair {
  readonly source: string
  readonly query: number
  readonly target: number
  readonly score?: number | null | undefined
}

/** The pairs whose both items are among those numbered, by their numbers. */
export function* numberedPairs(pairs: Iterable<ItemPair>, numbers: ReadonlyMap<string, number>): Iterable<GivenPair> {
  for (const { source, queryId, targetId, score } of pairs) {
    const [query, target] = [numbers.get(queryId), numbers.get(targetId)]
    if (query !== undefined && target !== undefined) yield { source, query, target, score }
  }
}

/** Pairs without a score belong together; graded ones only say how well. Undefined where there are none of a kind. */
export function splitPairs(given: Iterable<GivenPair>): { readonly pairs?: HeldOutPairs; readonly graded?: GradedPairs } {
  const plain: GivenPair[] = []
  const graded = new Map<string, (GivenPair & { readonly score: number })[]>()
  for (const { score, ...pair } of given) {
    if (score === undefined || score === null) {
      plain.push(pair)
      continue
    }
    const own = graded.get(pair.source)
    if (own) own.push({ ...pair, score })
    else graded.set(pair.source, [{ ...pair, score }])
  }
  const scored = [...graded.values()].flatMap(closeOnes)
  return {
    ...(plain.length > 0 && { pairs: numbersOf(plain) }),
    ...(scored.length > 0 && { graded: { ...numbersOf(scored), close: Uint8Array.from(scored, ({ close }) => (close ? 1 : 0)) } }),
  }
}

/** With two grades the median is one of them: the lowest grade never counts as close. */
function closeOnes(own: readonly (GivenPair & { readonly score: number })[]): (GivenPair & { readonly close: boolean })[] {
  const ascending = Float64Array.from(own, ({ score }) => score).sort()
  const [least, median] = [ascending[0]!, ascending[Math.floor(ascending.length / 2)]!]
  return own.map((pair) => ({ ...pair, close: pair.score >= median && pair.score > least }))
}

function numbersOf(pairs: readonly GivenPair[]): HeldOutPairs {
  return { queries: Int32Array.from(pairs, ({ query }) => query), targets: Int32Array.from(pairs, ({ target }) => target) }
}

/** The pairs as questions: distinct queries, ascending, with everything that belongs to each. */
export interface PairQuestions extends Relevance {
  /** Item number of each query, shape [queries]. */
  readonly self: Int32Array
}

/**
 * Groups pairs by query.
 * @param maxQueries - most queries that are asked; they are taken evenly over the numbers
 */
export function pairQuestions({ queries, targets }: HeldOutPairs, maxQueries = Infinity): PairQuestions {
  const byQuery = new Map<number, Set<number>>()
  queries.forEach((query, p) => {
    const target = targets[p]!
    if (query === target) return
    const known = byQuery.get(query)
    if (known) known.add(target)
    else byQuery.set(query, new Set([target]))
  })
  const all = Int32Array.from(byQuery.keys()).sort()
  const asked = Math.min(all.length, maxQueries)
  const self = Int32Array.from({ length: asked }, (_, i) => all[Math.floor((i * all.length) / asked)]!)
  const offsets = new Int32Array(asked + 1)
  self.forEach((query, i) => (offsets[i + 1] = offsets[i]! + byQuery.get(query)!.size))
  const items = new Int32Array(offsets[asked]!)
  self.forEach((query, i) => items.set(Int32Array.from(byQuery.get(query)!).sort(), offsets[i]))
  return { self, offsets, items }
}

export interface PairScores {
  /** Share of each query's targets among its first 50, shape [queries]. */
  readonly recall50: Float64Array
  /** Means over queries, NaN without any. */
  readonly figures: Readonly<Record<Exclude<ContentFigure, 'neighborRecall'>, number>>
}

/**
 * Scores one vector set on the questions.
 * @param vectors - row-major float32, shape [items, dim], rows by item number
 * @throws SIDESTREAM_SHAPE_MISMATCH when a pair names no item or a number is not finite
 */
export async function scorePairs(
  questions: PairQuestions,
  vectors: Float32Array,
  dim: number,
  open: OpenSimilarity = openSimilarity,
): Promise<PairScores> {
  const queries = rowsOf(vectors, dim, questions.self)
  const { ranks, separability, bijective } = await retrievalMetrics({ queries, items: vectors, dim, relevance: questions }, open)
  const recall = (k: number): Float64Array => recallPerQuery(ranks, questions.offsets, k)
  const recalls = recallDepths.map((k) => [`pairRecall${k}`, mean(recall(k))] as const)
  return {
    recall50: recall(50),
    figures: {
      ...(Object.fromEntries(recalls) as Record<`pairRecall${(typeof recallDepths)[number]}`, number>),
      pairSeparation: separability.auc,
      pairDPrime: separability.dPrime,
      pairBijective: bijective,
    },
  }
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
