import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = 1 / (1 + exp(-x)), element by element; dy/dx = y (1 - y). */
export const sigmoid: Op<'x', 'y'> = {
  onnx: 'Sigmoid',
  inputs: ['x'],
  keeps: ['y'],
  infer: sameAs,
  gradient: (graph, dy, { y }) => ({ x: graph.mul(dy, graph.mul(y, graph.sub(graph.scalar(1, y.dtype), y))) }),
}
