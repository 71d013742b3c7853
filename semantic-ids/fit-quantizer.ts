/**
 * Fits a quantizer of either kind: residual k-means, or an RQ-VAE.
 * Invariant: the result is all that an encode needs beside the parent's codes, whatever made it.
 */

import type { Quantizer } from './codebooks.ts'
import { fitWithCrew } from './fit.ts'
import type { FitOptions } from './fit-options.ts'
import { fitRqVae, type RqVaeOptions } from './rq-vae.ts'
import { Crew } from './walk-pool.ts'

/** How codebooks are fitted, whole: nothing is resumed. */
export type QuantizerOptions =
  | ({ readonly method?: 'rq-kmeans' } & Omit<FitOptions, 'resume'>)
  | ({ readonly method: 'rq-vae' } & Omit<RqVaeOptions, 'resume'>)

export interface FittedQuantizer extends Quantizer {
  /** Fraction of variance unexplained: what the codebooks leave of the rows fitted on, or what a decoder does not give back. */
  readonly fvu: number
  /** Plain JSON for the manifest (`BundleOrigin.training`). */
  readonly training: Readonly<Record<string, unknown>>
}

/**
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @throws as `fitCodebooks` and `fitRqVae`
 */
export async function fitQuantizer(
  vectors: Float32Array,
  ids: readonly string[],
  dim: number,
  options: QuantizerOptions,
): Promise<FittedQuantizer> {
  if (options.method === 'rq-vae') {
    const { method: _, ...given } = options
    const { network, codebooks, settings, fvu, training } = await fitRqVae(vectors, ids, dim, given)
    return { network, codebooks, settings, fvu, training }
  }
  const { method: _, ...given } = options
  const crew = new Crew(given.threads ?? 1)
  try {
    return await fitWithCrew(vectors, ids, dim, given, crew)
  } finally {
    await crew.close()
  }
}
