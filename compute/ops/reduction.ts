/** What the reductions share: the type of the result and the way of a gradient back over the reduced axes. */

import type { Graph } from '../graph.ts'
import type { Value, ValueType } from '../op.ts'
import { axisOf } from '../shapes.ts'

export type ReductionAttributes = { readonly axes: readonly number[]; readonly keepDims: boolean }

/** Type of `x` reduced over `axes`. */
export function reducedType(inputs: readonly Value[], { axes, keepDims }: ReductionAttributes): ValueType {
  const { dtype, shape } = inputs[0]!
  const gone = new Set(axes.map((axis) => axisOf(axis, shape.length, 'reduction')))
  return { dtype, shape: keepDims ? shape.map((dim, i) => (gone.has(i) ? 1 : dim)) : shape.filter((_, i) => !gone.has(i)) }
}

/** The same with the axes kept at size 1. */
export function keptType(x: Value, { axes }: ReductionAttributes): ValueType {
  return reducedType([x], { axes, keepDims: true })
}

/** A reduced value (a result or its gradient) repeated to the shape of `x`. */
export function spreadBack(graph: Graph, reduced: Value, x: Value, attributes: ReductionAttributes): Value {
  if (attributes.axes.length === 0) return reduced
  const kept = attributes.keepDims
    ? reduced
    : graph.node('Unsqueeze', [reduced, graph.ints(attributes.axes)], { ...keptType(x, attributes), dtype: reduced.dtype }, {}, 'unsqueeze')
  return graph.expandLike(kept, x)
}
