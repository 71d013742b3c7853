import type { Op } from '../op.ts'
import { axisOf, describe, graphError } from '../shapes.ts'

/** y = x without the axis `axis` of size 1; dx = dy with it. */
export const squeeze: Op<'x', never, { axis: number }> = {
  onnx: 'Squeeze',
  inputs: ['x'],
  keeps: [],
  infer: ([x], { axis }) => {
    const at = axisOf(axis, x!.shape.length, 'squeeze')
    if (x!.shape[at] !== 1) throw graphError(`squeeze: axis ${axis} of ${describe(x!)} is not 1`)
    return { dtype: x!.dtype, shape: x!.shape.toSpliced(at, 1) }
  },
  emit: (graph, [x], { axis }, type) => graph.node('Squeeze', [x!, graph.ints([axis])], type, {}, 'squeeze'),
  gradient: (graph, dy, _kept, { axis }) => ({ x: graph.unsqueeze(dy, axis) }),
}
