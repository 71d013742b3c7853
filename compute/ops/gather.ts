import type { Op } from '../op.ts'
import { graphError } from '../shapes.ts'

/** y = rows of x (first axis) at int64 `indices` of any shape; dx = dy's rows added up per index. */
export const gather: Op<'x' | 'indices', 'x' | 'indices'> = {
  onnx: 'Gather',
  inputs: ['x', 'indices'],
  keeps: ['x', 'indices'],
  infer: ([x, indices]) => {
    if (indices!.dtype !== 'int64' || x!.shape.length === 0) throw graphError('gather: needs rows and int64 indices')
    return { dtype: x!.dtype, shape: [...indices!.shape, ...x!.shape.slice(1)] }
  },
  emit: (graph, inputs, _attributes, type) => graph.node('Gather', inputs, type, { axis: { int: 0 } }, 'gather'),
  gradient: (graph, dy, { x, indices }) => {
    const flat = graph.node('Reshape', [indices, graph.ints([-1])], { dtype: 'int64', shape: ['rows'] }, {}, 'reshape')
    const sizes = x.shape.slice(1)
    if (sizes.some((dim) => typeof dim !== 'number')) throw graphError('gather: the gradient needs known sizes behind the first axis')
    const rows = graph.node(
      'Reshape',
      [dy, graph.ints([-1, ...(sizes as number[])])],
      { dtype: dy.dtype, shape: ['rows', ...sizes] },
      {},
      'reshape',
    )
    return { x: graph.scatterAdd(rows, flat, x) }
  },
}
