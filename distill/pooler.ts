/**
 * A small transformer that pools a history, an option beside the mean pool, after SAIL-Embedding (arXiv 2510.12709, section 4:
 * three layers and a summary token; width and heads are not printed, ours are options). Pre-norm layers: attention, then a GELU
 * network of twice the width, each added to what entered it. What the summary token has gathered, brought to unit length, is
 * mapped to a correction of the mean pool.
 * Position is an item's age: how many items of the history are newer. It is learned, and counted rather than read from the
 * place, so a history gives the same result wherever its padding stands.
 * Invariants: before any training the correction is 0, so a trainer starts from the mean pool; a masked place changes
 * nothing; an empty history gives zero. The pooler serves training alone: readers average item vectors.
 */

import { fillNormal, tensorOf, zeros, type Graph, type Tensor, type Value } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { Head } from './head.ts'
import { meanPool } from './losses.ts'

export interface PoolerOptions {
  /** Dims of the item vectors: the head's `dims`. */
  readonly dims: number
  /**
   * Width inside; a multiple of `heads`. Time grows with its square.
   * @default dims
   */
  readonly width?: number
  /**
   * Layers of attention.
   * @default 3
   */
  readonly layers?: number
  /**
   * Heads of attention in each layer.
   * @default 4
   */
  readonly heads?: number
  /**
   * Longest history, in items: ages that are learned.
   * @default 10
   */
  readonly historyLength?: number
  /**
   * Seed of the random start.
   * @default 0
   */
  readonly seed?: number
}

/** Options with every default resolved. */
export type PoolerSpec = Required<PoolerOptions>

/** What a trainer may choose of a pooler; dims, history and seed are those of the training. */
export interface PoolerShape extends Pick<PoolerSpec, 'layers' | 'heads'> {
  /** Null: the head's `dims`. */
  readonly width: number | null
}

export const poolerShapeDefaults: PoolerShape = { layers: 3, width: null, heads: 4 }

export const poolerDefaults = { layers: 3, heads: 4, historyLength: 10, seed: 0 } as const satisfies Omit<PoolerSpec, 'dims' | 'width'>

/** A pooler that can be trained. `parameters` are named as `poolerShapes` lists them. */
export interface Pooler {
  readonly spec: PoolerSpec
  readonly parameters: ReadonlyMap<string, Tensor>
}

/** What it gives. */
export interface PoolerOutputs {
  /** The mean pool and the correction together, not of unit length, [B, dims]. */
  readonly pooled: Value
  /** What the transformer adds to the mean pool, [B, dims]; its first dims correct the mean of short views. */
  readonly correction: Value
}

/** Width of the GELU network, in widths. */
const hiddenShare = 2

/** Name and shape of every parameter. */
export function poolerShapes({ dims, width, layers, historyLength }: PoolerSpec): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>([
    ['pooler.in', [dims, width]],
    ['pooler.age', [historyLength, width]],
    ['pooler.summary', [width]],
    ['pooler.out', [width, dims]],
  ])
  const hidden = hiddenShare * width
  for (let layer = 0; layer < layers; layer++) {
    for (const name of ['query', 'key', 'value', 'merge']) shapes.set(`pooler.${layer}.${name}`, [width, width])
    shapes.set(`pooler.${layer}.up`, [width, hidden]).set(`pooler.${layer}.up.b`, [hidden])
    shapes.set(`pooler.${layer}.down`, [hidden, width]).set(`pooler.${layer}.down.b`, [width])
  }
  return shapes
}

/**
 * A pooler before any training: seeded normal matrices, scaled so that every map keeps the spread of its input and all
 * layers together add about as much as entered them; `out`, ages and shifts are 0.
 * @throws SIDESTREAM_USAGE_INVALID
 */
export function createPooler(options: PoolerOptions): Pooler {
  const spec: PoolerSpec = { ...poolerDefaults, width: options.width ?? options.dims, ...options }
  for (const name of ['dims', 'width', 'layers', 'heads', 'historyLength'] as const) {
    if (!Number.isInteger(spec[name]) || spec[name] < 1) throw invalid(`${name} must be a whole number >= 1, not ${spec[name]}`)
  }
  if (spec.width % spec.heads !== 0) throw invalid(`width ${spec.width} must be a multiple of ${spec.heads} heads`)
  const parameters = new Map<string, Tensor<'float32'>>()
  for (const [stream, [name, shape]] of [...poolerShapes(spec)].entries()) {
    const start = zeros('float32', shape)
    const sd = startOf(name, shape, spec)
    if (sd > 0) fillNormal(start.data, spec.seed, stream)
    for (let i = 0; i < start.data.length; i++) start.data[i]! *= sd
    parameters.set(name, start)
  }
  return { spec, parameters }
}

/** The pooler that trains beside a head. */
export function headPooler({ spec: { dims, seed } }: Head, historyLength: number, { width, layers, heads }: PoolerShape): Pooler {
  return createPooler({ dims, width: width ?? dims, layers, heads, historyLength, seed })
}

/** Standard deviation of a parameter's start. */
function startOf(name: string, shape: readonly number[], { layers }: PoolerSpec): number {
  const kind = name.slice(name.indexOf('.') + 1).replace(/^\d+\./, '')
  if (kind === 'out' || kind === 'age' || kind.endsWith('.b')) return 0
  // Items have unit length, so entries of spread 1 make tokens of spread 1, which is what the summary starts with.
  if (kind === 'in' || kind === 'summary') return 1
  const kept = 1 / Math.sqrt(shape[0]!)
  return kind === 'merge' || kind === 'down' ? kept / Math.sqrt(2 * layers) : kept
}

/**
 * Pools histories. Declares the pooler's parameters, so once per graph.
 * @param items - rows of unit length, the oldest first, [B, L, dims], L known and at most `historyLength`; any finite
 * values where the mask is 0
 * @param mask - 1 where a place is filled, else 0; [B, L]
 * @throws SIDESTREAM_USAGE_INVALID when L is longer than the pooler knows
 */
export function appendPooler(graph: Graph, { spec, parameters }: Pooler, items: Value, mask: Value): PoolerOutputs {
  const [rows, length] = items.shape
  if (typeof length !== 'number' || length > spec.historyLength) {
    throw invalid(`histories of ${length} items do not fit a pooler of historyLength ${spec.historyLength}`)
  }
  const parameter = (name: string): Value => graph.parameter(name, parameters.get(name)!, { clock: 'pooler' })
  const tokens = graph.add(
    mapTokens(graph, items, parameter('pooler.in')),
    graph.gather(parameter('pooler.age'), ages(graph, mask, length)),
  )
  const first = graph.slice(tokens, 1, 0, 1)
  const summary = graph.expandLike(graph.reshape(parameter('pooler.summary'), [1, 1, spec.width]), first)
  const always = graph.less(graph.scalar(-1, mask.dtype), graph.slice(mask, 1, 0, 1))
  const keys = graph.concat([always, graph.less(graph.scalar(0, mask.dtype), mask)], 1)
  let state = graph.concat([summary, tokens], 1)
  for (let layer = 0; layer < spec.layers; layer++) {
    const layerParameter = (name: string): Value => parameter(`pooler.${layer}.${name}`)
    // Nobody reads the items behind the last layer.
    const readers = layer === spec.layers - 1 ? 1 : length + 1
    state = appendLayer(graph, { state, keys, readers, heads: spec.heads, parameter: layerParameter })
  }
  const gathered = graph.l2norm(graph.reshape(state, [rows!, spec.width]))
  const filled = graph.less(graph.scalar(0, mask.dtype), graph.reduceSum(mask, [1], { keepDims: true }))
  const change = graph.matmul(gathered, parameter('pooler.out'))
  const correction = graph.where(filled, change, graph.scalar(0, change.dtype))
  return { pooled: graph.add(meanPool(graph, items, mask), correction), correction }
}

interface LayerInputs {
  /** [B, T, width]; the summary token is the first. */
  readonly state: Value
  /** bool [B, T]: tokens that may be looked at. */
  readonly keys: Value
  /** Tokens, from the first on, that go on. */
  readonly readers: number
  readonly heads: number
  readonly parameter: (name: string) => Value
}

/** Attention and GELU network, each over normalized rows and added to what entered; [B, readers, width]. */
function appendLayer(graph: Graph, { state, keys, readers, heads, parameter }: LayerInputs): Value {
  const [rows, count, width] = state.shape as [string | number, number, number]
  const reading = (value: Value): Value => (readers === count ? value : graph.slice(value, 1, 0, readers))
  const each = width / heads
  const normed = graph.layerNorm(state)
  const byHead = (value: Value, name: string): Value => {
    const mapped = mapTokens(graph, value, parameter(name))
    return graph.transpose(graph.reshape(mapped, [rows, mapped.shape[1]!, heads, each]), [0, 2, 1, 3])
  }
  const scores = graph.matmul(byHead(reading(normed), 'query'), byHead(normed, 'key'), { transposeB: true })
  const shares = graph.softmax(graph.scale(scores, 1 / Math.sqrt(each)), -1, graph.unsqueeze(graph.unsqueeze(keys, 1), 1))
  const seen = graph.transpose(graph.matmul(shares, byHead(normed, 'value')), [0, 2, 1, 3])
  const merged = mapTokens(graph, graph.reshape(seen, [rows, readers, width]), parameter('merge'))
  const attended = graph.add(reading(state), merged)
  const raised = graph.gelu(graph.add(mapTokens(graph, graph.layerNorm(attended), parameter('up')), parameter('up.b')))
  return graph.add(attended, graph.add(mapTokens(graph, raised, parameter('down')), parameter('down.b')))
}

/**
 * x · w for every token, [B, T, in] -> [B, T, out]. As one flat product: the gradient of `w` would otherwise be one matrix per
 * row of the batch, summed afterwards.
 */
function mapTokens(graph: Graph, x: Value, w: Value): Value {
  const [rows, count, width] = x.shape as [string | number, number, number]
  return graph.reshape(graph.matmul(graph.reshape(x, ['tokens', width]), w), [rows, count, w.shape[1]!])
}

/**
 * The shape of the pooler that a saved training state holds; undefined when it holds none.
 * @param tensors - by the names of `poolerShapes`, among others
 */
export function savedPoolerShape(tensors: ReadonlyMap<string, Tensor>): { readonly width: number; readonly layers: number } | undefined {
  const width = tensors.get('pooler.in')?.dims[1]
  if (width === undefined) return undefined
  let layers = 0
  while (tensors.has(`pooler.${layers}.query`)) layers++
  return { width, layers }
}

/** How many filled places stand behind each, int64 [B, L]. */
function ages(graph: Graph, mask: Value, length: number): Value {
  const later = Array.from({ length: length * length }, (_, at) => Number(Math.floor(at / length) > at % length))
  return graph.cast(graph.matmul(mask, graph.constant(tensorOf(mask.dtype, [length, length], later))), 'int64')
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
