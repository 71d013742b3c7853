import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** y = x; dy/dx = 1. */
export const identity: Op<'x', never> = {
  onnx: 'Identity',
  inputs: ['x'],
  keeps: [],
  infer: sameAs,
  gradient: (_graph, dy) => ({ x: dy }),
}
