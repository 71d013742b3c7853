import type { Op } from '../op.ts'
import { onnxTypes } from '../onnx-proto.ts'
import type { DType } from '../tensor.ts'

/** y = x in another element type; dx = dy in the type of x (between floating types; an integer input gets none). */
export const cast: Op<'x', 'x', { dtype: DType }> = {
  onnx: 'Cast',
  inputs: ['x'],
  keeps: ['x'],
  infer: ([x], { dtype }) => ({ dtype, shape: x!.shape }),
  emit: (graph, inputs, { dtype }, type) => graph.node('Cast', inputs, type, { to: { int: onnxTypes[dtype] } }, 'cast'),
  gradient: (graph, dy, { x }) => (x.dtype.startsWith('float') && dy.dtype.startsWith('float') ? { x: graph.cast(dy, x.dtype) } : {}),
}
