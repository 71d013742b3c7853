import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = tanh(x), element by element; dy/dx = 1 - y^2. */
export const tanh: Op<'x', 'y'> = {
  onnx: 'Tanh',
  inputs: ['x'],
  keeps: ['y'],
  infer: sameAs,
  gradient: (graph, dy, { y }) => ({ x: graph.mul(dy, graph.sub(graph.scalar(1, y.dtype), graph.mul(y, y))) }),
}
