/** What a report of `distill` says of rows that taught nothing. */

import type { DistillReport } from '../../pipeline/index.ts'

/** One line when ID embeddings were left out, and why; none otherwise. */
export function idEmbeddingsText({ rows, late, refused, other }: DistillReport['idEmbeddings']): string[] {
  const left = [
    [late, 'later than what is trained on (their `ts`)'],
    [refused, 'refused (another dimension than their kind, not finite, or of no length)'],
    [other, 'of kinds that `training.teachers` does not name'],
  ] as const
  const told = left.filter(([count]) => count > 0).map(([count, why]) => `${count} ${why}`)
  return told.length === 0 ? [] : [`ID embeddings: of ${rows} rows, ${told.join(', ')}: left out`]
}
