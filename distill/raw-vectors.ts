/** Content as it came, for comparison with what a head makes of it. */
import type { Head } from './head.ts'
import type { ContentVectors } from './statistics.ts'
import type { VectorSet } from './vector-set.ts'

/** Content vectors side by side: each modality centered on the candidate's statistics and of unit length, zero where absent. */
export function rawVectors({ statistics }: Head, contents: readonly ContentVectors[]): VectorSet {
  const dim = statistics.reduce((sum, modality) => sum + modality.dim, 0)
  const vectors = new Float32Array(contents.length * dim)
  for (const [i, content] of contents.entries()) {
    let at = i * dim
    for (const { name, dim: width, mean } of statistics) {
      const vector = content[name]
      if (vector !== undefined) {
        let squares = 0
        for (let d = 0; d < width; d++) squares += (vector[d]! - mean[d]!) ** 2
        const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0
        for (let d = 0; d < width; d++) vectors[at + d] = (vector[d]! - mean[d]!) * scale
      }
      at += width
    }
  }
  return { vectors, dim }
}
