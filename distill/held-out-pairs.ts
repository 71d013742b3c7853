/**
 * What a vector set knows of pairs that belong together by their content and that no training saw: each query is ranked
 * against all items but itself.
 * Invariant: the same pairs give the same queries in the same order for every vector set, so that figures can be paired.
 */
import type { ContentFigure } from '../schemas/index.ts'
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
