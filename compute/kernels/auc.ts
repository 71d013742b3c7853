/**
 * Exact area under the ROC curve: the chance that a positive outranks a negative, ties count half.
 * Invariant: float32 and float64 scores are compared by value (float64 is never rounded); NaN is refused.
 */

import { SidestreamError } from '../../schemas/index.ts'
import { orderedKeys, radixOrder, sortKeys } from './order.ts'

/**
 * AUC of `scores` by 0/1 `labels`.
 * @returns NaN when there is no positive or no negative
 * @throws SIDESTREAM_SHAPE_MISMATCH when lengths differ or a score is NaN
 */
export function auc(scores: Float32Array | Float64Array, labels: ArrayLike<number>): number {
  if (scores instanceof Float64Array) return weightedAuc(scores, labels)
  checkRows(scores, labels)
  const keys = orderedKeys(scores)
  const positives = keepLabeled(keys, labels, true)
  const negatives = keepLabeled(keys, labels, false)
  return pairsWon(sortKeys(positives), sortKeys(negatives)) / (positives.length * negatives.length)
}

function keepLabeled(keys: Uint32Array, labels: ArrayLike<number>, positive: boolean): Uint32Array {
  const kept = new Uint32Array(keys.length)
  let count = 0
  for (let i = 0; i < keys.length; i++) {
    kept[count] = keys[i]!
    count += labels[i]! > 0 === positive ? 1 : 0
  }
  return kept.subarray(0, count)
}

/** Pairs in which the positive has the larger key, ties half; both sides ascending, merged in one walk. */
function pairsWon(positives: Uint32Array, negatives: Uint32Array): number {
  let doubled = 0
  let below = 0
  let notAbove = 0
  for (let i = 0; i < positives.length; i++) {
    const key = positives[i]!
    while (below < negatives.length && negatives[below]! < key) below++
    if (notAbove < below) notAbove = below
    while (notAbove < negatives.length && negatives[notAbove]! === key) notAbove++
    doubled += below + notAbove
  }
  return doubled / 2
}

function checkRows(scores: Float32Array | Float64Array, labels: ArrayLike<number>, weights?: ArrayLike<number>): void {
  const n = scores.length
  if (labels.length !== n || (weights !== undefined && weights.length !== n)) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `AUC needs one label and weight per score: ${n} scores, ${labels.length} labels`)
  }
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(scores[i]!))
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `score ${i} is not a number; AUC has no place for it`)
  }
}

/**
 * Weighted AUC: sum of wp wn over pairs in the right order, ties half, by the sum over all pairs.
 * @param weights - non-negative, shape [n]; all 1 when left out
 */
export function weightedAuc(scores: Float32Array | Float64Array, labels: ArrayLike<number>, weights?: ArrayLike<number>): number {
  checkRows(scores, labels, weights)
  const n = scores.length
  const order = ascending(scores)
  let negativesBelow = 0
  let positives = 0
  let wins = 0
  for (let i = 0; i < n;) {
    const score = scores[order[i]!]!
    let tiedPositives = 0
    let tiedNegatives = 0
    for (; i < n && scores[order[i]!] === score; i++) {
      const row = order[i]!
      const weight = weights === undefined ? 1 : weights[row]!
      if (labels[row]! > 0) tiedPositives += weight
      else tiedNegatives += weight
    }
    wins += tiedPositives * (negativesBelow + tiedNegatives / 2)
    negativesBelow += tiedNegatives
    positives += tiedPositives
  }
  return positives > 0 && negativesBelow > 0 ? wins / (positives * negativesBelow) : NaN
}

/**
 * Share of (positive, negative) pairs in the right order, ties half, when the two sides come apart.
 * @param positives - scores of positives, shape [p]; weight 1 each unless `positiveWeights`
 * @param negatives - scores of negatives, shape [n], with `negativeWeights`, e.g. how often each is met
 */
export function pairedAuc(
  positives: Float32Array,
  negatives: Float32Array,
  { positiveWeights, negativeWeights }: { positiveWeights?: ArrayLike<number>; negativeWeights?: ArrayLike<number> } = {},
): number {
  const p = positives.length
  const scores = new Float32Array(p + negatives.length)
  scores.set(positives)
  scores.set(negatives, p)
  const labels = new Uint8Array(scores.length).fill(1, 0, p)
  const weights = new Float64Array(scores.length).fill(1)
  for (let i = 0; i < p; i++) if (positiveWeights) weights[i] = positiveWeights[i]!
  for (let i = 0; i < negatives.length; i++) if (negativeWeights) weights[p + i] = negativeWeights[i]!
  return weightedAuc(scores, labels, weights)
}

function ascending(scores: Float32Array | Float64Array): Uint32Array {
  if (scores instanceof Float32Array) return radixOrder(orderedKeys(scores))
  // Rounding to float32 keeps the order except inside groups that round alike; those are sorted by the true value.
  const rounded = Float32Array.from(scores)
  const order = radixOrder(orderedKeys(rounded))
  for (let start = 0; start < order.length;) {
    let end = start + 1
    while (end < order.length && rounded[order[end]!] === rounded[order[start]!]) end++
    if (end - start > 1) order.subarray(start, end).sort((a, b) => scores[a]! - scores[b]! || a - b)
    start = end
  }
  return order
}
