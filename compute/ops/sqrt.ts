import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = sqrt(x), element by element; dy/dx = 1 / (2 y). */
export const sqrt: Op<'x', 'y'> = {
  onnx: 'Sqrt',
  inputs: ['x'],
  keeps: ['y'],
  infer: sameAs,
  gradient: (graph, dy, { y }) => ({ x: graph.div(graph.scale(dy, 0.5), y) }),
}
