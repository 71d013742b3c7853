/**
 * Scores one vector set on a plan: AUC against uniform and popularity-weighted negatives, and the rank of the target.
 * Invariant: negatives are never sampled, ties count half in AUC, ranks are counted, not sorted (ties: lower item number first).
 */
import { normalizeRows } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { EvaluationPlan } from './evaluation.ts'
import type { OpenSimilarity, Similarity } from './ports.ts'
import { openSimilarity } from './similarity.ts'

/** One value per event of the plan, in its order. */
export interface EvaluationScores {
  /** Chance that the target outranks a live item chosen at random; NaN without negatives. */
  readonly uniform: Float64Array
  /** The same with items chosen in proportion to their recent interactions; NaN when none had any. */
  readonly popularity: Float64Array
  /** Live items outside the history that rank above the target; the target is in the top k when rank < k. */
  readonly ranks: Int32Array
}

/** Means over events; NaN where there is no event. */
export interface EvaluationSummary {
  readonly events: number
  readonly warmEvents: number
  readonly coldEvents: number
  readonly warmUni: number
  readonly warmPop: number
  readonly warmRecall10: number
  readonly coldUni: number
  readonly coldPop: number
  readonly coldRecall10: number
  readonly uni: number
  readonly pop: number
  readonly recall10: number
  readonly recall50: number
}

const block = 128

/**
 * Scores a vector set. User = mean of the unit vectors of the history; score = its dot product with unit item vectors.
 * @param vectors - row-major float32, shape [plan.items, dim], rows by item number; a zero row scores 0
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export async function scoreVectors(
  plan: EvaluationPlan,
  vectors: Float32Array,
  dim: number,
  open: OpenSimilarity = openSimilarity,
): Promise<EvaluationScores> {
  if (vectors.length !== plan.items * dim) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${plan.items} items of ${dim} dims need ${plan.items * dim} numbers, not ${vectors.length}`,
    )
  }
  const scores = {
    uniform: new Float64Array(plan.events),
    popularity: new Float64Array(plan.events),
    ranks: new Int32Array(plan.events),
  }
  const units = unitRows(vectors, dim, plan.order)
  const { similarity, close } = await open(units, dim, block)
  try {
    for (let first = 0; first < plan.events; first += block) await scoreBlock(plan, units, dim, first, similarity, scores)
  } finally {
    await close()
  }
  return scores
}

async function scoreBlock(
  plan: EvaluationPlan,
  units: Float32Array,
  dim: number,
  first: number,
  similarity: Similarity,
  scores: EvaluationScores,
): Promise<void> {
  const count = Math.min(block, plan.events - first)
  const users = new Float32Array(count * dim)
  for (let e = 0; e < count; e++) userVector(plan, units, dim, first + e, users.subarray(e * dim, (e + 1) * dim))
  const matrix = await similarity(users, count)
  for (let e = 0; e < count; e++) scoreEvent(plan, first + e, matrix.subarray(e * plan.items, (e + 1) * plan.items), scores)
}

/** Sum of the unit vectors of the history: as good as the mean, since only the order of scores counts. */
function userVector(plan: EvaluationPlan, units: Float32Array, dim: number, event: number, out: Float32Array): void {
  for (let h = event * plan.historyLength; h < (event + 1) * plan.historyLength; h++) {
    const place = plan.histories[h]!
    if (place < 0) return
    for (let d = 0, at = place * dim; d < dim; d++, at++) out[d]! += units[at]!
  }
}

/** @param row - scores of all items by place, float32, shape [items] */
function scoreEvent(plan: EvaluationPlan, event: number, row: Float32Array, scores: EvaluationScores): void {
  const live = plan.live[event]!
  const target = plan.targets[event]!
  const score = row[target]!
  // A place outside the count is given a score that ranks nowhere: NaN is neither above nor equal.
  let excluded = 1
  row[target] = NaN
  for (let h = event * plan.historyLength; h < (event + 1) * plan.historyLength; h++) {
    const place = plan.histories[h]!
    if (place < 0) break
    row[place] = NaN
    if (place < live) excluded++
  }
  let above = 0
  let equal = 0
  for (let place = 0; place < live; place++) {
    const other = row[place]!
    if (other > score) above++
    else if (other === score) equal++
  }
  const negatives = live - excluded
  scores.uniform[event] = negatives > 0 ? 1 - (above + equal / 2) / negatives : NaN
  scores.ranks[event] = above + (equal > 0 ? tiesBefore(plan, row, live, target, score) : 0)
  scores.popularity[event] = weightedAuc(plan.popularity[plan.tables[event]!]!, row, live, score)
}

function tiesBefore({ order }: EvaluationPlan, row: Float32Array, live: number, target: number, score: number): number {
  let ties = 0
  for (let place = 0; place < live; place++) if (row[place] === score && order[place]! < order[target]!) ties++
  return ties
}

function weightedAuc({ places, counts }: EvaluationPlan['popularity'][number], row: Float32Array, live: number, score: number): number {
  let weight = 0
  let below = 0
  for (let i = 0; i < places.length; i++) {
    const place = places[i]!
    const other = row[place]!
    if (place >= live || Number.isNaN(other)) continue
    weight += counts[i]!
    if (other < score) below += counts[i]!
    else if (other === score) below += counts[i]! / 2
  }
  return weight > 0 ? below / weight : NaN
}

/** Rows in the given order, each of unit length; a zero row stays zero. */
export function unitRows(vectors: Float32Array, dim: number, order: Int32Array): Float32Array {
  const units = new Float32Array(order.length * dim)
  order.forEach((row, place) => units.set(vectors.subarray(row * dim, (row + 1) * dim), place * dim))
  normalizeRows(units, dim)
  return units
}

/** Means of scores over warm, cold and all events. */
export function summarize(plan: EvaluationPlan, scores: EvaluationScores): EvaluationSummary {
  const hit = (k: number): Float64Array => hits(scores.ranks, k)
  const warm = (values: Float64Array): number => meanWhere(values, plan.cold, 0)
  const cold = (values: Float64Array): number => meanWhere(values, plan.cold, 1)
  const coldEvents = plan.cold.reduce((sum, flag) => sum + flag, 0)
  return {
    events: plan.events,
    warmEvents: plan.events - coldEvents,
    coldEvents,
    warmUni: warm(scores.uniform),
    warmPop: warm(scores.popularity),
    warmRecall10: warm(hit(10)),
    coldUni: cold(scores.uniform),
    coldPop: cold(scores.popularity),
    coldRecall10: cold(hit(10)),
    uni: meanWhere(scores.uniform, plan.cold),
    pop: meanWhere(scores.popularity, plan.cold),
    recall10: meanWhere(hit(10), plan.cold),
    recall50: meanWhere(hit(50), plan.cold),
  }
}

/** 1 where the target is in the top k, else 0. */
export function hits(ranks: Int32Array, k: number): Float64Array {
  return Float64Array.from(ranks, (rank) => (rank < k ? 1 : 0))
}

/** Mean over the events with this flag (all without one); NaN values are left out. */
function meanWhere(values: Float64Array, flags: Uint8Array, flag?: 0 | 1): number {
  let sum = 0
  let count = 0
  for (let i = 0; i < values.length; i++) {
    if ((flag !== undefined && flags[i] !== flag) || Number.isNaN(values[i]!)) continue
    sum += values[i]!
    count++
  }
  return sum / count
}
