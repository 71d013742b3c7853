/**
 * AUC and log loss of score columns, exact, with what must be said beside them: ties, clipped rows, and why a value is missing.
 * Invariant: a metric that is undefined is null with a reason, never a made-up .5.
 */
import { auc, orderedKeys, radixOrder } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

/** AUC of one score column. */
export interface AucResult {
  /** Chance that a positive outranks a negative, ties count half; null when a class is missing. */
  readonly auc: number | null
  /** Why `auc` is null. */
  readonly reason?: string
  readonly positives: number
  readonly negatives: number
  /** (positive, negative) pairs with equal scores. */
  readonly tiedPairs: number
}

/** Log loss of one column of probabilities. */
export interface LogLossResult {
  /** -mean(y ln p + (1-y) ln(1-p)), nats; null when the scores are no probabilities. */
  readonly logLoss: number | null
  /** Why `logLoss` is null. */
  readonly reason?: string
  /** Rows whose probability was moved into [1e-15, 1 - 1e-15]. */
  readonly clippedRows: number
}

const clip = 1e-15

/**
 * Exact AUC.
 * @param scores - float64, shape [n]; ranked as float64, -0 equals 0
 * @param labels - 0 or 1, shape [n]
 * @throws SIDESTREAM_SHAPE_MISMATCH when lengths differ or a score is NaN
 */
export function exactAuc(scores: Float64Array, labels: Uint8Array): AucResult {
  const value = auc(scores, labels)
  const positives = countPositives(labels)
  const negatives = labels.length - positives
  if (positives > 0 && negatives > 0) return { auc: value, positives, negatives, tiedPairs: countTiedPairs(scores, labels) }
  const reason =
    labels.length === 0 ? 'there are no rows' : `all ${labels.length} rows are ${positives > 0 ? 'positive' : 'negative'}; AUC needs both`
  return { auc: null, reason, positives, negatives, tiedPairs: 0 }
}

/**
 * Mean log loss.
 * @param probabilities - float64 in [0, 1], shape [n]; anything outside gives null with a reason
 * @param labels - 0 or 1, shape [n]
 * @throws SIDESTREAM_SHAPE_MISMATCH when lengths differ or a probability is NaN
 */
export function logLoss(probabilities: Float64Array, labels: Uint8Array): LogLossResult {
  const n = probabilities.length
  if (labels.length !== n)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `log loss needs one label per score: ${n} scores, ${labels.length} labels`)
  if (n === 0) return { logLoss: null, reason: 'there are no rows', clippedRows: 0 }
  let least = Infinity
  let most = -Infinity
  let clippedRows = 0
  let sum = 0
  for (let i = 0; i < n; i++) {
    const given = probabilities[i]!
    if (Number.isNaN(given))
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `score ${i} is not a number; log loss has no place for it`)
    if (given < least) least = given
    if (given > most) most = given
    let p = given
    if (p < clip) p = clip
    else if (p > 1 - clip) p = 1 - clip
    if (p !== given) clippedRows++
    sum += labels[i]! > 0 ? Math.log(p) : Math.log1p(-p)
  }
  if (least < 0 || most > 1) {
    return { logLoss: null, reason: `scores reach from ${least} to ${most}; log loss needs probabilities from 0 to 1`, clippedRows: 0 }
  }
  return { logLoss: -sum / n, clippedRows }
}

function countPositives(labels: Uint8Array): number {
  let positives = 0
  for (let i = 0; i < labels.length; i++) if (labels[i]! > 0) positives++
  return positives
}

/** Pairs of a positive and a negative with equal float64 scores. Rounding to float32 first only makes groups to look into. */
function countTiedPairs(scores: Float64Array, labels: Uint8Array): number {
  const rounded = Float32Array.from(scores)
  const order = radixOrder(orderedKeys(rounded))
  let tied = 0
  for (let start = 0; start < order.length;) {
    let end = start + 1
    while (end < order.length && rounded[order[end]!] === rounded[order[start]!]) end++
    if (end - start > 1) tied += tiedPairsOf(order.subarray(start, end), scores, labels)
    start = end
  }
  return tied
}

/** Tied pairs among rows whose scores round alike. */
function tiedPairsOf(rows: Uint32Array, scores: Float64Array, labels: Uint8Array): number {
  const sides = new Map<number, [negatives: number, positives: number]>()
  for (const row of rows) {
    const score = scores[row]! // a Map takes -0 for 0
    let side = sides.get(score)
    if (side === undefined) sides.set(score, (side = [0, 0]))
    side[labels[row]! > 0 ? 1 : 0]++
  }
  let tied = 0
  for (const [negatives, positives] of sides.values()) tied += negatives * positives
  return tied
}
