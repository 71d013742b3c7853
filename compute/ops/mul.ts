import type { Op } from '../op.ts'
import { elementwise, sumTo } from '../shapes.ts'

/** y = a b, element by element with broadcasting; da = dy b, db = dy a. */
export const mul: Op<'a' | 'b', 'a' | 'b'> = {
  onnx: 'Mul',
  inputs: ['a', 'b'],
  keeps: ['a', 'b'],
  infer: (inputs) => elementwise(inputs, 'mul'),
  gradient: (graph, dy, { a, b }) => ({ a: sumTo(graph, graph.mul(dy, b), a), b: sumTo(graph, graph.mul(dy, a), b) }),
}
