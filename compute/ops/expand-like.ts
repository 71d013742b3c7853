import type { Op } from '../op.ts'
import { broadcastShape, sumTo } from '../shapes.ts'

/** y = x repeated to the shape of `like`; dx = dy summed over the repeated axes. */
export const expandLike: Op<'x' | 'like', 'x'> = {
  onnx: 'Expand',
  inputs: ['x', 'like'],
  keeps: ['x'],
  infer: ([x, like]) => ({ dtype: x!.dtype, shape: broadcastShape(x!.shape, like!.shape, 'expandLike') }),
  emit: (graph, [x, like], _attributes, type) => {
    const known = like!.shape.every((dim) => typeof dim === 'number')
    return graph.node('Expand', [x!, known ? graph.ints(like!.shape as number[]) : graph.shapeOf(like!)], type, {}, 'expand')
  },
  gradient: (graph, dy, { x }) => ({ x: sumTo(graph, dy, x) }),
}
