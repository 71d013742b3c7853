import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = e^x, element by element; dy/dx = y. */
export const exp: Op<'x', 'y'> = {
  onnx: 'Exp',
  inputs: ['x'],
  keeps: ['y'],
  infer: sameAs,
  gradient: (graph, dy, { y }) => ({ x: graph.mul(dy, y) }),
}
