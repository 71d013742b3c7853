import type { Graph } from '../graph.ts'
import type { Op, Value } from '../op.ts'
import { sameAs } from '../shapes.ts'

/** Rows shorter than this have no direction: they become zero. */
export const shortestRow = 1e-12

/** y = x / |x| along the last axis, zero where |x| < 1e-12; dx = (dy - y (y · dy)) / |x|, zero likewise. */
export const l2norm: Op<'x', 'x' | 'y'> = {
  onnx: 'LpNormalization',
  inputs: ['x'],
  keeps: ['x', 'y'],
  infer: sameAs,
  emit: (graph, [x]) => {
    const { inverse } = inverseLength(graph, x!)
    return graph.mul(x!, inverse)
  },
  gradient: (graph, dy, { x, y }) => {
    const { inverse } = inverseLength(graph, x)
    const along = graph.reduceSum(graph.mul(y, dy), [-1], { keepDims: true })
    return { x: graph.mul(graph.sub(dy, graph.mul(y, along)), inverse) }
  },
}

/** 1 / |x| per row, 0 for rows without a direction; shape [..., 1]. */
function inverseLength(graph: Graph, x: Value): { inverse: Value } {
  const length = graph.sqrt(graph.reduceSum(graph.mul(x, x), [-1], { keepDims: true }))
  const short = graph.less(length, graph.scalar(shortestRow, x.dtype))
  const one = graph.scalar(1, x.dtype)
  return { inverse: graph.where(short, graph.scalar(0, x.dtype), graph.div(one, graph.where(short, one, length))) }
}
