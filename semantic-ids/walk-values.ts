/** What the walks of a graph share: the sticky rule, what comes out, the extra dimension that carries half norms. */

import type { Graph, Value } from '../compute/index.ts'

/** A limit that no difference of squared distances passes. */
const boundless = 3e38

/** The sticky rule inside a graph. */
export interface StickyValues {
  /** int32 [n, levels]: parent's codes, -1 in rows without. */
  readonly old: Value
  /** float32 scalar: 1 + delta (1 when delta is infinite). */
  readonly factor: Value
  /** float32 scalar: 0, or very large when delta is infinite. */
  readonly slack: Value
}

/** What the walk gives. */
export interface WalkValues {
  /** int32 [n, levels]. */
  readonly codes: Value
  /** float32 [n, levels]: relative lead of each decision, given those before. */
  readonly margins: Value
  /** float32 [n]: squared error that the codes leave. */
  readonly errors: Value
}

/** `factor` and `slack` of a switching cost. */
export function switchingCost(delta: number): { factor: number; slack: number } {
  return delta === Infinity ? { factor: 1, slack: boundless } : { factor: 1 + delta, slack: 0 }
}

/** Margins of all levels side by side, none above the row's bounds. @param margins - [n, 1], one per level @param bounds - [n, 1] */
export function boundedMargins(graph: Graph, margins: readonly Value[], bounds: readonly Value[]): Value {
  const all = graph.concat(margins, 1)
  return bounds.length === 0 ? all : graph.node('Min', [all, ...bounds], all)
}

/** |x|^2 of every row, [n, 1]. */
export function squaredNorm(graph: Graph, x: Value): Value {
  return graph.node('ReduceSumSquare', [x, graph.ints([1])], { dtype: 'float32', shape: [x.shape[0]!, 1] }, { keepdims: { int: 1 } })
}

/** Rows with a -1 behind each, which takes half the squared norms off the scores. */
export function withHalfNorms(graph: Graph, x: Value): Value {
  const [rows, dim] = x.shape as [number | string, number]
  return graph.node('Pad', [x, graph.ints([0, 0, 0, 1]), graph.scalar(-1)], { dtype: 'float32', shape: [rows, dim + 1] })
}

/** Takes the -1 away again. */
export function withoutHalfNorms(graph: Graph, x: Value): Value {
  return graph.slice(x, 1, 0, (x.shape[1] as number) - 1)
}

/** Whether a row has parent's codes, boolean [n, 1]. */
export function isKnown(graph: Graph, old: Value): Value {
  return graph.not(graph.less(old.shape[1] === 1 ? old : graph.slice(old, 1, 0, 1), graph.scalar(0, 'int32')))
}

/** The finite-scalar code, or the old one where the old prefix is kept at an infinite switching cost; int32 [n, 1]. */
export function keptOrFree(graph: Graph, { old, slack }: StickyValues, onOldPrefix: Value, code: Value, level: number): Value {
  const keep = graph.and(onOldPrefix, graph.less(graph.scalar(boundless / 2), slack))
  return graph.where(keep, graph.slice(old, 1, level, level + 1), code)
}
