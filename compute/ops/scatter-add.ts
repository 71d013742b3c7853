import type { Op } from '../op.ts'
import { graphError } from '../shapes.ts'

/**
 * y = zeros shaped as `like` with `rows[i]` added at row `indices[i]`, in index order (int64, each within range);
 * drows = dy's rows at the indices.
 * ScatterElements, because ONNX Runtime runs it in one thread in index order; ScatterND(reduction=add) splits its
 * updates over threads and equal indices then race.
 */
export const scatterAdd: Op<'rows' | 'indices' | 'like', 'indices'> = {
  onnx: 'ScatterElements',
  inputs: ['rows', 'indices', 'like'],
  keeps: ['indices'],
  infer: ([rows, indices, like]) => {
    if (indices!.shape.length !== 1 || indices!.dtype !== 'int64' || rows!.shape.length !== like!.shape.length) {
      throw graphError('scatterAdd: needs one int64 index per row')
    }
    return { dtype: rows!.dtype, shape: like!.shape }
  },
  emit: (graph, [rows, indices, like], _attributes, type) => {
    const column = graph.node(
      'Unsqueeze',
      [indices!, graph.ints(rows!.shape.slice(1).map((_, i) => i + 1))],
      { dtype: 'int64', shape: [indices!.shape[0]!, ...rows!.shape.slice(1).map(() => 1)] },
      {},
      'unsqueeze',
    )
    const everywhere = graph.node('Expand', [column, graph.shapeOf(rows!)], { dtype: 'int64', shape: rows!.shape }, {}, 'expand')
    const attributes = { axis: { int: 0 }, reduction: { string: 'add' } }
    return graph.node('ScatterElements', [graph.zerosLike(like!), everywhere, rows!], type, attributes, 'scatterAdd')
  },
  gradient: (graph, dy, { indices }) => ({ rows: graph.gather(dy, indices) }),
}
