/** The arms of `eval.ts`: what is compared on the globo-news test day. */
import { distillOffline, halfWhiten, HeadEncoder, modalityStatistics } from '../../distill/index.ts'
import type { ContentRecord } from '../../distill/index.ts'
import type { Interaction } from '../../schemas/index.ts'
import { centered, cutTs, reference } from './protocol.ts'
import type { Arm, Globo } from './protocol.ts'

const raw: Arm = {
  name: 'raw, not centered',
  reference: reference.raw,
  seeds: [0],
  vectors: ({ vectors, dim }) => ({ vectors, dim }),
}

const baseline: Arm = {
  name: 'raw, centered on warm articles (baseline)',
  reference: reference.centered,
  seeds: [0],
  vectors: (globo) => ({ vectors: centered(globo), dim: globo.dim }),
}

const halfWhitened: Arm = {
  name: 'raw, half-whitened on warm articles',
  reference: reference.halfWhitened,
  seeds: [0],
  vectors: ({ vectors, dim, warm }) => {
    const isWarm = vectors.filter((_, at) => warm[Math.floor(at / dim)] === 1)
    return { vectors: halfWhiten(modalityStatistics({ name: 'text', dim }, isWarm), vectors), dim }
  },
}

/** The product's own defaults, with all content dims kept: 128 distilled + 250. */
const reach: Arm = {
  name: 'distilled (tau .2) beside the content part, 1:1 (reach)',
  reference: reference.reach,
  seeds: [0, 1, 2],
  vectors: async (globo, seed) => {
    const { checkpoint } = await distillOffline({
      interactions: [clicksBeforeCut(globo)],
      content: [contentOf(globo)],
      options: {
        head: { modalities: [{ name: 'text', dim: globo.dim }], contentDims: globo.dim, seed },
        samples: { positiveBehaviors: new Set(['click']) },
        seed,
      },
      onProgress: (progress) => {
        if (progress.phase !== 'train' || progress.done % 100 !== 0) return
        console.error(`seed ${seed}: step ${progress.done} of ${progress.total}, loss ${progress.loss.toFixed(3)}`)
      },
    })
    const encoder = await HeadEncoder.create(checkpoint.head)
    try {
      const { published } = await encoder.encode(contentOf(globo).map(({ content }) => content!.vectors))
      return { vectors: published, dim: encoder.dim }
    } finally {
      await encoder.close()
    }
  },
}

function clicksBeforeCut({ clicks: { times, users, items }, userIds, itemIds }: Globo): Interaction[] {
  const clicks: Interaction[] = []
  for (let i = 0; i < times.length && times[i]! < cutTs; i++) {
    const itemId = itemIds[items[i]!]
    if (itemId !== undefined) clicks.push({ userId: userIds[users[i]!]!, itemId, eventTs: times[i]!, behaviors: ['click'] })
  }
  return clicks
}

function contentOf({ itemIds, vectors, dim }: Globo): ContentRecord[] {
  return itemIds.map((itemId, i) => ({
    itemId,
    content: { itemId, eventTs: 0, vectors: { text: vectors.subarray(i * dim, (i + 1) * dim) } },
  }))
}

export const arms: readonly Arm[] = [raw, baseline, halfWhitened, reach]
