import type { Op } from '../op.ts'
import { elementwise } from '../shapes.ts'

/** True where either is, with broadcasting; no gradient. */
export const or: Op<'a' | 'b', never> = {
  onnx: 'Or',
  inputs: ['a', 'b'],
  keeps: [],
  infer: (inputs) => ({ dtype: 'bool', shape: elementwise(inputs, 'or').shape }),
  gradient: 'stops',
}
