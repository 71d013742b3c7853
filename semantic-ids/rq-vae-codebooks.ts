/**
 * Codebooks of an RQ-VAE between its steps: codes that nothing takes are given rows again.
 * Invariant: float64 in fixed order; all other codewords stay as they are.
 */

import { Clusters } from '../compute/index.ts'
import { codebooksOf, type Codebooks } from './codebooks.ts'
import { subtractCodewords, type ResidualRule } from './residual-rule.ts'

/** How often a level is looked at: a code that got a row may lose it to another one. */
const mostRounds = 5
/** Squared distance, as a share of the mean squared norm, at which a row counts as standing on its codeword. */
const standsOn = 1e-14

export interface Revived {
  readonly codebooks: Codebooks
  /** Per level: codes that got another codeword, ascending. */
  readonly revived: readonly (readonly number[])[]
  /** Per level: rows of each code. */
  readonly counts: readonly Int32Array[]
  /** Row-major, shape [rows, levels]. */
  readonly codes: Uint16Array
}

/**
 * Every code without rows takes the row farthest from the codeword of the code with most rows.
 * @param latents - row-major float32, shape [rows, codebooks.dim]
 */
export async function reviveCodes(latents: Float32Array, { dim, sizes, levels }: Codebooks, rule: ResidualRule): Promise<Revived> {
  const residual = latents.slice()
  const rows = residual.length / dim
  const least = (standsOn * latents.reduce((sum, value) => sum + value * value, 0)) / Math.max(1, rows)
  const words: Float32Array[] = []
  const revived: number[][] = []
  const counts: Int32Array[] = []
  const all = new Uint16Array(rows * sizes.length)
  for (const level of sizes.keys()) {
    const clusters = new Clusters(residual, dim, levels[level]!.slice())
    const given = new Set<number>()
    const assign = async (): Promise<void> =>
      void clusters.assign(await rule.codesOf(residual, { codebook: clusters.centroids, penalties: undefined }))
    await assign()
    for (let round = 0; round < mostRounds && clusters.counts.includes(0); round++) {
      const codes = clusters.reviveDead(least)
      if (codes.length === 0) break
      for (const code of codes) {
        given.add(code)
        moveToMean(clusters, code)
      }
      await assign()
    }
    for (let row = 0; row < rows; row++) all[row * sizes.length + level] = clusters.codes[row]!
    subtractCodewords(residual, dim, clusters.centroids, new Uint16Array(clusters.codes))
    words.push(clusters.centroids)
    revived.push([...given].sort((a, b) => a - b))
    counts.push(clusters.counts)
  }
  return { codebooks: codebooksOf(dim, words), revived, counts, codes: all }
}

function moveToMean({ centroids, sums, counts, dim }: Clusters, code: number): void {
  for (let at = code * dim; at < (code + 1) * dim; at++) centroids[at] = sums[at]! / counts[code]!
}
