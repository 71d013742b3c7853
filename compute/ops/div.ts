import type { Op } from '../op.ts'
import { elementwise, sumTo } from '../shapes.ts'

/** y = a / b with broadcasting; da = dy / b, db = -dy y / b. */
export const div: Op<'a' | 'b', 'a' | 'b' | 'y'> = {
  onnx: 'Div',
  inputs: ['a', 'b'],
  keeps: ['a', 'b', 'y'],
  infer: (inputs) => elementwise(inputs, 'div'),
  gradient: (graph, dy, { a, b, y }) => {
    const da = graph.div(dy, b)
    return { a: sumTo(graph, da, a), b: sumTo(graph, graph.neg(graph.mul(da, y)), b) }
  },
}
