/** The finite-scalar level as ONNX nodes: one matrix product with a column per cut, and a count of the cuts that are reached. */

import { tensor, type Graph, type Value } from '../compute/index.ts'
import type { Fsq } from './fsq.ts'

/** Keeps the margin of a row without length a number. */
const leastLength = 1e-30

/**
 * Codes of residuals and how far their numbers are from the next cut, relative to what float32 rounds.
 * @param residual - float32 [n, dim]
 * @param largest - float32 [n, 1]: largest squared length that the residual came from
 * @returns code int32 [n, 1], margin float32 [n, 1]
 */
export function appendFsq(
  graph: Graph,
  residual: Value,
  { digits, projection, cuts }: Fsq,
  largest: Value,
): { code: Value; margin: Value } {
  const rows = residual.shape[0]!
  const dim = projection.length / digits.length
  const all = cuts.flatMap((own, j) => Array.from(own, (cut) => ({ cut, j })))
  const columns = new Float32Array(dim * all.length)
  const lengths = new Float32Array(all.length)
  // A cut of digit j counts as much as one step of that digit.
  const steps = new Float32Array(all.length)
  for (const [t, { j }] of all.entries()) {
    const axis = projection.subarray(j * dim, (j + 1) * dim)
    for (let i = 0; i < dim; i++) columns[i * all.length + t] = axis[i]!
    lengths[t] = Math.hypot(...axis)
    steps[t] = digits.slice(j + 1).reduce((product, values) => product * values, 1)
  }
  const table = (dims: number[], values: Float32Array): Value => graph.constant(tensor('float32', dims, values))
  const places = table(
    [1, all.length],
    Float32Array.from(all, ({ cut }) => cut),
  )
  const above = graph.sub(graph.matmul(residual, table([dim, all.length], columns)), places)
  const reached = graph.cast(graph.not(graph.less(above, graph.scalar(0))), 'float32')
  const code = graph.cast(graph.matmul(reached, table([all.length, 1], steps)), 'int32')
  const length = graph.add(graph.sqrt(graph.node('Relu', [largest], largest)), graph.scalar(leastLength))
  const distance = graph.div(
    graph.node('Abs', [above], above),
    graph.add(graph.mul(table([1, all.length], lengths), length), graph.scalar(leastLength)),
  )
  const margin = graph.node('ReduceMin', [distance, graph.ints([1])], { dtype: 'float32', shape: [rows, 1] }, { keepdims: { int: 1 } })
  return { code, margin }
}
