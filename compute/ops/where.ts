import type { Op } from '../op.ts'
import { broadcastShape, describe, graphError, sumTo } from '../shapes.ts'

/** y = a where `condition` holds, else b, with broadcasting; da = dy where it holds, db = dy where not. */
export const where: Op<'condition' | 'a' | 'b', 'condition' | 'a' | 'b'> = {
  onnx: 'Where',
  inputs: ['condition', 'a', 'b'],
  keeps: ['condition', 'a', 'b'],
  infer: ([condition, a, b]) => {
    if (condition!.dtype !== 'bool' || a!.dtype !== b!.dtype) {
      throw graphError(`where: needs a bool and two equal types, got ${describe(condition!)}, ${describe(a!)}, ${describe(b!)}`)
    }
    return { dtype: a!.dtype, shape: broadcastShape(condition!.shape, broadcastShape(a!.shape, b!.shape, 'where'), 'where') }
  },
  gradient: (graph, dy, { condition, a, b }) => {
    const zero = graph.scalar(0, dy.dtype)
    return { a: sumTo(graph, graph.where(condition, dy, zero), a), b: sumTo(graph, graph.where(condition, zero, dy), b) }
  },
}
