/**
 * The sticky rule for whole IDs behind a greedy walk, as ONNX nodes: the old ID stays while its total cost is at most (1 + delta) times
 * that of the greedy one.
 * Invariant: where a row's margin reaches the recheck tolerance its codes are those of the float64 reference.
 */

import type { Graph, Value } from '../compute/index.ts'
import type { LevelValues } from './encode-graph.ts'
import { isKnown, squaredNorm, withHalfNorms, withoutHalfNorms, type StickyValues } from './walk-values.ts'

/** What the greedy walk came to. */
interface Free {
  /** One per level with codewords, int32 [n, 1]. */
  readonly codes: readonly Value[]
  /** One per level with codewords, float32 [n, 1]. */
  readonly margins: readonly Value[]
  /** Squared error and penalties, and squared error alone, float32 [n, 1]. */
  readonly cost: Value
  readonly left: Value
  /** Largest squared length on the way, float32 [n, 1]. */
  readonly largest: Value
  /** What the codes leave, a -1 behind each row, float32 [n, dim + 1]; read where it is wanted. */
  readonly residual: Value
}

export interface WholeInput {
  /** What is encoded, float32 [n, dim], and its squared lengths. */
  readonly x: Value
  readonly squared: Value
  /** All with `words`. */
  readonly levels: readonly LevelValues[]
  readonly sticky: StickyValues
  readonly free: Free
  /** Whether what is left is read behind this. */
  readonly wantsResidual: boolean
}

/** Old ID or greedy one, row by row. One decision for all levels with codewords of a row that has an old ID. */
export function appendWhole(
  graph: Graph,
  { x, squared, levels, sticky, free, wantsResidual }: WholeInput,
): Omit<Free, 'cost'> & { readonly keep: Value } {
  const maximum = (a: Value, b: Value): Value => graph.node('Max', [a, b], a)
  const least = (a: Value, b: Value): Value => graph.node('Min', [a, b], a)
  const known = isKnown(graph, sticky.old)
  const old = levels.map((_, level) => {
    const own = sticky.old.shape[1] === 1 ? sticky.old : graph.slice(sticky.old, 1, level, level + 1)
    return maximum(own, graph.scalar(0, 'int32'))
  })
  let sum: Value | undefined
  let spent: Value | undefined
  // What rounding of the old ID's cost is measured by: squared lengths of its codewords, and of what it leaves.
  let lengths = squared
  for (const [level, { words, penalties }] of levels.entries()) {
    const index = graph.squeeze(graph.cast(old[level]!, 'int64'), 1)
    const word = graph.gather(words!, index)
    lengths = graph.add(lengths, squaredNorm(graph, word))
    sum = sum === undefined ? word : graph.add(sum, word)
    if (penalties === undefined) continue
    const price = graph.gather(penalties, index)
    spent = spent === undefined ? price : graph.add(spent, price)
  }
  const rest = graph.sub(x, withoutHalfNorms(graph, sum!))
  const oldLeft = squaredNorm(graph, rest)
  const oldCost = spent === undefined ? oldLeft : graph.add(oldLeft, spent)
  const excess = graph.sub(graph.sub(oldCost, graph.mul(sticky.factor, free.cost)), sticky.slack)
  const keep = graph.and(known, graph.not(graph.less(graph.scalar(0), excess)))
  const reach = graph.add(graph.add(lengths, oldCost), graph.add(free.largest, graph.node('Abs', [free.cost], free.cost)))
  const decided = graph.div(graph.node('Abs', [excess], excess), graph.mul(graph.add(sticky.factor, graph.scalar(1)), reach))
  const lead = free.margins.reduce(least)
  const isSame = free.codes.map((code, level) => graph.equal(code, old[level]!)).reduce((a, b) => graph.and(a, b))
  // An old ID that is the greedy one stays, however close the bound is; at an infinite cost it stays whatever leads.
  const whole = graph.where(isInfinite(graph, sticky), decided, graph.where(isSame, lead, least(lead, decided)))
  return {
    keep,
    codes: free.codes.map((code, level) => graph.where(keep, old[level]!, code)),
    margins: free.margins.map((margin) => graph.where(known, whole, margin)),
    left: graph.where(keep, oldLeft, free.left),
    largest: maximum(free.largest, graph.where(keep, lengths, free.largest)),
    residual: wantsResidual ? graph.where(keep, withHalfNorms(graph, rest), free.residual) : free.residual,
  }
}

/** Whether old codes are never left, boolean scalar. */
function isInfinite(graph: Graph, { slack }: StickyValues): Value {
  return graph.less(graph.scalar(1e30), slack)
}
