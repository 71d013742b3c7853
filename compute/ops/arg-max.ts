import type { Op } from '../op.ts'
import { axisOf } from '../shapes.ts'

/** Index (int64) of the largest entry along `axis`, the first one on ties; the axis is dropped. No gradient. */
export const argMax: Op<'x', never, { axis: number }> = {
  onnx: 'ArgMax',
  inputs: ['x'],
  keeps: [],
  infer: ([x], { axis }) => ({ dtype: 'int64', shape: x!.shape.toSpliced(axisOf(axis, x!.shape.length, 'argMax'), 1) }),
  emit: (graph, inputs, { axis }, type) => graph.node('ArgMax', inputs, type, { axis: { int: axis }, keepdims: { int: 0 } }, 'argMax'),
  gradient: 'stops',
}
