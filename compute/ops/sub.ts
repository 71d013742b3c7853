import type { Op } from '../op.ts'
import { elementwise, sumTo } from '../shapes.ts'

/** y = a - b with broadcasting; da = dy, db = -dy. */
export const sub: Op<'a' | 'b', 'a' | 'b'> = {
  onnx: 'Sub',
  inputs: ['a', 'b'],
  keeps: ['a', 'b'],
  infer: (inputs) => elementwise(inputs, 'sub'),
  gradient: (graph, dy, { a, b }) => ({ a: sumTo(graph, dy, a), b: sumTo(graph, graph.neg(dy), b) }),
}
