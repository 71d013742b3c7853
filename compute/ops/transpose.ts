import type { Op } from '../op.ts'
import { graphError } from '../shapes.ts'

/** y = x with its axes in the order `axes`; dx = dy with the inverse order. */
export const transpose: Op<'x', never, { axes: readonly number[] }> = {
  onnx: 'Transpose',
  inputs: ['x'],
  keeps: [],
  infer: ([x], { axes }) => {
    if (axes.length !== x!.shape.length || new Set(axes).size !== axes.length || axes.some((axis) => x!.shape[axis] === undefined)) {
      throw graphError(`transpose: axes [${axes.join(', ')}] are no order of rank ${x!.shape.length}`)
    }
    return { dtype: x!.dtype, shape: axes.map((axis) => x!.shape[axis]!) }
  },
  emit: (graph, inputs, { axes }, type) => graph.node('Transpose', inputs, type, { perm: { ints: axes } }, 'transpose'),
  gradient: (graph, dy, _kept, { axes }) => ({
    x: graph.transpose(
      dy,
      axes.map((_, i) => axes.indexOf(i)),
    ),
  }),
}
