/**
 * A small network before the codebooks, the encoder of an RQ-VAE: affine layers with ReLU between and none behind the last.
 * Invariant: the float64 form adds products in index order and knows no function but max, so it is the same on every machine.
 */

import { Graph, Session, tensor, toModel } from '../compute/index.ts'
import type { ComputeWorker, Value } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

export interface NetworkLayer {
  /** Row-major float32, shape [out, in]. */
  readonly weights: Float32Array
  /** float32, shape [out]. */
  readonly bias: Float32Array
}

export interface Network {
  /** At least one. */
  readonly layers: readonly NetworkLayer[]
}

/** Dimension of the vectors that a network reads. */
export function inputDimOf({ layers }: Network): number {
  const { weights, bias } = layers[0]!
  return weights.length / bias.length
}

/** Widths from the input to the output, layers + 1 numbers. */
export function widthsOf(network: Network): number[] {
  return [inputDimOf(network), ...network.layers.map(({ bias }) => bias.length)]
}

/**
 * A checked network over `layers` (not copied).
 * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function networkOf(layers: readonly NetworkLayer[]): Network {
  if (layers.length === 0) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', 'a network needs at least one layer')
  let width: number | undefined
  for (const [index, { weights, bias }] of layers.entries()) {
    const inputs = weights.length / bias.length
    if (!Number.isInteger(inputs) || inputs < 1 || (width !== undefined && inputs !== width)) {
      throw new SidestreamError(
        'SIDESTREAM_SHAPE_MISMATCH',
        `layer ${index + 1} of the network has ${weights.length} weights for ${bias.length} outputs${width === undefined ? '' : ` of ${width} inputs`}`,
      )
    }
    if (!weights.every(Number.isFinite) || !bias.every(Number.isFinite))
      throw new SidestreamError('SIDESTREAM_VECTOR_NOT_FINITE', `layer ${index + 1} of the network holds a number that is not finite`)
    width = bias.length
  }
  return { layers }
}

/** The float64 form: one row at a time, over scratch of its own. */
export class NetworkReference {
  readonly inputDim: number
  readonly #layers: readonly NetworkLayer[]
  readonly #values: readonly Float64Array[]

  constructor(network: Network) {
    this.#layers = network.layers
    this.#values = widthsOf(network).map((width) => new Float64Array(width))
    this.inputDim = this.#values[0]!.length
  }

  /**
   * What the network makes of one row.
   * @param vectors - row-major float32, shape [rows, inputDim]
   * @returns float64, shape [outputs]; overwritten by the next call
   */
  row(vectors: Float32Array, row: number): Float64Array {
    const input = this.#values[0]!
    for (let j = 0, at = row * this.inputDim; j < input.length; j++, at++) input[j] = vectors[at]!
    for (const [index, { weights, bias }] of this.#layers.entries()) {
      const from = this.#values[index]!
      const to = this.#values[index + 1]!
      const last = index + 1 === this.#layers.length
      for (let out = 0, at = 0; out < to.length; out++) {
        let sum = bias[out]!
        for (let j = 0; j < from.length; j++, at++) sum += weights[at]! * from[j]!
        to[out] = last || sum > 0 ? sum : 0
      }
    }
    return this.#values.at(-1)!
  }
}

/**
 * What the network makes of vectors, rounded to float32.
 * @param vectors - row-major float32, shape [rows, inputDim]
 * @returns row-major float32, shape [rows, outputs]
 */
export function throughNetwork(network: Network, vectors: Float32Array): Float32Array {
  const reference = new NetworkReference(network)
  const width = widthsOf(network).at(-1)!
  const rows = vectors.length / reference.inputDim
  const out = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) out.set(reference.row(vectors, row), row * width)
  return out
}

/** Rows of one turn. */
const turnRows = 1024

/** `throughNetwork` for many rows: other work of the thread gets its turn between. */
export async function throughNetworkInTurns(network: Network, vectors: Float32Array): Promise<Float32Array> {
  const dim = inputDimOf(network)
  const width = widthsOf(network).at(-1)!
  const rows = vectors.length / dim
  const out = new Float32Array(rows * width)
  for (let from = 0; from < rows; from += turnRows) {
    out.set(throughNetwork(network, vectors.subarray(from * dim, (from + turnRows) * dim)), from * width)
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  return out
}

/** Appends the network to a graph, float32. @param vectors - [n, inputDim] */
export function appendNetwork(graph: Graph, vectors: Value, { layers }: Network): Value {
  let x = vectors
  for (const [index, { weights, bias }] of layers.entries()) {
    const out = bias.length
    const inputs = weights.length / out
    const columns = new Float32Array(weights.length)
    for (let o = 0; o < out; o++) for (let j = 0; j < inputs; j++) columns[j * out + o] = weights[o * inputs + j]!
    x = graph.linear(x, graph.constant(tensor('float32', [inputs, out], columns)), graph.constant(tensor('float32', [out], bias)))
    if (index + 1 < layers.length) x = graph.node('Relu', [x], x)
  }
  return x
}

/** A tolerance is this many times the largest error that was measured. */
const headroom = 64
/** Rows of one run of the measurement. */
const measuredRows = 256

/**
 * The recheck tolerance that a network needs: 64 times the largest error of the float32 graph against the float64 form, relative to
 * the length of the outcome. The graph's margins are relative too, so a row beyond the tolerance is decided right by a wide berth.
 * @param vectors - some thousand rows like those to encode, row-major float32, shape [rows, inputDim]
 * @param options.least - what it is at least: the tolerance without a network, 1e-5 unless given
 * @param options.worker - computes in this thread instead of one of its own
 */
export async function networkTolerance(
  network: Network,
  vectors: Float32Array,
  { least = 1e-5, worker }: { readonly least?: number; readonly worker?: ComputeWorker } = {},
): Promise<number> {
  const graph = new Graph({ name: 'semantic-id-network' })
  graph.output('z', appendNetwork(graph, graph.input('vectors', 'float32', ['rows', inputDimOf(network)]), network))
  const session = await Session.create(toModel(graph), worker ? { worker, threads: 1 } : { threads: 1, name: 'network-tolerance' })
  try {
    const reference = new NetworkReference(network)
    const dim = reference.inputDim
    const rows = vectors.length / dim
    let worst = 0
    for (let from = 0; from < rows; from += measuredRows) {
      const count = Math.min(measuredRows, rows - from)
      const input = tensor('float32', [count, dim], vectors.slice(from * dim, (from + count) * dim))
      const z = (await session.run({ vectors: input }))['z']!.data as Float32Array
      for (let row = 0; row < count; row++) {
        const exact = reference.row(vectors, from + row)
        let squared = 0
        let error = 0
        for (let j = 0; j < exact.length; j++) {
          squared += exact[j]! * exact[j]!
          error += (exact[j]! - z[row * exact.length + j]!) ** 2
        }
        if (squared > 0) worst = Math.max(worst, Math.sqrt(error / squared))
      }
    }
    return Math.max(least, headroom * worst)
  } finally {
    await session.close()
  }
}
