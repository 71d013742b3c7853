import type { Op } from '../op.ts'

/** y = x in the shape that `like` has at run time; dx = dy in the shape of x. */
export const reshapeLike: Op<'x' | 'like', 'x'> = {
  onnx: 'Reshape',
  inputs: ['x', 'like'],
  keeps: ['x'],
  infer: ([x, like]) => ({ dtype: x!.dtype, shape: like!.shape }),
  emit: (graph, [x, like], _attributes, type) => {
    const known = like!.shape.every((dim) => typeof dim === 'number')
    return graph.node('Reshape', [x!, known ? graph.ints(like!.shape as number[]) : graph.shapeOf(like!)], type, {}, 'reshape')
  },
  gradient: (graph, dy, { x }) => ({ x: graph.reshapeLike(dy, x) }),
}
