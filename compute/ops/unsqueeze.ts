import type { Op } from '../op.ts'
import { axisOf } from '../shapes.ts'

/** y = x with a new axis of size 1 at `axis`; dx = dy without it. */
export const unsqueeze: Op<'x', never, { axis: number }> = {
  onnx: 'Unsqueeze',
  inputs: ['x'],
  keeps: [],
  infer: ([x], { axis }) => ({ dtype: x!.dtype, shape: x!.shape.toSpliced(axisOf(axis, x!.shape.length + 1, 'unsqueeze'), 0, 1) }),
  emit: (graph, [x], { axis }, type) => graph.node('Unsqueeze', [x!, graph.ints([axis])], type, {}, 'unsqueeze'),
  gradient: (graph, dy, _kept, { axis }) => ({ x: graph.squeeze(dy, axis) }),
}
