/** The reach arm's training with every part open: what `distillOffline` does with its defaults, to the bit. */
import { fitStatistics, offlineDefaults, sampleKey, trainerDefaults } from '../../distill/index.ts'
import type { TrainingSetup } from '../training.ts'
import { cutTs, trainingSamples } from './protocol.ts'
import type { Globo } from './protocol.ts'

/** @param window - clicks to train on instead of all before the cut */
export function globoSetup(globo: Globo, window?: { readonly from: number; readonly until: number }): TrainingSetup {
  const { itemIds, vectors, dim, since } = globo
  const until = window?.until ?? cutTs
  const content = new Map(itemIds.map((id, i) => [id, { text: vectors.subarray(i * dim, (i + 1) * dim) }]))
  const keyed = new Map(trainingSamples(globo, window?.from, until).map((sample) => [sampleKey(sample), sample]))
  const rows = [...keyed].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sample]) => sample)
  const warmIds = itemIds.filter((_, i) => since[i]! < until).sort()
  const modalities = [{ name: 'text', dim }]
  return {
    head: { modalities, contentDims: dim },
    statistics: fitStatistics(
      modalities,
      warmIds.map((id) => content.get(id)!),
    ),
    content,
    trainer: trainerDefaults,
    passes: offlineDefaults.passes,
    learningRate: offlineDefaults.learningRate,
    rows: () => rows,
  }
}
