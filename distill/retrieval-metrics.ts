/**
 * What SAIL-Embedding measures on pairs: recall@k, separability, bijective alignment, AUC of scored pairs, NMI of clusters
 * (arXiv 2510.12709, section 4).
 * Invariant: exact on the cosines that the similarity gives, ties by the lower index, nothing sampled; memory is bounded by
 * one block of scores.
 */
import { setImmediate } from 'node:timers/promises'
import { auc, KMeans, normalizedMutualInformation, ranksOf, SeparabilityCounter } from '../compute/index.ts'
import type { Separability } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { OpenSimilarity } from './ports.ts'
import { withScores } from './score-rows.ts'
import type { ScoreSpace, ScoreWalk } from './score-rows.ts'
import { openSimilarity } from './similarity.ts'

/** The k of recall@k that SAIL reports. */
export const recallDepths = [1, 10, 25, 50, 100] as const

/** Which items are relevant to which query. */
export interface Relevance {
  /** Items of query q are `items[offsets[q] .. offsets[q + 1])`, shape [queries + 1]. */
  readonly offsets: Int32Array
  readonly items: Int32Array
  /** Number of the query among the items, which is then not ranked, shape [queries]; -1 = it is none of them. */
  readonly self?: Int32Array
}

export interface RetrievalInput extends ScoreSpace {
  readonly relevance: Relevance
}

export interface RetrievalMetrics {
  /** Rank of every relevant item, from 0, shape [relevance.items.length]. */
  readonly ranks: Int32Array
  /** Relevant items against all others of all queries. */
  readonly separability: Separability
  /** Share of queries that the nearest of all relevant items leads back to; NaN without queries. */
  readonly bijective: number
}

/** Ranks, separability and bijective alignment of queries and their relevant items, in two walks over the scores. */
export async function retrievalMetrics(input: RetrievalInput, open: OpenSimilarity = openSimilarity): Promise<RetrievalMetrics> {
  const relevance = requireRelevance(input)
  return withScores(input, open, async (walk) => {
    const { ranks, positives, bijective } = await firstWalk(walk, relevance, input.items.length / input.dim)
    return { ranks, separability: await separate(walk, relevance, positives), bijective }
  })
}

/** Ranks of the relevant items alone, from 0, shape [relevance.items.length]. */
export async function relevantRanks(input: RetrievalInput, open: OpenSimilarity = openSimilarity): Promise<Int32Array> {
  const relevance = requireRelevance(input)
  const ranks = new Int32Array(relevance.items.length)
  await withScores(input, open, (walk) =>
    walk((q, scores) => ranks.set(ranksOf(scores, itemsOf(relevance, q), selfOf(relevance, q)), relevance.offsets[q])),
  )
  return ranks
}

/**
 * Share of each query's relevant items among its first k.
 * @returns shape [queries]; NaN for a query without relevant items
 */
export function recallPerQuery(ranks: Int32Array, offsets: Int32Array, k: number): Float64Array {
  return Float64Array.from({ length: offsets.length - 1 }, (_, q) => {
    let found = 0
    for (let i = offsets[q]!; i < offsets[q + 1]!; i++) if (ranks[i]! < k) found++
    return found / (offsets[q + 1]! - offsets[q]!)
  })
}

async function firstWalk(
  walk: ScoreWalk,
  relevance: Relevance,
  count: number,
): Promise<{ ranks: Int32Array; positives: Float32Array; bijective: number }> {
  const ranks = new Int32Array(relevance.items.length)
  const positives = new Float32Array(relevance.items.length)
  const targets = Int32Array.from(new Set(relevance.items)).sort()
  const queries = relevance.offsets.length - 1
  /** Nearest target of each query, and query nearest to each item; strict `>` leaves ties to the lower number. */
  const nearest = new Int32Array(queries).fill(-1)
  const back = new Int32Array(count).fill(-1)
  const backScores = new Float32Array(count)
  await walk((q, scores) => {
    const self = selfOf(relevance, q)
    const wanted = itemsOf(relevance, q)
    ranks.set(ranksOf(scores, wanted, self), relevance.offsets[q])
    wanted.forEach((item, i) => (positives[relevance.offsets[q]! + i] = scores[item]!))
    for (const item of targets) {
      const score = scores[item]!
      if (item === self) continue
      if (nearest[q]! < 0 || score > scores[nearest[q]!]!) nearest[q] = item
      if (back[item]! >= 0 && score <= backScores[item]!) continue
      back[item] = q
      backScores[item] = score
    }
  })
  let returned = 0
  nearest.forEach((item, q) => (returned += item >= 0 && back[item] === q ? 1 : 0))
  return { ranks, positives, bijective: returned / queries }
}

/** The second walk gives the same scores again, so a negative that equals a positive is a tie to the bit. */
async function separate(walk: ScoreWalk, relevance: Relevance, positives: Float32Array): Promise<Separability> {
  const counter = new SeparabilityCounter(positives)
  await walk((q, scores) => {
    const self = selfOf(relevance, q)
    for (const item of itemsOf(relevance, q)) scores[item] = NaN
    for (let item = 0; item < scores.length; item++) {
      if (item !== self && !Number.isNaN(scores[item]!)) counter.add(scores[item]!)
    }
  })
  return counter.result()
}

export interface ClusterOptions {
  /** Clusters, k. Higher: finer, and slower in proportion. @default 100 */
  readonly clusters?: number
  /** Rounds of k-means at most. @default 20 */
  readonly iterations?: number
  /** @default 1 */
  readonly seed?: number
}

export const clusterDefaults: Readonly<Required<ClusterOptions>> = { clusters: 100, iterations: 20, seed: 1 }

/**
 * Normalized mutual information of the clusters of queries and of their targets, from one k-means by cosine over both. A
 * pair with a zero row is left out. Runs in the calling thread, which may do other things between two rounds: rows x k x dim each.
 * @param queries - row-major float32, shape [pairs, dim]
 * @param targets - row i belongs to query i, same shape
 * @returns NaN when all stand in one cluster
 */
export async function clusterAgreement(
  queries: Float32Array,
  targets: Float32Array,
  dim: number,
  options: ClusterOptions = {},
): Promise<number> {
  requirePairs(queries, targets, dim)
  const { clusters, iterations, seed } = { ...clusterDefaults, ...options }
  const rows = new Float32Array(queries.length + targets.length)
  rows.set(queries)
  rows.set(targets, queries.length)
  const fit = new KMeans(rows, dim, { size: clusters, iterations, seed, metric: 'cosine' })
  do await setImmediate()
  while (fit.round())
  const { codes } = fit.result()
  const pairs = queries.length / dim
  const kept = Int32Array.from({ length: pairs }, (_, i) => i).filter((i) => codes[i]! >= 0 && codes[pairs + i]! >= 0)
  return normalizedMutualInformation(
    kept.map((i) => codes[i]!),
    kept.map((i) => codes[pairs + i]!),
  )
}

/**
 * AUC of pairs by their cosine.
 * @param labels - 1 for a pair that belongs together, else 0, shape [pairs]
 * @returns NaN when one of both kinds is missing
 */
export function pairAuc(queries: Float32Array, targets: Float32Array, dim: number, labels: ArrayLike<number>): number {
  return auc(pairCosines(queries, targets, dim), labels)
}

/** Cosine of row i of both sides, float64, shape [pairs]; 0 where a row is zero. */
export function pairCosines(queries: Float32Array, targets: Float32Array, dim: number): Float64Array {
  if (queries.length !== targets.length || queries.length % dim !== 0) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `pairs need as many numbers on both sides: ${queries.length} and ${targets.length}`,
    )
  }
  return Float64Array.from({ length: queries.length / dim }, (_, i) => {
    let [product, left, right] = [0, 0, 0]
    for (let at = i * dim; at < (i + 1) * dim; at++) {
      product += queries[at]! * targets[at]!
      left += queries[at]! ** 2
      right += targets[at]! ** 2
    }
    return left > 0 && right > 0 ? product / Math.sqrt(left * right) : 0
  })
}

function requirePairs(queries: Float32Array, targets: Float32Array, dim: number): void {
  if (queries.length === targets.length && queries.length % dim === 0) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `pairs need as many numbers on both sides: ${queries.length} and ${targets.length}`,
  )
}

function itemsOf({ offsets, items }: Relevance, query: number): Int32Array {
  return items.subarray(offsets[query], offsets[query + 1])
}

function selfOf({ self }: Relevance, query: number): number {
  return self?.[query] ?? -1
}

function requireRelevance({ queries, items, dim, relevance }: RetrievalInput): Relevance {
  const { offsets, items: relevant, self } = relevance
  const asked = queries.length / dim
  const count = items.length / dim
  if (offsets.length !== asked + 1 || offsets.at(-1) !== relevant.length || (self !== undefined && self.length !== asked)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${asked} queries need ${asked + 1} offsets that end at ${relevant.length}, and as many numbers of their own if any`,
    )
  }
  for (let q = 0; q < asked; q++) {
    for (const item of itemsOf(relevance, q)) {
      if (item >= 0 && item < count && item !== self?.[q]) continue
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `item ${item} cannot be relevant to query ${q}: it is the query, or no item`)
    }
  }
  return relevance
}
