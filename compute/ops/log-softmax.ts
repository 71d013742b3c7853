import type { Op } from '../op.ts'
import { axisOf, sameAs } from '../shapes.ts'

/** y = x - ln(sum(exp(x))) along `axis`; dx = dy - exp(y) sum(dy). */
export const logSoftmax: Op<'x', 'y', { axis: number }> = {
  onnx: 'LogSoftmax',
  inputs: ['x'],
  keeps: ['y'],
  infer: (inputs, { axis }) => {
    axisOf(axis, inputs[0]!.shape.length, 'logSoftmax')
    return sameAs(inputs)
  },
  emit: (graph, inputs, { axis }, type) => graph.node('LogSoftmax', inputs, type, { axis: { int: axis } }, 'logSoftmax'),
  gradient: (graph, dy, { y }, { axis }) => ({
    x: graph.sub(dy, graph.mul(graph.exp(y), graph.reduceSum(dy, [axis], { keepDims: true }))),
  }),
}
