import type { Op } from '../op.ts'
import { reducedType, spreadBack } from './reduction.ts'
import type { ReductionAttributes } from './reduction.ts'

/** y = sum of x over `axes`; dx = dy repeated over them. */
export const reduceSum: Op<'x', 'x', ReductionAttributes> = {
  onnx: 'ReduceSum',
  inputs: ['x'],
  keeps: ['x'],
  infer: reducedType,
  emit: (graph, [x], { axes, keepDims }, type) =>
    graph.node('ReduceSum', [x!, graph.ints(axes)], type, { keepdims: { int: Number(keepDims) } }, 'reduceSum'),
  gradient: (graph, dy, { x }, attributes) => ({ x: spreadBack(graph, dy, x, attributes) }),
}
