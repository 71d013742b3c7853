import type { Op } from '../op.ts'
import { elementwise } from '../shapes.ts'

/** True where both are, with broadcasting; no gradient. */
export const and: Op<'a' | 'b', never> = {
  onnx: 'And',
  inputs: ['a', 'b'],
  keeps: [],
  infer: (inputs) => ({ dtype: 'bool', shape: elementwise(inputs, 'and').shape }),
  gradient: 'stops',
}
