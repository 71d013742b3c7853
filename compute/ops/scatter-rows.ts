import type { Op } from '../op.ts'
import { graphError } from '../shapes.ts'

/** y = x with row `indices[i]` replaced by `rows[i]`, all indices different; dx = dy with zeros there, drows = dy's rows there. */
export const scatterRows: Op<'x' | 'indices' | 'rows', 'indices' | 'rows'> = {
  onnx: 'ScatterND',
  inputs: ['x', 'indices', 'rows'],
  keeps: ['indices', 'rows'],
  infer: ([x, indices, rows]) => {
    if (indices!.shape.length !== 1 || indices!.dtype !== 'int64' || rows!.dtype !== x!.dtype) {
      throw graphError('scatterRows: needs one int64 index per row')
    }
    return { dtype: x!.dtype, shape: x!.shape }
  },
  emit: (graph, [x, indices, rows], _attributes, type) =>
    graph.node('ScatterND', [x!, graph.unsqueeze(indices!, 1), rows!], type, {}, 'scatterRows'),
  gradient: (graph, dy, { indices, rows }) => ({
    x: graph.scatterRows(dy, indices, graph.zerosLike(rows)),
    rows: graph.gather(dy, indices),
  }),
}
