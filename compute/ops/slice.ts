import type { Op } from '../op.ts'
import { axisOf, describe, graphError } from '../shapes.ts'

/** y = entries [from, to) of `axis`, whose size is known; dx = dy between zeros. */
export const slice: Op<'x', 'x', { axis: number; from: number; to: number }> = {
  onnx: 'Slice',
  inputs: ['x'],
  keeps: ['x'],
  infer: ([x], { axis, from, to }) => {
    const at = axisOf(axis, x!.shape.length, 'slice')
    const size = x!.shape[at]!
    if (typeof size !== 'number' || from < 0 || to > size || from >= to) {
      throw graphError(`slice: [${from}, ${to}) of axis ${axis} is not inside ${describe(x!)}`)
    }
    return { dtype: x!.dtype, shape: x!.shape.with(at, to - from) }
  },
  emit: (graph, [x], { axis, from, to }, type) =>
    graph.node(
      'Slice',
      [x!, graph.ints([from]), graph.ints([to]), graph.ints([axisOf(axis, x!.shape.length, 'slice')])],
      type,
      {},
      'slice',
    ),
  gradient: (graph, dy, { x }, { axis, from, to }) => {
    const at = axisOf(axis, x.shape.length, 'slice')
    const before = x.shape.map((_, i) => (i === at ? from : 0))
    const after = x.shape.map((dim, i) => (i === at ? Number(dim) - to : 0))
    return { x: graph.node('Pad', [dy, graph.ints([...before, ...after]), graph.scalar(0, dy.dtype)], x, {}, 'pad') }
  },
}
