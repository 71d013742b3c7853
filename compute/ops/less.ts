import type { Op } from '../op.ts'
import { elementwise } from '../shapes.ts'

/** True where a < b, with broadcasting; no gradient. */
export const less: Op<'a' | 'b', never> = {
  onnx: 'Less',
  inputs: ['a', 'b'],
  keeps: [],
  infer: (inputs) => ({ dtype: 'bool', shape: elementwise(inputs, 'less').shape }),
  gradient: 'stops',
}
