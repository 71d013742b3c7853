import type { Op } from '../op.ts'
import { axisOf } from '../shapes.ts'
import { lowest } from './softmax.ts'

/**
 * y = ln(sum(exp(x))) along `axis`, which stays as size 1, over the entries where `mask` holds (all without one). The
 * largest entry is taken out first, so nothing overflows. A row where nothing holds gives -Infinity and no gradient.
 * dx = dy exp(x - y) where the mask holds.
 */
export const logSumExp: Op<'x' | 'mask', 'x' | 'mask' | 'y', { axis: number }> = {
  onnx: 'ReduceLogSumExp',
  inputs: ['x', 'mask'],
  keeps: ['x', 'mask', 'y'],
  infer: ([x], { axis }) => ({ dtype: x!.dtype, shape: x!.shape.with(axisOf(axis, x!.shape.length, 'logSumExp'), 1) }),
  emit: (graph, [x, mask], { axis }) => {
    const allowed = mask ? graph.where(mask, x!, graph.scalar(lowest(x!), x!.dtype)) : x!
    const largest = graph.reduceMax(allowed, [axis], { keepDims: true })
    const powers = graph.exp(graph.sub(x!, largest))
    const counted = mask ? graph.where(mask, powers, graph.scalar(0, x!.dtype)) : powers
    return graph.add(graph.log(graph.reduceSum(counted, [axis], { keepDims: true })), largest)
  },
  gradient: (graph, dy, { x, mask, y }) => {
    const shares = graph.mul(dy, graph.exp(graph.sub(x, y)))
    return { x: mask ? graph.where(mask, shares, graph.scalar(0, x.dtype)) : shares }
  },
}
