import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = -x; dy/dx = -1. */
export const neg: Op<'x', never> = {
  onnx: 'Neg',
  inputs: ['x'],
  keeps: [],
  infer: sameAs,
  gradient: (graph, dy) => ({ x: graph.neg(dy) }),
}
