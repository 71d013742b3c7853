import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = ln x, element by element; dy/dx = 1 / x. */
export const log: Op<'x', 'x'> = {
  onnx: 'Log',
  inputs: ['x'],
  keeps: ['x'],
  infer: sameAs,
  gradient: (graph, dy, { x }) => ({ x: graph.div(dy, x) }),
}
