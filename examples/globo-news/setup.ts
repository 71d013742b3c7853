/** The reach arm's training with every part open: what `distillOffline` does with its defaults, to the bit. */
import { fitStatistics, offlineDefaults, sampleKey, trainerDefaults } from '../../distill/index.ts'
import type { TrainingSetup } from '../training.ts'
import { trainingSamples } from './protocol.ts'
import type { Globo } from './protocol.ts'

export function globoSetup(globo: Globo): TrainingSetup {
  const { itemIds, vectors, dim, warm } = globo
  const content = new Map(itemIds.map((id, i) => [id, { text: vectors.subarray(i * dim, (i + 1) * dim) }]))
  const keyed = new Map(trainingSamples(globo).map((sample) => [sampleKey(sample), sample]))
  const rows = [...keyed].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sample]) => sample)
  const warmIds = itemIds.filter((_, i) => warm[i] === 1).sort()
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
