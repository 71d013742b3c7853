/**
 * lambda*: the similarity from which on a "negative" is taken for a positive that nobody labelled (SAIL-Embedding, section 3.1).
 * Predict positive when s >= lambda; lambda* = argmax F1(lambda) over N positive pairs and their N (N - 1) negatives.
 * Invariants: only scores that occur are thresholds, so a group of equal scores is never cut; F1 values are compared as integers,
 * and of equal ones the largest lambda wins; the sharded form gives the same result as the plain one.
 *
 * lambda* grows with N, because there are N - 1 negatives per positive: fix N per source, and never compare across N.
 */
import { normalizeRows, sortedScores } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { OpenSimilarity } from './ports.ts'
import { noNegatives, type PositivePairs } from './positive-pairs.ts'
import { openSimilarity } from './similarity.ts'

/** A threshold and what stands at or above it. */
export interface LambdaStar {
  readonly lambda: number
  readonly f1: number
  /** Positive scores, N: belongs to the threshold wherever it is recorded. */
  readonly positives: number
  readonly negatives: number
  /** Scores at or above lambda. */
  readonly predicted: number
  readonly truePositives: number
  /** Negatives at or above lambda: taken for false negatives, never trained on as negatives. */
  readonly falseNegatives: number
}

/**
 * Exact lambda* of two lists of scores: sorts both (radix) and walks down the groups of equal scores. O(n), 8 bytes per score.
 * @throws SIDESTREAM_SHAPE_MISMATCH without a positive, or when a score is not finite
 */
export function lambdaStar(positives: Float32Array, negatives: Float32Array): LambdaStar {
  requireFinite(positives)
  requireFinite(negatives)
  const best = new BestCut(positives.length)
  offerGroups(best, sortedScores(positives), sortedScores(negatives), 0, 0)
  return best.result(negatives.length)
}

/** The best threshold so far; thresholds are offered from the largest down. */
class BestCut {
  readonly #actual: number
  #lambda = Infinity
  #truePositives = 0
  #predicted = 0

  /** @param actual - all positives, N */
  constructor(actual: number) {
    if (actual === 0) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', 'lambda* needs at least one positive pair')
    this.#actual = actual
  }

  /** F1 = 2 TP / (N + predicted); true when that of the arguments is larger than the best (`orEqual`: or the same). */
  beats(truePositives: number, predicted: number, orEqual = false): boolean {
    const ours = this.#actual + this.#predicted
    const theirs = this.#actual + predicted
    const left = truePositives * ours
    const right = this.#truePositives * theirs
    if (left <= Number.MAX_SAFE_INTEGER && right <= Number.MAX_SAFE_INTEGER) return orEqual ? left >= right : left > right
    const exactLeft = BigInt(truePositives) * BigInt(ours)
    const exactRight = BigInt(this.#truePositives) * BigInt(theirs)
    return orEqual ? exactLeft >= exactRight : exactLeft > exactRight
  }

  offer(lambda: number, truePositives: number, predicted: number): void {
    if (!this.beats(truePositives, predicted)) return
    this.#lambda = lambda
    this.#truePositives = truePositives
    this.#predicted = predicted
  }

  result(negatives: number): LambdaStar {
    return {
      lambda: this.#lambda,
      f1: (2 * this.#truePositives) / (this.#actual + this.#predicted),
      positives: this.#actual,
      negatives,
      predicted: this.#predicted,
      truePositives: this.#truePositives,
      falseNegatives: this.#predicted - this.#truePositives,
    }
  }
}

/**
 * Offers every score that a positive has; a group of negatives alone only lowers F1.
 * @param positives - ascending, as `negatives`
 * @param truePositives - positives above all of these; `predicted`: all scores above
 */
function offerGroups(best: BestCut, positives: Float32Array, negatives: Float32Array, truePositives: number, predicted: number): void {
  let n = negatives.length - 1
  for (let p = positives.length - 1; p >= 0;) {
    const score = positives[p]!
    for (; p >= 0 && positives[p] === score; p--) {
      truePositives++
      predicted++
    }
    for (; n >= 0 && negatives[n]! >= score; n--) predicted++
    best.offer(score, truePositives, predicted)
  }
}

function requireFinite(scores: Float32Array): void {
  for (let i = 0; i < scores.length; i++) if (!Number.isFinite(scores[i]!)) throw notFinite(scores[i]!)
}

function notFinite(score: number): SidestreamError {
  return new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `a similarity is ${score}; lambda* needs finite ones: check the vectors`)
}

const bins = 65_536

/** Scores counted by bin, float64 shape [65,536]: equal widths over [-1, 1], ascending; what lies outside is in the end bins. */
export interface ScoreHistogram {
  readonly positives: Float64Array
  readonly negatives: Float64Array
}

/** A histogram without scores. It is plain arrays, so it can be sent between threads. */
export function emptyHistogram(): ScoreHistogram {
  return { positives: new Float64Array(bins), negatives: new Float64Array(bins) }
}

/** Bin of a score; rises with the score, so every threshold inside a bin lies between those of its neighbors. */
function binOf(score: number): number {
  const bin = (score + 1) * (bins / 2)
  return bin > 0 ? (bin < bins ? Math.floor(bin) : bins - 1) : 0
}

/**
 * Adds scores to one side of a histogram.
 * @param counts - `positives` or `negatives` of a histogram
 * @throws SIDESTREAM_SHAPE_MISMATCH when a score is not finite
 */
export function countScores(counts: Float64Array, scores: Float32Array): void {
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i]!
    // Infinity - Infinity and NaN - NaN are NaN.
    if (score - score !== 0) throw notFinite(score)
    counts[binOf(score)]! += 1
  }
}

/** Adds the counts of `other`, those of another shard, to `into`. */
export function mergeHistograms(into: ScoreHistogram, other: ScoreHistogram): void {
  for (let bin = 0; bin < bins; bin++) {
    into.positives[bin]! += other.positives[bin]!
    into.negatives[bin]! += other.negatives[bin]!
  }
}

/**
 * Bins that may hold lambda*. With TP positives and k scores above a bin that has tp positives, no threshold inside it passes
 * F1 = 2 (TP + tp) / (N + k + tp); only bins that reach the best F1 of any bin's lower edge stay.
 * @param histogram - merged over all shards
 * @returns 1 where a bin stays, shape [65,536]
 * @throws SIDESTREAM_SHAPE_MISMATCH without a positive
 */
export function openBins({ positives, negatives }: ScoreHistogram): Uint8Array {
  const best = new BestCut(sum(positives))
  walkBins({ positives, negatives }, (bin, truePositives, predicted) => {
    best.offer(bin, truePositives + positives[bin]!, predicted + positives[bin]! + negatives[bin]!)
  })
  const open = new Uint8Array(bins)
  walkBins({ positives, negatives }, (bin, truePositives, predicted) => {
    // An equal bound stays open: it may be the same F1 at a larger lambda.
    open[bin] = best.beats(truePositives + positives[bin]!, predicted + positives[bin]!, true) ? 1 : 0
  })
  return open
}

/** Visits bins that hold positives, from the highest down, with the positives and all scores above each. */
function walkBins({ positives, negatives }: ScoreHistogram, visit: (bin: number, truePositives: number, predicted: number) => void): void {
  let truePositives = 0
  let predicted = 0
  for (let bin = bins - 1; bin >= 0; bin--) {
    if (positives[bin]! > 0) visit(bin, truePositives, predicted)
    truePositives += positives[bin]!
    predicted += positives[bin]! + negatives[bin]!
  }
}

/** The scores that lie in open bins, in their order. */
export function scoresInBins(open: Uint8Array, scores: Float32Array): Float32Array {
  const kept = new Float32Array(scores.length)
  let count = 0
  for (let i = 0; i < scores.length; i++) {
    kept[count] = scores[i]!
    count += open[binOf(scores[i]!)]!
  }
  return kept.slice(0, count)
}

/**
 * lambda* from the merged histogram and the scores in its open bins: what `lambdaStar` gives for all scores.
 * @param positives - those of all shards that lie in open bins, in any order; as `negatives`
 * @throws SIDESTREAM_SHAPE_MISMATCH when the scores are not those that were counted
 */
export function lambdaStarInBins(
  histogram: ScoreHistogram,
  open: Uint8Array,
  positives: Float32Array,
  negatives: Float32Array,
): LambdaStar {
  const best = new BestCut(sum(histogram.positives))
  const sorted = { positives: sortedScores(positives), negatives: sortedScores(negatives) }
  const left = { positives: positives.length, negatives: negatives.length }
  const take = (side: 'positives' | 'negatives', bin: number): Float32Array => {
    const end = left[side]
    const start = end - histogram[side][bin]!
    const scores = sorted[side].subarray(Math.max(0, start), end)
    const outside = start > 0 && binOf(sorted[side][start - 1]!) >= bin
    if (start < 0 || outside || (scores.length > 0 && binOf(scores[0]!) !== bin)) throw notCounted(side)
    left[side] = start
    return scores
  }
  walkBins(histogram, (bin, truePositives, predicted) => {
    if (open[bin] === 1) offerGroups(best, take('positives', bin), take('negatives', bin), truePositives, predicted)
  })
  if (left.positives > 0) throw notCounted('positives')
  if (left.negatives > 0) throw notCounted('negatives')
  return best.result(sum(histogram.negatives))
}

function notCounted(side: string): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `the ${side} handed in are not those that the histogram counted; score every shard twice with the same vectors`,
  )
}

function sum(counts: Float64Array): number {
  let total = 0
  for (let i = 0; i < counts.length; i++) total += counts[i]!
  return total
}

/** Vectors of positive pairs; lengths do not matter, a zero row has cosine 0 with everything. */
export interface PairVectors {
  /** Row-major float32, shape [n, dim]. */
  readonly queries: Float32Array
  /** Row i belongs to query i, row-major float32, shape [n, dim]. */
  readonly targets: Float32Array
  readonly dim: number
}

/** Queries scored at once. */
const block = 128

/**
 * lambda* of a source from n of its pairs: positives are the cosines of the pairs, negatives those of every query with every
 * other target that is not a positive of it by accident. Sharded by blocks of queries, so memory grows with n, not n^2; every
 * block is scored twice.
 * @param pairs - ids of the same n rows
 * @param open - similarity in a worker thread unless given
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes differ, n is 0 or a vector is not finite
 */
export async function lambdaStarOfPairs(
  { queries, targets, dim }: PairVectors,
  pairs: PositivePairs,
  open: OpenSimilarity = openSimilarity,
): Promise<LambdaStar> {
  const n = pairs.targetIds.length
  if (queries.length !== n * dim || targets.length !== n * dim) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${n} pairs of ${dim} dims need ${n * dim} numbers a side; queries have ${queries.length}, targets ${targets.length}`,
    )
  }
  const units = { queries: queries.slice(), targets: targets.slice() }
  normalizeRows(units.queries, dim)
  normalizeRows(units.targets, dim)
  const notNegative = noNegatives(pairs, pairs.targetIds)
  const { similarity, close } = await open(units.targets, dim, block)
  /** Hands over each block's cosines: of its pairs, and of what may be negatives. */
  const eachBlock = async (visit: (positives: Float32Array, negatives: Float32Array) => void): Promise<void> => {
    const away = new Float32Array(block * n)
    const skip = new Uint8Array(n)
    for (let first = 0; first < n; first += block) {
      const count = Math.min(block, n - first)
      const scores = await similarity(units.queries.subarray(first * dim, (first + count) * dim), count)
      const own = new Float32Array(count)
      let filled = 0
      for (let i = 0; i < count; i++) {
        own[i] = scores[i * n + first + i]!
        const skipped = notNegative(first + i)
        for (const column of skipped) skip[column] = 1
        for (let j = 0; j < n; j++) if (skip[j] === 0) away[filled++] = scores[i * n + j]!
        for (const column of skipped) skip[column] = 0
      }
      visit(own, away.subarray(0, filled))
    }
  }
  try {
    const histogram = emptyHistogram()
    await eachBlock((positives, negatives) => {
      countScores(histogram.positives, positives)
      countScores(histogram.negatives, negatives)
    })
    const wanted = openBins(histogram)
    const kept: { positives: Float32Array[]; negatives: Float32Array[] } = { positives: [], negatives: [] }
    await eachBlock((positives, negatives) => {
      kept.positives.push(scoresInBins(wanted, positives))
      kept.negatives.push(scoresInBins(wanted, negatives))
    })
    return lambdaStarInBins(histogram, wanted, joined(kept.positives), joined(kept.negatives))
  } finally {
    await close()
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
