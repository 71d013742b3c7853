/**
 * Contrastive losses as graph nodes, after SAIL-Embedding (arXiv 2510.12709, section 3). Rows come raw and are brought to
 * unit length here. Invariants: a masked entry takes part in neither the denominator nor a gradient; the largest logit is taken
 * out before exponentials, so a small temperature cannot overflow; a row of zeros gives cosine 0 and gets no gradient.
 */

import { tensorOf, type Graph, type Value } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

export interface TemperatureOptions {
  /** Temperature of the loss, or where a learned one starts. */
  readonly tau: number
  /** `learned`: trained with everything else, within `temperatureBounds`. */
  readonly tauMode: 'fixed' | 'learned'
}

/** Bounds of a learned temperature, kept after every step. */
export const temperatureBounds = { min: 0.01, max: 1 } as const

/**
 * ln of a source's temperature, a scalar: the parameter `logTau.<source>` when it is learned, a constant otherwise. Every source
 * has its own, so that an easy one cannot sharpen the others. A learned one is declared, so once per graph and name.
 * @throws SIDESTREAM_USAGE_INVALID when `tau` is not above 0, or learned and outside the bounds
 */
export function temperature(graph: Graph, source: string, { tau, tauMode }: TemperatureOptions): Value {
  const { min, max } = temperatureBounds
  if (!(tau > 0 && tau < Infinity) || (tauMode === 'learned' && (tau < min || tau > max))) {
    const range = tauMode === 'learned' ? `from ${min} to ${max} when it is learned` : 'a finite number above 0'
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `tau of ${source} must be ${range}, not ${tau}`, { source })
  }
  const start = Math.log(tau)
  if (tauMode === 'fixed') return graph.scalar(start)
  const bounds = { min: Math.log(min), max: Math.log(max) }
  return graph.parameter(`logTau.${source}`, tensorOf(graph.dtype, [], [start]), { decay: false, clock: source, ...bounds })
}

/** Other items a query must not be close to, chosen for it. */
export interface HardNegatives {
  /** [B, m, d] */
  readonly items: Value
  /** bool [B, m]; all count when left out. */
  readonly mask?: Value
}

export interface InfoNceInputs {
  /** [B, d] */
  readonly queries: Value
  /** Row i is the positive of query i and a possible negative of the others, [B, d]. */
  readonly targets: Value
  /** ln of the temperature, a scalar: a parameter when it is learned, a constant otherwise. */
  readonly logTau: Value
  /** bool [B, B]: which targets stand in query i's denominator; its own must. All when left out. */
  readonly allowed?: Value
  /**
   * Weight of each row, [B]; equal when left out. They are divided by their sum. A row of weight 0 asks nothing and stays a
   * negative of the others; when all are 0, the loss is 0.
   */
  readonly weights?: Value
  readonly hard?: HardNegatives
}

/** What is added to a logit that does not count: its exponential is exactly 0 beside the positive's, which always counts. */
const leftOut = -1e30

export interface LossOutputs {
  /** Weighted mean over rows, a scalar. */
  readonly loss: Value
  /** [B] */
  readonly perRow: Value
}

/**
 * InfoNCE: L = sum_i u_i (ln sum_j exp(cos(q_i, t_j) / tau) - cos(q_i, t_i) / tau), u_i = w_i / sum w, j over the positive, the
 * allowed in-batch targets and the hard negatives.
 */
export function infoNce(graph: Graph, { queries, targets, logTau, allowed, weights, hard }: InfoNceInputs): LossOutputs {
  const q = graph.l2norm(queries)
  const t = graph.l2norm(targets)
  const sharpness = graph.exp(graph.neg(logTau))
  const own = graph.mul(graph.reduceSum(graph.mul(q, t), [1], { keepDims: true }), sharpness)
  let logits = graph.mul(graph.matmul(q, t, { transposeB: true }), sharpness)
  let mask = allowed
  if (hard) {
    const count = hard.items.shape[1] as number
    const away = graph.matmul(graph.unsqueeze(q, 1), graph.l2norm(hard.items), { transposeB: true })
    const counted = graph.mul(graph.reshape(away, [queries.shape[0]!, count]), sharpness)
    const none = (like: Value): Value => graph.less(graph.zerosLike(like), graph.scalar(1, like.dtype))
    mask = allowed || hard.mask ? graph.concat([allowed ?? none(logits), hard.mask ?? none(counted)], 1) : undefined
    logits = graph.concat([logits, counted], 1)
  }
  // Added once, so that neither the sum nor its gradient looks at the mask again: a tenth of a step of 2,048 rows.
  if (mask) logits = graph.add(logits, graph.where(mask, graph.scalar(0, logits.dtype), graph.scalar(leftOut, logits.dtype)))
  const perRow = graph.reduceSum(graph.sub(graph.logSumExp(logits, 1), own), [1])
  if (weights === undefined) return { loss: graph.reduceMean(perRow), perRow }
  const total = graph.reduceSum(weights)
  const none = graph.equal(total, graph.scalar(0, total.dtype))
  const shares = graph.div(weights, graph.where(none, graph.scalar(1, total.dtype), total))
  return { loss: graph.reduceSum(graph.mul(shares, perRow)), perRow }
}

export interface MatryoshkaOptions {
  /** Prefix lengths, each trained as a vector of its own. */
  readonly prefixes: readonly number[]
  /** Weight of each prefix, one above 0; 0 leaves it out. @default 1 each */
  readonly prefixWeights?: readonly number[]
}

/** Queries, targets and hard negatives of one prefix. */
export type PrefixInputs = (prefix: number) => InfoNceInputs

/** Matryoshka loss: the sum of InfoNCE over prefixes, one shared temperature. */
export function matryoshkaNce(graph: Graph, inputs: PrefixInputs, { prefixes, prefixWeights }: MatryoshkaOptions): Value {
  const terms = prefixes.flatMap((prefix, k) => {
    const weight = prefixWeights?.[k] ?? 1
    if (weight === 0) return []
    const { loss } = infoNce(graph, inputs(prefix))
    return [weight === 1 ? loss : graph.scale(loss, weight)]
  })
  return terms.reduce((sum, term) => graph.add(sum, term))
}

/** The first `prefix` dims of rows, brought to unit length: the short view of a vector. */
export function prefixView(graph: Graph, rows: Value, prefix: number): Value {
  return graph.l2norm(rows.shape[1] === prefix ? rows : graph.slice(rows, 1, 0, prefix))
}

/**
 * A user as the masked mean of history items, not yet brought to unit length.
 * @param items - rows of unit length, [B, L, d]
 * @param mask - 1 where a place is filled, [B, L]
 * @returns [B, d]; zero for an empty history
 */
export function meanPool(graph: Graph, items: Value, mask: Value): Value {
  const one = graph.scalar(1, mask.dtype)
  const filled = graph.reduceSum(mask, [1], { keepDims: true })
  const count = graph.where(graph.less(filled, one), one, filled)
  const total = graph.reduceSum(graph.mul(items, graph.unsqueeze(mask, 2)), [1])
  return graph.div(total, count)
}
