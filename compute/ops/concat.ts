import type { Dim, Op, Value } from '../op.ts'
import { axisOf, describe, graphError } from '../shapes.ts'

/** y = the inputs one after another along `axis`; each input's gradient is its part of dy. */
export const concat: Op<string, string, { axis: number }> = {
  onnx: 'Concat',
  inputs: 'many',
  keeps: ['x*'],
  infer: (inputs, { axis }) => {
    const first = inputs[0]
    if (first === undefined) throw graphError('concat: needs at least one value')
    const at = axisOf(axis, first.shape.length, 'concat')
    for (const input of inputs) {
      const fits =
        input.dtype === first.dtype &&
        input.shape.length === first.shape.length &&
        input.shape.every((dim, i) => i === at || dim === first.shape[i])
      if (!fits) throw graphError(`concat: ${describe(first)} and ${describe(input)} do not fit along axis ${axis}`)
    }
    const sizes = inputs.map(({ shape }) => shape[at]!)
    const size: Dim = sizes.every((dim) => typeof dim === 'number') ? sizes.reduce((a, b) => a + b, 0) : sizes.join('+')
    return { dtype: first.dtype, shape: first.shape.with(at, size) }
  },
  emit: (graph, inputs, { axis }, type) => graph.node('Concat', inputs, type, { axis: { int: axis } }, 'concat'),
  gradient: (graph, dy, kept, { axis }) => {
    const inputs = Object.values(kept)
    const at = axisOf(axis, dy.shape.length, 'concat')
    const sizes = inputs.map((input): Value => {
      const size = input.shape[at]!
      if (typeof size === 'number') return graph.ints([size])
      return graph.node('Shape', [input], { dtype: 'int64', shape: [1] }, { start: { int: at }, end: { int: at + 1 } }, 'shape')
    })
    const split = graph.node('Concat', sizes, { dtype: 'int64', shape: [sizes.length] }, { axis: { int: 0 } }, 'sizes')
    const parts = graph.nodeMany('Split', [dy, split], inputs, { axis: { int: at } }, 'split')
    return Object.fromEntries(Object.keys(kept).map((name, i) => [name, parts[i]!]))
  },
}
