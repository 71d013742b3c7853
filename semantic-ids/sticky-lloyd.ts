/**
 * Sticky assignment and refit in turns, and one last assignment.
 * Invariant: `encodeSticky` with the returned codebooks gives the returned codes.
 */

import type { Codebooks, EncodeSettings } from './codebooks.ts'
import type { CodebookWalk } from './codebook-walk.ts'
import type { Sticky } from './encode.ts'
import type { CodeSums } from './refit.ts'

/**
 * Rounds of sticky assignment and refit.
 * @param vectors - row-major float32, shape [rows, dim]
 * @param sums - over the same rows; keeps the codes of the last refit
 * @param start - codebooks of the first assignment
 * @param refit - to what all other levels leave, or to what the levels before leave
 * @returns codebooks after the last refit and the codes that they give, row-major, shape [rows, levels]
 */
export async function stickyLloyd(
  vectors: Float32Array,
  sums: CodeSums,
  start: Codebooks,
  settings: EncodeSettings,
  sticky: Sticky,
  rounds: number,
  walk: CodebookWalk,
  refit: 'joint' | 'by level',
  signal?: AbortSignal,
): Promise<{ codebooks: Codebooks; codes: Uint16Array }> {
  let codebooks = start
  for (let round = 0; round < rounds; round++) {
    signal?.throwIfAborted()
    sums.assign(await walk.run(vectors, codebooks, settings, sticky))
    codebooks = refit === 'joint' ? sums.refitJointly(codebooks) : sums.refit(codebooks)
  }
  return { codebooks, codes: await walk.run(vectors, codebooks, settings, sticky) }
}
