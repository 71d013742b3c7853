/**
 * Published vectors to stored numbers, as graph nodes, so that semantic IDs are made from exactly what is stored.
 * Invariant: `dequantized` is bit for bit what `decodeValue` gives for the stored numbers.
 */

import type { Graph, Value } from '../compute/index.ts'
import type { VectorDtype } from '../schemas/index.ts'

export interface QuantizedValues {
  /** [n, dim]: float32, float16, or whole numbers -127 to 127 as float32 for int8. */
  readonly stored: Value
  /** float32 [n, 1]; int8 only. */
  readonly scale: Value | undefined
  /** float32 [n, dim]. */
  readonly dequantized: Value
}

/**
 * @param vectors - float32 [n, dim]
 */
export function appendQuantize(graph: Graph, vectors: Value, dtype: VectorDtype): QuantizedValues {
  switch (dtype) {
    case 'f32':
      return { stored: graph.identity(vectors), scale: undefined, dequantized: graph.identity(vectors) }
    case 'f16': {
      const stored = graph.cast(vectors, 'float16')
      return { stored, scale: undefined, dequantized: graph.cast(stored, 'float32') }
    }
    case 'i8': {
      const magnitudes = graph.node('Abs', [vectors], vectors, {}, 'abs')
      const largest = graph.reduceMax(magnitudes, [1], { keepDims: true })
      const scale = graph.div(largest, graph.scalar(127))
      // A zero vector has scale 0: it is divided by 1 instead and stays zero.
      const divisor = graph.where(graph.less(graph.scalar(0), scale), scale, graph.scalar(1))
      const stored = graph.node('Round', [graph.div(vectors, divisor)], vectors, {}, 'round')
      return { stored, scale, dequantized: graph.mul(stored, scale) }
    }
  }
}
