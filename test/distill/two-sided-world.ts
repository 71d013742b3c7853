/** Items in groups of four that belong together; image and text each show, by a map of its own, what an item is about. */
import { fillNormal, oneCycleSchedule } from '../../compute/index.ts'
import { createHead, fitStatistics, HeadEncoder, pairRow, Trainer } from '../../distill/index.ts'
import type { ContentVectors, Head, SourceOptions, TrainingRow } from '../../distill/index.ts'

const modalities = [
  { name: 'image', dim: 12 },
  { name: 'text', dim: 10 },
] as const
const [dims, about, noise, group] = [12, 6, 0.3, 4]

function normals(length: number, stream: number): Float32Array {
  const out = new Float32Array(length)
  fillNormal(out, 21, stream)
  return out
}

export function twoSidedItems(count = 240): Map<string, ContentVectors> {
  const maps = modalities.map(({ dim }, m) => normals(about * dim, 1 + m))
  const topics = normals((about * count) / group, 3)
  return new Map(
    Array.from({ length: count }, (_, i) => {
      const point = normals(about, 100 + i).map((x, k) => topics[Math.floor(i / group) * about + k]! + 0.3 * x)
      const vectors = modalities.map(({ name, dim }, m) => {
        const error = normals(dim, 10_000 + 2 * i + m)
        return [name, error.map((e, d) => noise * e + point.reduce((sum, x, k) => sum + x * maps[m]![k * dim + d]!, 0))] as const
      })
      return [`i${i}`, Object.fromEntries(vectors)] as const
    }),
  )
}

/** The item of the same group, `by` places on. */
const fellow = (i: number, by: number): number => i - (i % group) + ((i + by) % group)

/** Two pairs of each item; the third item of its group it is never paired with. */
export function twoSidedPairs(count = 240): TrainingRow[] {
  return Array.from({ length: count }, (_, i) => i).flatMap((i) =>
    [1, 2].map((by) => pairRow({ queryId: `i${i}`, targetId: `i${fellow(i, by)}` })),
  )
}

/** Trains a head without a content part on the pairs, as a source with these options. */
export async function trainTwoSided(items: ReadonlyMap<string, ContentVectors>, own: Partial<SourceOptions>): Promise<Head> {
  const statistics = fitStatistics(modalities, [...items.values()])
  const fresh = createHead({ modalities, dims, hidden: 16, prefixes: [dims], contentShare: 0, seed: 5 }, statistics)
  const sources: SourceOptions[] = [{ name: 'tags', kind: 'pairs', losses: { modality: 0, lateFusion: 0 }, ...own }]
  const trainer = await Trainer.create(fresh, { batchSize: 60, tau: 0.1, sources })
  try {
    const passes = 20
    const schedule = oneCycleSchedule({ totalSteps: passes * 8, max: 1e-2 })
    await trainer.train(twoSidedPairs(items.size), (id) => items.get(id), { schedule, passes, shuffleSeed: 5 })
    return await trainer.head()
  } finally {
    await trainer.close()
  }
}

/** Share of items whose nearest three hold the one of their group that they were never paired with; each side shows these modalities. */
export async function recallOf(
  items: ReadonlyMap<string, ContentVectors>,
  head: Head,
  shown: { readonly queries: readonly string[]; readonly targets: readonly string[] },
): Promise<number> {
  const encoder = await HeadEncoder.create(head)
  try {
    const encode = async (names: readonly string[]): Promise<Float32Array> => {
      const part = [...items.values()].map((vectors) => Object.fromEntries(names.map((name) => [name, vectors[name]!])))
      return (await encoder.encode(part)).published
    }
    const [queries, targets] = [await encode(shown.queries), await encode(shown.targets)]
    const cosine = (i: number, j: number): number => {
      let sum = 0
      for (let d = 0; d < dims; d++) sum += queries[i * dims + d]! * targets[j * dims + d]!
      return sum
    }
    const all = Array.from({ length: items.size }, (_, i) => i)
    const found = all.filter((i) => {
      const own = cosine(i, fellow(i, 3))
      return all.filter((j) => j !== i && cosine(i, j) > own).length < 3
    })
    return found.length / items.size
  } finally {
    await encoder.close()
  }
}
