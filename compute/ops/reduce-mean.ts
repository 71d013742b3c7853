import type { Graph } from '../graph.ts'
import type { Op, Value } from '../op.ts'
import { reducedType, spreadBack, sumNode } from './reduction.ts'
import type { ReductionAttributes } from './reduction.ts'

/** y = mean of x over `axes`; dx = dy / n repeated over them, n = how many entries went into one mean. */
export const reduceMean: Op<'x', 'x' | 'y', ReductionAttributes> = {
  onnx: 'ReduceMean',
  inputs: ['x'],
  keeps: ['x', 'y'],
  infer: reducedType,
  emit: (graph, [x], attributes, type) => {
    const sum = sumNode(graph, x!, attributes, type)
    return graph.div(sum, countOf(graph, x!, sum, attributes))
  },
  gradient: (graph, dy, { x, y }, attributes) => ({ x: spreadBack(graph, graph.div(dy, countOf(graph, x, y, attributes)), x, attributes) }),
}

function countOf(graph: Graph, x: Value, y: Value, { axes }: ReductionAttributes): Value {
  const sizes = axes.map((axis) => x.shape.at(axis))
  if (sizes.every((size) => typeof size === 'number'))
    return graph.scalar(
      sizes.reduce((a, b) => a * b, 1),
      x.dtype,
    )
  const sizeOf = (of: Value): Value => graph.cast(graph.node('Size', [of], { dtype: 'int64', shape: [] }, {}, 'size'), x.dtype)
  return graph.div(sizeOf(x), sizeOf(y))
}
