import type { Graph } from '../graph.ts'
import type { Op, Value } from '../op.ts'
import { describe, graphError, sameAs } from '../shapes.ts'
import { tensorOf } from '../tensor.ts'

/** 2^-17 (7.6e-6, exact in float32), added to the variance, so that a row of equal entries becomes zero. */
const smallestVariance = 2 ** -17

/**
 * y = (x - mean) / sqrt(variance + 2^-17) along the last axis, of known size; no gain and no shift: a linear map behind it has
 * both. dx = (dy - mean(dy) - y mean(dy y)) / sqrt(variance + 2^-17).
 */
export const layerNorm: Op<'x', 'x' | 'y'> = {
  onnx: 'LayerNormalization',
  inputs: ['x'],
  keeps: ['x', 'y'],
  infer: (inputs) => {
    if (typeof inputs[0]!.shape.at(-1) !== 'number') throw graphError(`layerNorm: ${describe(inputs[0]!)} needs a known last axis`)
    return sameAs(inputs)
  },
  emit: (graph, [x], _attributes, type) => {
    const width = x!.shape.at(-1) as number
    const gain = graph.shared(`gain:${x!.dtype}:${width}`, () =>
      tensorOf(
        x!.dtype,
        [width],
        Array.from({ length: width }, () => 1),
      ),
    )
    return graph.node('LayerNormalization', [x!, gain], type, { axis: { int: -1 }, epsilon: { float: smallestVariance } }, 'layerNorm')
  },
  gradient: (graph, dy, { x, y }) => {
    const inward = graph.sub(graph.sub(dy, rowMean(graph, dy)), graph.mul(y, rowMean(graph, graph.mul(dy, y))))
    return { x: graph.div(inward, deviation(graph, x)) }
  },
}

/** sqrt(variance + 2^-17) per row, [..., 1]. */
function deviation(graph: Graph, x: Value): Value {
  const centered = graph.sub(x, rowMean(graph, x))
  return graph.sqrt(graph.add(rowMean(graph, graph.mul(centered, centered)), graph.scalar(smallestVariance, x.dtype)))
}

function rowMean(graph: Graph, x: Value): Value {
  return graph.reduceMean(x, [-1], { keepDims: true })
}
