import type { Op } from '../op.ts'
import { axisOf } from '../shapes.ts'

/** Index (int64) of the smallest entry along `axis`, the first one on ties; the axis is dropped. No gradient. */
export const argMin: Op<'x', never, { axis: number }> = {
  onnx: 'ArgMin',
  inputs: ['x'],
  keeps: [],
  infer: ([x], { axis }) => ({ dtype: 'int64', shape: x!.shape.toSpliced(axisOf(axis, x!.shape.length, 'argMin'), 1) }),
  emit: (graph, inputs, { axis }, type) => graph.node('ArgMin', inputs, type, { axis: { int: axis }, keepdims: { int: 0 } }, 'argMin'),
  gradient: 'stops',
}
