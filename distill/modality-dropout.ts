/**
 * Leaves out modalities of the items of a training step, so that a head does not lean on one of them and serves items that lack
 * one (SAIL-Embedding drops random text fields for the same reason).
 * Invariants: an item keeps at least one of its modalities; what is left out is a function of (seed, step, place of the item in
 * the batch) and of nothing before, so a restart repeats it.
 */
import { uniform } from '../compute/index.ts'
import type { Batch } from './batches.ts'

/** Streams of the steps lie above those of every other use, which are below 2^32. */
const stepStreams = 0x6d64 * 2 ** 32

/**
 * Takes modalities out of a batch, in place: presence 0 and a vector of zeros, as where an item never had it.
 * @param batch - of the arrays `vectors`, row-major [items, dim] each, and `presence`, row-major [items, modalities]
 * @param share - chance of each modality of an item, from 0 to below 1; when all would go, the one with the largest draw stays
 * @param step - of the whole training, below 2^32
 */
export function dropModalities(
  { items, vectors, presence }: Pick<Batch, 'items' | 'vectors' | 'presence'>,
  share: number,
  { seed, step }: { readonly seed: number; readonly step: number },
): void {
  const count = vectors.length
  if (share === 0 || count < 2) return
  const draws = new Float64Array(count)
  for (let item = 0; item < items; item++) {
    const first = item * count
    for (let m = 0; m < count; m++) draws[m] = presence[first + m] === 0 ? -1 : uniform(seed, stepStreams + step, first + m)
    const kept = draws.indexOf(Math.max(...draws))
    for (let m = 0; m < count; m++) {
      if (m === kept || draws[m]! < 0 || draws[m]! >= share) continue
      presence[first + m] = 0
      const dim = vectors[m]!.length / items
      vectors[m]!.fill(0, item * dim, (item + 1) * dim)
    }
  }
}
