import type { Op, Value } from '../op.ts'
import { axisOf, sameAs } from '../shapes.ts'

/**
 * y = exp(x) / sum(exp(x)) along `axis` over the entries where `mask` holds (all without one); 0 elsewhere, and in rows
 * where nothing holds. dx = y (dy - sum(dy y)).
 */
export const softmax: Op<'x' | 'mask', 'y', { axis: number }> = {
  onnx: 'Softmax',
  inputs: ['x', 'mask'],
  keeps: ['y'],
  infer: (inputs, { axis }) => {
    axisOf(axis, inputs[0]!.shape.length, 'softmax')
    return sameAs(inputs)
  },
  emit: (graph, [x, mask], { axis }, type) => {
    if (mask === undefined) return graph.node('Softmax', [x!], type, { axis: { int: axis } }, 'softmax')
    const zero = graph.scalar(0, x!.dtype)
    const largest = graph.reduceMax(graph.where(mask, x!, graph.scalar(lowest(x!), x!.dtype)), [axis], { keepDims: true })
    const powers = graph.where(mask, graph.exp(graph.sub(x!, largest)), zero)
    const total = graph.reduceSum(powers, [axis], { keepDims: true })
    // The largest allowed entry gives 1, so a total below 1 means that nothing is allowed.
    return graph.div(powers, graph.where(graph.equal(total, zero), graph.scalar(1, x!.dtype), total))
  },
  gradient: (graph, dy, { y }, { axis }) => {
    const weighted = graph.mul(dy, y)
    return { x: graph.sub(weighted, graph.mul(y, graph.reduceSum(weighted, [axis], { keepDims: true }))) }
  },
}

/** Below every real score, and still finite. */
export function lowest({ dtype }: Value): number {
  return dtype === 'float64' ? -1e300 : -1e38
}
