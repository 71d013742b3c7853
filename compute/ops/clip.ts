import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = min(max(x, min), max), element by element; dy/dx = 1 where y = x (bounds included), else 0. */
export const clip: Op<'x', 'x' | 'y', { min: number; max: number }> = {
  onnx: 'Clip',
  inputs: ['x'],
  keeps: ['x', 'y'],
  infer: sameAs,
  emit: (graph, [x], { min, max }, type) =>
    graph.node('Clip', [x!, graph.scalar(min, x!.dtype), graph.scalar(max, x!.dtype)], type, {}, 'clip'),
  gradient: (graph, dy, { x, y }) => ({ x: graph.where(graph.equal(x, y), dy, graph.scalar(0, dy.dtype)) }),
}
