import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = x, but nothing flows back: x counts as a constant. */
export const stopGradient: Op<'x', never> = {
  onnx: 'Identity',
  inputs: ['x'],
  keeps: [],
  infer: sameAs,
  gradient: 'stops',
}
