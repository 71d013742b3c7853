/**
 * How far two spaces agree about the same queries and items: top-k intersection and Kendall's tau (arXiv 2510.12709,
 * section 4, between an embedding and the recommender's own vectors).
 * Invariant: exact on the cosines that the similarity gives, ties by the lower index, nothing sampled but the candidates of
 * Kendall's tau; memory is bounded by one block of scores and what is kept of 1,024 queries.
 */
import { kendallTau, shuffle, topK } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { OpenSimilarity } from './ports.ts'
import { rowsOf, withScores } from './score-rows.ts'
import type { ScoreSpace } from './score-rows.ts'
import { openSimilarity } from './similarity.ts'

/** The same things in two spaces: what is near in one should be near in the other. */
export interface SpacePair {
  readonly a: ScoreSpace
  /** Same queries and items in the same order; dims may differ. */
  readonly b: ScoreSpace
  /** As in `Relevance`. */
  readonly self?: Int32Array
}

/**
 * Share of a query's k nearest in space A that are among its k nearest in space B, mean over queries.
 * @param k - at most the items that are ranked. SAIL leaves it open; 100 is what we report
 * @returns NaN without queries or items
 */
export async function topKIntersection(pair: SpacePair, k = 100, open: OpenSimilarity = openSimilarity): Promise<number> {
  const { queries } = requirePair(pair)
  const nearest = (scores: Float32Array, q: number): Uint32Array => topK(scores, k, pair.self?.[q]).indices
  let sum = 0
  await walkBoth(pair, open, nearest, (inA, scores, q) => {
    const known = new Set(inA)
    const inB = nearest(scores, q)
    sum += inB.reduce((kept, item) => kept + (known.has(item) ? 1 : 0), 0) / inB.length
  })
  return sum / queries
}

export interface KendallOptions {
  /** Items that each query ranks, one draw for all. Higher: steadier, n log n. @default 1000 */
  readonly candidates?: number
  /** @default 1 */
  readonly seed?: number
}

export const kendallDefaults: Readonly<Required<KendallOptions>> = { candidates: 1000, seed: 1 }

/**
 * Kendall's tau of a query's ranking in both spaces, mean over the queries that have an untied pair.
 * @returns NaN when none has
 */
export async function kendallAgreement(
  pair: SpacePair,
  options: KendallOptions = {},
  open: OpenSimilarity = openSimilarity,
): Promise<number> {
  const { items } = requirePair(pair)
  const { candidates, seed } = { ...kendallDefaults, ...options }
  const chosen = shuffle(
    Int32Array.from({ length: items }, (_, i) => i),
    seed,
    kendallStream,
  ).slice(0, candidates)
  const place = new Map([...chosen].map((item, i) => [item, i]))
  const drawn = ({ queries, items: all, dim }: ScoreSpace): ScoreSpace => ({ queries, items: rowsOf(all, dim, chosen), dim })
  const ranked = (scores: Float32Array, q: number): Float32Array => {
    const self = place.get(pair.self?.[q] ?? -1)
    return scores.filter((_, i) => i !== self)
  }
  let sum = 0
  let counted = 0
  await walkBoth({ a: drawn(pair.a), b: drawn(pair.b) }, open, ranked, (inA, scores, q) => {
    const { tau } = kendallTau(inA, ranked(scores, q))
    if (Number.isNaN(tau)) return
    sum += tau
    counted++
  })
  return sum / counted
}

/** Stream of random numbers that no other draw uses. */
const kendallStream = 0x6b656e64

/** Queries for which something is kept from space A until space B is asked. */
const chunk = 1024

async function walkBoth<T>(
  { a, b }: Pick<SpacePair, 'a' | 'b'>,
  open: OpenSimilarity,
  keep: (scores: Float32Array, query: number) => T,
  compare: (kept: T, scores: Float32Array, query: number) => void,
): Promise<void> {
  const queries = a.queries.length / a.dim
  await withScores(a, open, (walkA) =>
    withScores(b, open, async (walkB) => {
      for (let from = 0; from < queries; from += chunk) {
        const until = Math.min(from + chunk, queries)
        const kept: T[] = []
        await walkA((q, scores) => kept.push(keep(scores, q)), from, until)
        await walkB((q, scores) => compare(kept[q - from]!, scores, q), from, until)
      }
    }),
  )
}

function requirePair({ a, b, self }: SpacePair): { queries: number; items: number } {
  const queries = a.queries.length / a.dim
  const items = a.items.length / a.dim
  if (b.queries.length / b.dim !== queries || b.items.length / b.dim !== items || (self !== undefined && self.length !== queries)) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', 'two spaces must hold the same queries and items')
  }
  return { queries, items }
}
