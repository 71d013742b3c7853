import type { Op } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** True where x is false; no gradient. */
export const not: Op<'x', never> = { onnx: 'Not', inputs: ['x'], keeps: [], infer: sameAs, gradient: 'stops' }
