/**
 * Losses of item pairs beside InfoNCE, as graph nodes, after SAIL-Embedding (arXiv 2510.12709, section 3): CoSENT for graded
 * pairs, InfoNCE inside each modality, and the weighted total. Invariants as in `losses.ts`; a term without anything to compare
 * is 0 and passes no gradient, so every step of every source is finite.
 */

import { tensorOf, type Graph, type Value } from '../compute/index.ts'
import { infoNce } from './losses.ts'

export interface CosentInputs {
  /** [B, d] */
  readonly queries: Value
  /** Row i is the other item of pair i, [B, d]. */
  readonly targets: Value
  /** How well each pair belongs together, [B]; only the order counts. Equal labels are not compared. */
  readonly labels: Value
  /** ln of the temperature, a scalar. */
  readonly logTau: Value
  /** bool [B]: the pairs that have a label. All when left out. */
  readonly mask?: Value
}

export interface CosentOutputs {
  /** A scalar; 0 when no two labels differ. */
  readonly loss: Value
  /** Cosine of each pair, [B]. */
  readonly cosines: Value
}

/**
 * CoSENT: L = ln(1 + sum over (i, k) with label_i > label_k of exp((c_k - c_i) / tau)), c the cosine of a pair. It asks that a
 * better pair is closer, not how close. All B² differences stand in memory, which suits a batch.
 */
export function cosent(graph: Graph, { queries, targets, labels, logTau, mask }: CosentInputs): CosentOutputs {
  const cosines = graph.reduceSum(graph.mul(graph.l2norm(queries), graph.l2norm(targets)), [1])
  const better = (values: Value): Value => graph.unsqueeze(values, 1)
  const worse = (values: Value): Value => graph.unsqueeze(values, 0)
  let compared = graph.less(worse(labels), better(labels))
  if (mask) compared = graph.and(compared, graph.and(better(mask), worse(mask)))
  const excess = graph.mul(graph.sub(worse(cosines), better(cosines)), graph.exp(graph.neg(logTau)))
  // The 1 of the formula is one more entry, exp(0), which always counts: the sum is never empty.
  const one = graph.constant(tensorOf(excess.dtype, [1], [0]))
  const always = graph.constant(tensorOf('bool', [1], [1]))
  const entries = graph.concat([graph.reshape(excess, ['differences']), one], 0)
  const counted = graph.concat([graph.reshape(compared, ['differences']), always], 0)
  return { loss: graph.squeeze(graph.logSumExp(entries, 0, counted), 0), cosines }
}

/** One modality of the rows of a batch, or one of the query against another of the target. */
export interface ModalityInputs {
  /** The query's vectors in its modality, [B, d of the modality]; any finite values where absent. */
  readonly queries: Value
  /** The target's in its own, of as many dims. */
  readonly targets: Value
  /** 1 where the query has the modality, else 0; [B]. */
  readonly queryPresence: Value
  /** 1 where the target has it, else 0; [B]. */
  readonly targetPresence: Value
  /** ln of the temperature, a scalar. */
  readonly logTau: Value
}

export interface ModalityNceOptions {
  /** bool [B, B] as in `infoNce`, for every modality. */
  readonly allowed?: Value
  /** Weight of each row, [B], for every modality; equal when left out. */
  readonly weights?: Value
}

/**
 * Multimodal in-modality contrast (SAIL's mICL): for each modality InfoNCE between the two items of a row, so that a modality
 * stays good on its own and cannot hide behind the fused vector. A row that lacks the modality on either side is neither query
 * nor negative in that term; a term left without rows is 0. The same holds for patterns of two modalities.
 * @param modalities - any number; none gives 0
 * @returns the sum of the terms, and each term, all scalars
 */
export function modalityNce(
  graph: Graph,
  modalities: readonly ModalityInputs[],
  { allowed, weights }: ModalityNceOptions = {},
): { readonly loss: Value; readonly terms: readonly Value[] } {
  const terms = modalities.map(({ queries, targets, queryPresence, targetPresence, logTau }) => {
    const both = graph.mul(queryPresence, targetPresence)
    const has = graph.less(graph.scalar(0, both.dtype), both)
    // A row that asks nothing may see every target: its own must stay, and its weight is 0.
    const seen = graph.or(graph.unsqueeze(has, 0), graph.unsqueeze(graph.not(has), 1))
    return infoNce(graph, {
      queries,
      targets,
      logTau,
      allowed: allowed ? graph.and(allowed, seen) : seen,
      weights: weights ? graph.mul(weights, both) : both,
    }).loss
  })
  return { loss: terms.length === 0 ? graph.scalar(0) : terms.reduce((sum, term) => graph.add(sum, term)), terms }
}

/** The losses of a step, each a scalar. What a source cannot give is left out and counts 0. */
export interface LossTerms {
  /** InfoNCE of the fused vectors at every Matryoshka prefix (`matryoshkaNce`). */
  readonly nce: Value
  /** Only of sources with scores (`cosent`). */
  readonly cosent?: Value
  /** InfoNCE inside each modality (`modalityNce`). */
  readonly modality?: Value
  /**
   * Late fusion: InfoNCE (`infoNce`) of vectors fused by the gate. Our head has no other fusion: what it publishes as its
   * distilled part is the gate's output. So this is InfoNCE of the un-truncated distilled part, beside the prefixes of `nce`.
   */
  readonly lateFusion?: Value
  /** InfoNCE of the source's patterns, a modality of the query against another of the target (`modalityNce`). */
  readonly patterns?: Value
}

/** What each term counts beside `nce`, which counts 1. The paper does not print its weights; these are ours. */
export interface LossWeights {
  /**
   * SAIL's lambda. Higher: scores order pairs better, at the cost of retrieval.
   * @default 0.5
   */
  readonly cosent: number
  /**
   * SAIL's alpha. Higher: items that lack a modality are placed better.
   * @default 0.2
   */
  readonly modality: number
  /**
   * SAIL's beta. Higher: the full vector gains on its prefixes.
   * @default 0.2
   */
  readonly lateFusion: number
  /**
   * Of a source with patterns. Higher: one modality finds another, and the fused vector, better.
   * @default 0.2
   */
  readonly patterns: number
}

export const lossWeightDefaults: LossWeights = { cosent: 0.5, modality: 0.2, lateFusion: 0.2, patterns: 0.2 }

/** L = nce + lambda cosent + alpha modality + beta lateFusion + the weighted patterns. A weight of 0 takes its term out of the step. */
export function totalLoss(graph: Graph, terms: LossTerms, weights: Partial<LossWeights> = {}): Value {
  const all = { ...lossWeightDefaults, ...weights }
  return (['cosent', 'modality', 'lateFusion', 'patterns'] as const).reduce((sum, name) => {
    const term = terms[name]
    return term === undefined || all[name] === 0 ? sum : graph.add(sum, graph.scale(term, all[name]))
  }, terms.nce)
}
