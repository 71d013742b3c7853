import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = max(x, 0), element by element; dy/dx = 1 where x is above 0, else 0. */
export const relu: Op<'x', 'y'> = {
  onnx: 'Relu',
  inputs: ['x'],
  keeps: ['y'],
  infer: sameAs,
  gradient: (graph, dy, { y }) => ({ x: graph.where(graph.less(graph.scalar(0, y.dtype), y), dy, graph.scalar(0, dy.dtype)) }),
}
