import type { Op } from '../op.ts'
import { reducedType, spreadBack, sumNode } from './reduction.ts'
import type { ReductionAttributes } from './reduction.ts'

/** y = sum of x over `axes`; dx = dy repeated over them. */
export const reduceSum: Op<'x', 'x', ReductionAttributes> = {
  onnx: 'ReduceSum',
  inputs: ['x'],
  keeps: ['x'],
  infer: reducedType,
  emit: (graph, [x], attributes, type) => sumNode(graph, x!, attributes, type),
  gradient: (graph, dy, { x }, attributes) => ({ x: spreadBack(graph, dy, x, attributes) }),
}
