/** A small seeded world of items with two modalities, some of them missing, and training rows on it. */
import { uniform } from '../../compute/index.ts'
import { createHead, fitStatistics, type ContentVectors, type Head, type HeadOptions, type TrainingRow } from '../../distill/index.ts'

export const modalities = [
  { name: 'image', dim: 6 },
  { name: 'text', dim: 5 },
] as const

/** Items `i0 …`: item 1 has text only, item 2 an image only. */
export function worldItems(count: number, seed = 1): Map<string, ContentVectors> {
  const items = new Map<string, ContentVectors>()
  for (let i = 0; i < count; i++) {
    const vectors: Record<string, Float32Array> = {}
    for (const [m, { name, dim }] of modalities.entries()) {
      if ((i === 1 && m === 0) || (i === 2 && m === 1)) continue
      vectors[name] = Float32Array.from({ length: dim }, (_, k) => 3 + (uniform(seed, m, i * dim + k) * 2 - 1) / (1 + k))
    }
    items.set(`i${i}`, vectors)
  }
  return items
}

export function worldHead(items: ReadonlyMap<string, ContentVectors>, options: Partial<HeadOptions> = {}): Head {
  const used = options.modalities ?? modalities
  return createHead(
    { modalities: used, dims: 8, hidden: 7, prefixes: [4, 8], seed: 3, ...options },
    fitStatistics(used, [...items.values()]),
  )
}

/** Rows of a few users; users repeat, items repeat within and across rows. */
export function worldRows(count: number, items: number, seed = 2): TrainingRow[] {
  return Array.from({ length: count }, (_, r) => {
    const pick = (k: number): string => `i${Math.floor(uniform(seed, r, k) * items)}`
    const targetId = pick(0)
    const history = Array.from({ length: 1 + Math.floor(uniform(seed, r, 1) * 5) }, (_place, k) => pick(2 + k)).filter(
      (id) => id !== targetId,
    )
    return { userId: `u${r % (count - 2)}`, targetId, history: history.length > 0 ? history : [targetId === 'i0' ? 'i3' : 'i0'] }
  })
}
