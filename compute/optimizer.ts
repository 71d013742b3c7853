/**
 * AdamW and clipping as nodes of the training graph; nothing of a step runs outside of it.
 * Invariant: the optimizer's memory is states of the graph, so saving the states saves all of it.
 */

import { gradients } from './gradients.ts'
import type { Graph } from './graph.ts'
import type { Value } from './op.ts'
import { graphError } from './shapes.ts'
import { tensorOf, zeros } from './tensor.ts'

export interface AdamWOptions {
  /** @default 0.9 */
  readonly beta1?: number
  /** @default 0.999 */
  readonly beta2?: number
  /** @default 1e-8 */
  readonly epsilon?: number
  /** Share of lr by which parameters with `decay` shrink per step, before Adam's own step. @default 1e-4 */
  readonly weightDecay?: number
  /** Largest length of all gradients together; longer ones are scaled down. 0: never. @default 1 */
  readonly clipNorm?: number
}

export const adamWDefaults: Readonly<Required<AdamWOptions>> = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-4, clipNorm: 1 }

/** Names of the optimizer's own states begin with this. */
export const optimizerPrefix = 'optimizer/'

/**
 * Adds one AdamW step of every parameter of the graph: gradients of `loss`, clipping by the global norm, update.
 * @param learningRate - a scalar, usually an input
 * @returns the length of all gradients together before clipping, a scalar worth logging
 */
export function adamW(graph: Graph, loss: Value, learningRate: Value, options: AdamWOptions = {}): Value {
  const parameters = [...graph.states.values()].filter(({ trainable }) => trainable).map(({ value }) => value)
  if (parameters.length === 0) throw graphError('the graph has no parameter to train')
  const clipNorm = options.clipNorm ?? adamWDefaults.clipNorm
  const raw = gradients(graph, loss, parameters)
  const norm = globalNorm(graph, raw)
  adamWUpdate(graph, parameters, clipNorm > 0 ? clipByNorm(graph, raw, norm, clipNorm) : raw, learningRate, options)
  return norm
}

/** sqrt of the sum of all squares, a scalar. */
export function globalNorm(graph: Graph, values: readonly Value[]): Value {
  return graph.sqrt(values.map((value) => graph.reduceSum(graph.mul(value, value))).reduce((sum, square) => graph.add(sum, square)))
}

/** Every value times min(1, maxNorm / norm). */
export function clipByNorm(graph: Graph, values: readonly Value[], norm: Value, maxNorm: number): Value[] {
  const limit = graph.scalar(maxNorm, norm.dtype)
  const factor = graph.where(graph.less(limit, norm), graph.div(limit, norm), graph.scalar(1, norm.dtype))
  return values.map((value) => graph.mul(value, factor))
}

/**
 * p ← p - lr wd p (decayed parameters), then p ← p - lr m̂ / (sqrt(v̂) + ε) with m̂ = m / (1 - β1^t), v̂ = v / (1 - β2^t).
 * The step count and both corrections are float64: 1 - β2^t loses its digits in float32.
 */
export function adamWUpdate(
  graph: Graph,
  parameters: readonly Value[],
  grads: readonly Value[],
  learningRate: Value,
  options: AdamWOptions = {},
): void {
  const { beta1, beta2, epsilon, weightDecay } = { ...adamWDefaults, ...options }
  const clocks = new Map<string, Value>()
  const stepOf = (clock: string): Value => {
    let step = clocks.get(clock)
    if (step === undefined) {
      const steps = graph.state(`${optimizerPrefix}${clock}`, tensorOf('float64', [], [0]))
      clocks.set(clock, (step = graph.add(steps, graph.scalar(1, 'float64'))))
      graph.update(steps, step)
    }
    return step
  }
  const correction = (beta: number, dtype: Value['dtype'], step: Value): Value => {
    const power = graph.node('Pow', [graph.scalar(beta, 'float64'), step], step, {}, 'pow')
    return graph.cast(graph.sub(graph.scalar(1, 'float64'), power), dtype)
  }
  const corrections = new Map<string, readonly [Value, Value]>()
  parameters.forEach((parameter, i) => {
    const { name, dtype } = parameter
    const { initial, options: own } = graph.states.get(name)!
    const clock = own.clock === undefined ? 'steps' : `steps/${own.clock}`
    const key = `${clock} ${dtype}`
    if (!corrections.has(key)) {
      const step = stepOf(clock)
      corrections.set(key, [correction(beta1, dtype, step), correction(beta2, dtype, step)])
    }
    const [first, second] = corrections.get(key)!
    const m = graph.state(`${optimizerPrefix}m/${name}`, zeros(dtype, initial.dims))
    const v = graph.state(`${optimizerPrefix}v/${name}`, zeros(dtype, initial.dims))
    const nextM = graph.add(graph.scale(m, beta1), graph.scale(grads[i]!, 1 - beta1))
    const nextV = graph.add(graph.scale(v, beta2), graph.scale(graph.mul(grads[i]!, grads[i]!), 1 - beta2))
    graph.update(m, nextM)
    graph.update(v, nextV)
    const rate = graph.cast(learningRate, dtype)
    const decays = weightDecay > 0 && (own.decay ?? initial.dims.length >= 2)
    const shrunk = decays ? graph.mul(parameter, graph.sub(graph.scalar(1, dtype), graph.scale(rate, weightDecay))) : parameter
    const direction = graph.div(graph.div(nextM, first), graph.add(graph.sqrt(graph.div(nextV, second)), graph.scalar(epsilon, dtype)))
    const moved = graph.sub(shrunk, graph.mul(direction, rate))
    const bounded = own.min !== undefined || own.max !== undefined
    graph.update(parameter, bounded ? graph.clip(moved, own.min ?? -Infinity, own.max ?? Infinity) : moved)
  })
}
