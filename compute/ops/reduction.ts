/**
 * What the reductions share: the type of the result, sums that do not depend on where a row stands, and the way of a
 * gradient back over the reduced axes.
 */

import type { Graph } from '../graph.ts'
import type { Value, ValueType } from '../op.ts'
import { axisOf } from '../shapes.ts'
import { tensor } from '../tensor.ts'

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

/**
 * Sum of `x` over `axes`. Over the last axis alone it is a product with a column of ones: ONNX Runtime's ReduceSum adds
 * a row in an order that depends on the row's memory address when the width is no multiple of 4, so the same row gave
 * different bits at different places of a batch (measured: 27 % of rows at width 250). Its matrix product does not.
 */
export function sumNode(graph: Graph, x: Value, attributes: ReductionAttributes, type: ValueType): Value {
  const last = x.shape.length - 1
  const width = x.shape[last]
  const axes = attributes.axes.map((axis) => axisOf(axis, x.shape.length, 'reduceSum'))
  const keepdims = { int: Number(attributes.keepDims) }
  if (axes.length !== 1 || axes[0] !== last || last === 0 || typeof width !== 'number' || !isFloat(x)) {
    return graph.node('ReduceSum', [x, graph.ints(axes)], type, { keepdims }, 'reduceSum')
  }
  const sum = graph.node('MatMul', [x, ones(graph, x, width)], keptType(x, attributes), {}, 'reduceSum')
  return attributes.keepDims ? sum : graph.node('Squeeze', [sum, graph.ints([last])], type, {}, 'reduceSum')
}

function ones(graph: Graph, { dtype }: Value, width: number): Value {
  return graph.shared(`ones:${dtype}:${width}`, () => {
    const data = dtype === 'float64' ? new Float64Array(width).fill(1) : new Float32Array(width).fill(1)
    return tensor(dtype as 'float32', [width, 1], data as Float32Array)
  })
}

function isFloat({ dtype }: Value): boolean {
  return dtype === 'float32' || dtype === 'float64'
}
