/**
 * Sticky assignment and refit in turns, and one last assignment.
 * Invariant: `encodeSticky` with the returned codebooks gives the returned codes.
 */

import type { Codebooks, EncodeSettings } from './codebooks.ts'
import type { CodebookWalk } from './codebook-walk.ts'
import type { Sticky } from './encode.ts'
import { refit } from './refit.ts'

/** Vectors in both forms. */
export interface StickyItems {
  /** As published, row-major float32, shape [rows, dim]. */
  readonly vectors: Float32Array
  /** As the quantizer sees them (`preparedFloat32`), same shape. */
  readonly x: Float32Array
}

/**
 * Rounds of sticky assignment and refit.
 * @param start - codebooks of the first assignment
 * @returns codebooks after the last refit and the codes that they give, row-major, shape [rows, levels]
 */
export async function stickyLloyd(
  { vectors, x }: StickyItems,
  start: Codebooks,
  settings: EncodeSettings,
  sticky: Sticky,
  rounds: number,
  walk: CodebookWalk,
  signal?: AbortSignal,
): Promise<{ codebooks: Codebooks; codes: Uint16Array }> {
  let codebooks = start
  for (let round = 0; round < rounds; round++) {
    signal?.throwIfAborted()
    codebooks = refit(x, await walk.run(vectors, codebooks, settings, sticky), codebooks)
  }
  return { codebooks, codes: await walk.run(vectors, codebooks, settings, sticky) }
}
