import type { Op } from '../op.ts'
import { reducedType, spreadBack } from './reduction.ts'
import type { ReductionAttributes } from './reduction.ts'

/** y = mean of x over `axes`; dx = dy / n repeated over them, n = how many entries went into one mean. */
export const reduceMean: Op<'x', 'x' | 'y', ReductionAttributes> = {
  onnx: 'ReduceMean',
  inputs: ['x'],
  keeps: ['x', 'y'],
  infer: reducedType,
  emit: (graph, [x], { axes, keepDims }, type) =>
    graph.node('ReduceMean', [x!, graph.ints(axes)], type, { keepdims: { int: Number(keepDims) } }, 'reduceMean'),
  gradient: (graph, dy, { x, y }, attributes) => {
    const size = (of: typeof x) => graph.cast(graph.node('Size', [of], { dtype: 'int64', shape: [] }, {}, 'size'), dy.dtype)
    const known = attributes.axes.map((axis) => x.shape.at(axis)).every((dim) => typeof dim === 'number')
    const count = known
      ? graph.scalar(
          attributes.axes.reduce((total, axis) => total * Number(x.shape.at(axis)), 1),
          dy.dtype,
        )
      : graph.div(size(x), size(y))
    return { x: spreadBack(graph, graph.div(dy, count), x, attributes) }
  },
}
