import type { Op } from '../op.ts'
import { elementwise } from '../shapes.ts'

/** True where a = b, with broadcasting; no gradient. */
export const equal: Op<'a' | 'b', never> = {
  onnx: 'Equal',
  inputs: ['a', 'b'],
  keeps: [],
  infer: (inputs) => ({ dtype: 'bool', shape: elementwise(inputs, 'equal').shape }),
  gradient: 'stops',
}
