import type { Op } from '../op.ts'
import { keptType, reducedType, spreadBack } from './reduction.ts'
import type { ReductionAttributes } from './reduction.ts'

/** y = maximum of x over `axes`; dx = dy at the largest entries, divided by how many are equally large. */
export const reduceMax: Op<'x', 'x' | 'y', ReductionAttributes> = {
  onnx: 'ReduceMax',
  inputs: ['x'],
  keeps: ['x', 'y'],
  infer: reducedType,
  emit: (graph, [x], { axes, keepDims }, type) =>
    graph.node('ReduceMax', [x!, graph.ints(axes)], type, { keepdims: { int: Number(keepDims) } }, 'reduceMax'),
  gradient: (graph, dy, { x, y }, attributes) => {
    const largest = graph.cast(graph.equal(x, spreadBack(graph, y, x, attributes)), dy.dtype)
    const count = graph.reduceSum(largest, attributes.axes, { keepDims: true })
    const kept = { ...keptType(x, attributes), name: dy.name }
    const share = graph.div(attributes.keepDims ? dy : graph.node('Unsqueeze', [dy, graph.ints(attributes.axes)], kept), count)
    return { x: graph.mul(largest, share) }
  },
}
