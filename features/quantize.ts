/**
 * Published vectors to stored numbers, as graph nodes, so that semantic IDs are made from exactly what is stored.
 * Invariant: `dequantized` is bit for bit what `decodeValue` gives for the stored numbers.
 */

import { encodeFloat16 } from '../compute/index.ts'
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

export interface QuantizedRows {
  /** [n, dim]: float32, float16 bits or int8, as `encodeValues` takes them. */
  readonly stored: Float32Array | Uint16Array | Int8Array
  /** [n]; int8 only. */
  readonly scales: Float32Array | undefined
}

/**
 * The same without a graph: stored numbers of float32 rows, bit for bit those of `appendQuantize`.
 * @param vectors - row-major float32, shape [n, dim]
 */
export function quantizeRows(vectors: Float32Array, dim: number, dtype: VectorDtype): QuantizedRows {
  if (dtype === 'f32') return { stored: vectors, scales: undefined }
  if (dtype === 'f16') return { stored: encodeFloat16(vectors), scales: undefined }
  const stored = new Int8Array(vectors.length)
  const scales = new Float32Array(vectors.length / dim)
  for (let row = 0; row < scales.length; row++) {
    const from = row * dim
    let largest = 0
    for (let i = from; i < from + dim; i++) largest = Math.max(largest, Math.abs(vectors[i]!))
    const scale = Math.fround(largest / 127)
    scales[row] = scale
    const divisor = scale > 0 ? scale : 1
    for (let i = from; i < from + dim; i++) stored[i] = roundToEven(Math.fround(vectors[i]! / divisor)) // float32, as the graph divides
  }
  return { stored, scales }
}

function roundToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}
