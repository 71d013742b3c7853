/**
 * Scores one vector set on a plan: AUC against uniform and popularity-weighted negatives, and the rank of the target.
 * Invariant: negatives are never sampled, ties count half in AUC, ranks are counted, not sorted (ties: lower item number first).
 */
import { normalizeRows } from '../compute/index.ts'
import { SidestreamError, windowFigures } from '../schemas/index.ts'
import type { WindowFigure } from '../schemas/index.ts'
import type { EvaluationPlan } from './evaluation.ts'
import type { OpenSimilarity, Similarity } from './ports.ts'
import { blockRows, requireFinite } from './score-rows.ts'
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

/** Means over events, NaN where there is no event, and how many events there are. */
export type EvaluationSummary = Readonly<Record<WindowFigure | 'events' | 'warmEvents' | 'coldEvents', number>>

/**
 * Scores a vector set. User = mean of the unit vectors of the history; score = its dot product with unit item vectors.
 * @param vectors - row-major float32, shape [plan.items, dim], rows by item number; a zero row scores 0
 * @throws SIDESTREAM_SHAPE_MISMATCH when the shape is another or a number is not finite
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
  requireFinite('the vectors', vectors, dim)
  const units = unitRows(vectors, dim, plan.order)
  const block = blockRows(plan.items)
  const { similarity, close } = await open(units, dim, block)
  try {
    for (let first = 0; first < plan.events; first += block) {
      const count = Math.min(block, plan.events - first)
      await scoreBlock({ plan, units, dim, first, count }, similarity, scores)
    }
  } finally {
    await close()
  }
  return scores
}

interface EventBlock {
  readonly plan: EvaluationPlan
  readonly units: Float32Array
  readonly dim: number
  readonly first: number
  readonly count: number
}

async function scoreBlock({ plan, units, dim, first, count }: EventBlock, similarity: Similarity, scores: EvaluationScores): Promise<void> {
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

/** Means of scores over all, warm and cold events. */
export function summarize(plan: EvaluationPlan, scores: EvaluationScores): EvaluationSummary {
  const coldEvents = plan.cold.reduce((sum, flag) => sum + flag, 0)
  const summary = { events: plan.events, warmEvents: plan.events - coldEvents, coldEvents } as Record<keyof EvaluationSummary, number>
  for (const [name, values] of figureValues(plan, scores)) summary[name] = meanOf(values)
  return summary
}

/** What each figure is the mean of: one value per event, NaN where the event does not count. */
export function figureValues(plan: EvaluationPlan, scores: EvaluationScores): [WindowFigure, Float64Array][] {
  return windowFigures.map((name) => {
    const [, slice = '', measure = ''] = /^(warm|cold)?(.+)$/.exec(name)!
    const values = measureValues(scores, measure.toLowerCase())
    return [name, slice === '' ? values : values.map((value, e) => (plan.cold[e] === (slice === 'cold' ? 1 : 0) ? value : NaN))]
  })
}

function measureValues({ uniform, popularity, ranks }: EvaluationScores, measure: string): Float64Array {
  if (measure === 'uni') return uniform
  if (measure === 'pop') return popularity
  return hits(ranks, Number(measure.slice('recall'.length)))
}

/** 1 where the target is in the top k, else 0. */
export function hits(ranks: Int32Array, k: number): Float64Array {
  return Float64Array.from(ranks, (rank) => (rank < k ? 1 : 0))
}

/** Mean of the values that are not NaN. */
function meanOf(values: Float64Array): number {
  let sum = 0
  let count = 0
  for (const value of values) {
    if (Number.isNaN(value)) continue
    sum += value
    count++
  }
  return sum / count
}
