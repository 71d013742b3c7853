/**
 * The graphs of an RQ-VAE: encoder and decoder of affine layers with ReLU between, residual codebooks in the middle.
 *
 * z = encoder(x), r_0 = z; per level c = argmin |r_{l-1} - C_l[c]|^2, v_l = C_l[c], r_l = r_{l-1} - v_l; q = sum of v_l.
 * Loss, mean over rows: |x - decoder(q~)|^2 + sum_l (|sg(r_{l-1}) - v_l|^2 + commitment |r_{l-1} - sg(v_l)|^2), sg = no gradient.
 * q~ has the value of q. `straight-through`: its gradient is handed to z as it is. `rotation`: turned and scaled by the map that takes z
 * to q (2410.06424), once from z to q, not level by level. Codebooks follow the second term, or (`ema`) the running mean of their rows.
 * Invariant: rows do not touch one another but through the mean of the loss and the codebooks.
 */

import { adamW, fillNormal, Graph, tensor, zeros, type Tensor, type Value } from '../compute/index.ts'

export interface RqVaeShape {
  readonly inputDim: number
  /** Widths between the input and the latent vector; the decoder has them in reverse. */
  readonly hidden: readonly number[]
  readonly latentDim: number
  /** Codes per level. */
  readonly sizes: readonly number[]
}

export interface RqVaeLoss {
  /** Weight of the term that holds latent vectors near their codewords; 0.25 (TIGER) or 0.5 (Meta). */
  readonly commitment: number
  readonly estimator: 'straight-through' | 'rotation'
  readonly codebooks: 'gradient' | 'ema'
  /** Share of the running mean that a batch leaves as it was, for `ema`. */
  readonly emaDecay: number
}

export interface RqVaeStep extends RqVaeLoss {
  readonly weightDecay: number
}

/** Random streams of the layers' first weights. */
const weightStream = 0x7261
/** Running counts at or below this are no counts. */
const leastCount = 1e-12

export const codebookName = (level: number): string => `codebook/${level}`
/** [K, latentDim + 1]: running sums of a code's rows, and their running count. */
export const meanName = (level: number): string => `mean/${level}`

/** Widths of encoder and decoder. */
function widthsOf({ inputDim, hidden, latentDim }: RqVaeShape, part: 'encoder' | 'decoder'): number[] {
  const widths = [inputDim, ...hidden, latentDim]
  return part === 'encoder' ? widths : widths.reverse()
}

/**
 * First weights: normal with variance 2 / inputs, biases 0. Codebooks are zeros, to be replaced.
 * @returns tensors by state name: weights [in, out], biases [out], codebooks [K, latentDim], of `ema` also running means
 */
export function initialParameters(
  shape: RqVaeShape,
  seed: number,
  { codebooks }: Pick<RqVaeLoss, 'codebooks'>,
): Record<string, Tensor<'float32'>> {
  const parameters: Record<string, Tensor<'float32'>> = {}
  for (const [index, part] of (['encoder', 'decoder'] as const).entries()) {
    const widths = widthsOf(shape, part)
    for (let layer = 0; layer + 1 < widths.length; layer++) {
      const [from, to] = [widths[layer]!, widths[layer + 1]!]
      const weights = new Float32Array(from * to)
      fillNormal(weights, seed, weightStream + index * 256 + layer)
      for (let at = 0; at < weights.length; at++) weights[at] = weights[at]! * Math.sqrt(2 / from)
      parameters[`${part}/${layer}/weights`] = tensor('float32', [from, to], weights)
      parameters[`${part}/${layer}/bias`] = zeros('float32', [to])
    }
  }
  for (const [level, size] of shape.sizes.entries()) {
    parameters[codebookName(level)] = zeros('float32', [size, shape.latentDim])
    if (codebooks === 'ema') parameters[meanName(level)] = zeros('float32', [size, shape.latentDim + 1])
  }
  return parameters
}

/** Encoder or decoder over parameters of the graph. @param x - [n, first width] */
export function appendLayers(
  graph: Graph,
  x: Value,
  shape: RqVaeShape,
  part: 'encoder' | 'decoder',
  initial: Readonly<Record<string, Tensor>>,
): Value {
  const layers = widthsOf(shape, part).length - 1
  let y = x
  for (let layer = 0; layer < layers; layer++) {
    const weights = graph.parameter(`${part}/${layer}/weights`, initial[`${part}/${layer}/weights`]!)
    y = graph.linear(y, weights, graph.parameter(`${part}/${layer}/bias`, initial[`${part}/${layer}/bias`]!))
    if (layer + 1 < layers) y = graph.relu(y)
  }
  return y
}

export interface RqVaeValues {
  /** Scalars, means over rows; `quantization` is sum_l |r_{l-1} - v_l|^2. */
  readonly loss: Value
  readonly reconstruction: Value
  readonly quantization: Value
  /** Per level, int64 [n]. */
  readonly codes: readonly Value[]
  /** Per level: what is quantized there, [n, latentDim], without gradient. */
  readonly residuals: readonly Value[]
  readonly codebooks: readonly Value[]
}

/** The loss of a batch. @param x - [n, inputDim] */
export function appendLoss(
  graph: Graph,
  x: Value,
  shape: RqVaeShape,
  initial: Readonly<Record<string, Tensor>>,
  { commitment, estimator, codebooks: follow }: RqVaeLoss,
): RqVaeValues {
  const z = appendLayers(graph, x, shape, 'encoder', initial)
  const codebooks = shape.sizes.map((_, level) => {
    const [name, first] = [codebookName(level), initial[codebookName(level)]!]
    return follow === 'ema' ? graph.state(name, first) : graph.parameter(name, first, { decay: false })
  })
  const codes: Value[] = []
  const residuals: Value[] = []
  const losses: Value[] = []
  let residual = z
  let quantized: Value | undefined
  let quantization: Value | undefined
  for (const codebook of codebooks) {
    const given = graph.stopGradient(residual)
    const code = nearest(graph, given, graph.stopGradient(codebook))
    const word = graph.gather(codebook, code)
    const fixedWord = graph.stopGradient(word)
    codes.push(code)
    residuals.push(given)
    if (follow === 'gradient') losses.push(squaredNorms(graph, graph.sub(given, word)))
    residual = graph.sub(residual, fixedWord)
    const left = squaredNorms(graph, residual)
    if (commitment > 0) losses.push(graph.scale(left, commitment))
    quantization = quantization === undefined ? left : graph.add(quantization, left)
    quantized = quantized === undefined ? fixedWord : graph.add(quantized, fixedWord)
  }
  const passed = estimator === 'rotation' ? rotated(graph, z, quantized!) : graph.add(z, graph.stopGradient(graph.sub(quantized!, z)))
  const decoded = appendLayers(graph, passed, shape, 'decoder', initial)
  const reconstruction = squaredNorms(graph, graph.sub(decoded, x))
  const loss = losses.reduce((sum, term) => graph.add(sum, term), reconstruction)
  return { loss, reconstruction, quantization: quantization!, codes, residuals, codebooks }
}

/** Lowest index of the nearest codeword of every row, int64 [n]. */
function nearest(graph: Graph, rows: Value, codebook: Value): Value {
  const half = graph.scale(graph.reduceSum(graph.mul(codebook, codebook), [1]), 0.5)
  return graph.argMax(graph.sub(graph.matmul(rows, codebook, { transposeB: true }), half))
}

/** Mean over rows of squared lengths. */
function squaredNorms(graph: Graph, rows: Value): Value {
  return graph.reduceMean(graph.reduceSum(graph.mul(rows, rows), [1]))
}

/** q as z rotated and scaled; the map is fixed, so the gradient is turned back by it. A z of length 0 stays 0. */
function rotated(graph: Graph, z: Value, q: Value): Value {
  const fixed = graph.stopGradient(z)
  const lengthOf = (x: Value): Value => graph.sqrt(graph.reduceSum(graph.mul(x, x), [1], { keepDims: true }))
  const from = graph.l2norm(fixed)
  const to = graph.stopGradient(graph.l2norm(q))
  const middle = graph.l2norm(graph.add(from, to))
  const dot = (a: Value, b: Value): Value => graph.reduceSum(graph.mul(a, b), [1], { keepDims: true })
  const mirrored = graph.scale(graph.mul(dot(z, middle), middle), 2)
  const turned = graph.add(graph.sub(z, mirrored), graph.scale(graph.mul(dot(z, from), to), 2))
  const ratio = graph.div(lengthOf(q), graph.add(lengthOf(fixed), graph.scalar(1e-12, z.dtype)))
  return graph.mul(turned, graph.stopGradient(ratio))
}

/** Moves the running means of every level and their codebooks with them. */
function followMeans(
  graph: Graph,
  { codes, residuals, codebooks }: RqVaeValues,
  initial: Readonly<Record<string, Tensor>>,
  decay: number,
): void {
  for (const [level, codebook] of codebooks.entries()) {
    const mean = graph.state(meanName(level), initial[meanName(level)]!)
    const width = mean.shape[1] as number
    const rows = residuals[level]!
    const counted = graph.node('Pad', [rows, graph.ints([0, 0, 0, 1]), graph.scalar(1)], {
      dtype: rows.dtype,
      shape: [rows.shape[0]!, width],
    })
    const next = graph.add(graph.scale(mean, decay), graph.scale(graph.scatterAdd(counted, codes[level]!, mean), 1 - decay))
    const count = graph.slice(next, 1, width - 1, width)
    const sums = graph.slice(next, 1, 0, width - 1)
    const used = graph.less(graph.scalar(leastCount), count)
    const divisor = graph.where(used, count, graph.expandLike(graph.scalar(1), count))
    graph.update(mean, next)
    graph.update(codebook, graph.where(used, graph.div(sums, divisor), codebook))
  }
}

/** A training step: input `x` [batch, inputDim] and `rate`; outputs the three scalars and `codes`, int32 [batch, levels]. */
export function stepGraph(shape: RqVaeShape, initial: Readonly<Record<string, Tensor>>, options: RqVaeStep): Graph {
  const graph = new Graph({ name: 'rq-vae-step' })
  const x = graph.input('x', 'float32', ['batch', shape.inputDim])
  const values = appendLoss(graph, x, shape, initial, options)
  adamW(graph, values.loss, graph.input('rate', 'float32', []), { weightDecay: options.weightDecay, clipNorm: 0 })
  if (options.codebooks === 'ema') followMeans(graph, values, initial, options.emaDecay)
  for (const name of ['loss', 'reconstruction', 'quantization'] as const) graph.output(name, values[name])
  graph.output(
    'codes',
    graph.concat(
      values.codes.map((code) => graph.unsqueeze(graph.cast(code, 'int32'), 1)),
      1,
    ),
  )
  return graph
}

/** `x` [rows, first width] to `y` [rows, last width] through one part, over the state of a step's session. */
export function layersGraph(shape: RqVaeShape, part: 'encoder' | 'decoder', initial: Readonly<Record<string, Tensor>>): Graph {
  const graph = new Graph({ name: `rq-vae-${part}` })
  const x = graph.input('x', 'float32', ['rows', widthsOf(shape, part)[0]!])
  graph.output('y', appendLayers(graph, x, shape, part, initial))
  return graph
}
