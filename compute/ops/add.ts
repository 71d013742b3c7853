import type { Op } from '../op.ts'
import { elementwise, sumTo } from '../shapes.ts'

/** y = a + b with broadcasting; da = dy, db = dy, each summed over the axes it was broadcast along. */
export const add: Op<'a' | 'b', 'a' | 'b'> = {
  onnx: 'Add',
  inputs: ['a', 'b'],
  keeps: ['a', 'b'],
  infer: (inputs) => elementwise(inputs, 'add'),
  gradient: (graph, dy, { a, b }) => ({ a: sumTo(graph, dy, a), b: sumTo(graph, dy, b) }),
}
