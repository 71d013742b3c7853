import type { Dim, Op } from '../op.ts'
import { describe, graphError } from '../shapes.ts'

/** y = x in another shape, same order of elements; dx = dy in the shape of x. */
export const reshape: Op<'x', 'x', { shape: readonly Dim[] }> = {
  onnx: 'Reshape',
  inputs: ['x'],
  keeps: ['x'],
  infer: ([x], { shape }) => {
    const product = (dims: readonly Dim[]) => dims.reduce<number>((total, dim) => (typeof dim === 'number' ? total * dim : total), 1)
    const moved = shape.filter((dim, i) => typeof dim === 'string' && x!.shape[i] !== dim)
    const allKnown = [...shape, ...x!.shape].every((dim) => typeof dim === 'number')
    if (moved.length > 1 || (allKnown && product(shape) !== product(x!.shape))) {
      throw graphError(`reshape: ${describe(x!)} does not go into [${shape.join(', ')}]`)
    }
    return { dtype: x!.dtype, shape }
  },
  emit: (graph, [x], { shape }, type) => {
    // In ONNX 0 copies the size at the same place and -1 is the one unknown size.
    const sizes = shape.map((dim, i) => (typeof dim === 'number' ? dim : x!.shape[i] === dim ? 0 : -1))
    return graph.node('Reshape', [x!, graph.ints(sizes)], type, {}, 'reshape')
  },
  gradient: (graph, dy, { x }) => ({ x: graph.reshapeLike(dy, x) }),
}
