/** The evaluations' training: the product's when nothing is changed, and something else for every row of the ablation table. */
import { deepStrictEqual, notDeepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { uniform, uniformInt } from '../../compute/index.ts'
import { commonAblations, contentPart, fusionAblations, runAblations } from '../../examples/ablations.ts'
import { trainVectors, type TrainingSetup } from '../../examples/training.ts'
import { distillOffline, fitStatistics, HeadEncoder, SampleBuilder, sampleKey } from '../../distill/index.ts'
import type { Interaction } from '../../schemas/index.ts'
import { modalities, worldItems } from '../distill/head-world.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const content = worldItems(30)
const interactions: Interaction[] = Array.from({ length: 300 }, (_, i) => ({
  userId: `u${uniformInt(5, 0, i, 20)}`,
  itemId: `i${Math.floor(30 * uniform(5, 1, i) ** 2)}`,
  eventTs: 1000 + i,
  behaviors: ['click'],
}))
const head = { modalities, dims: 8, hidden: 7, prefixes: [4, 8] }
const trainer = { batchSize: 64, tau: 0.2 }

const builder = new SampleBuilder({ positiveBehaviors: new Set(['click']) })
const samples = interactions.flatMap((interaction) => builder.add(interaction) ?? [])
const rows = [...new Map(samples.map((sample) => [sampleKey(sample), sample]))].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
const warm = [...new Set(interactions.map(({ itemId }) => itemId))].sort()
const setup: TrainingSetup = {
  head,
  statistics: fitStatistics(
    modalities,
    warm.map((id) => content.get(id)!),
  ),
  content,
  trainer,
  passes: 2,
  learningRate: 1e-2,
  rows: () => rows,
}

test('a setup as it stands is distillOffline, to the bit', async () => {
  const { checkpoint } = await distillOffline({
    interactions: [interactions],
    content: [[...content].map(([itemId, vectors]) => ({ itemId, content: { itemId, eventTs: 0, vectors } }))],
    options: {
      head: { ...head, seed: 4 },
      samples: { positiveBehaviors: new Set(['click']) },
      trainer,
      passes: 2,
      learningRate: 1e-2,
      seed: 4,
    },
  })
  const encoder = await HeadEncoder.create(checkpoint.head)
  try {
    const { published } = await encoder.encode([...content.values()])
    deepStrictEqual((await trainVectors(setup, 4)).vectors, published)
  } finally {
    await encoder.close()
  }
})

test('every row of the table but the first changes what is trained, and stays finite', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const file = join(directory, 'ablations.json')
  const ablations = [
    ...commonAblations({ tau: 0.2, maskHistory: true }),
    ...fusionAblations,
    contentPart('no content part', { contentShare: 0 }),
  ]
  const seen: Float32Array[] = []
  const run = {
    setup,
    ablations,
    seeds: [1],
    columns: ['sum'] as const,
    digits: () => 3,
    evaluate: ({ vectors }: { readonly vectors: Float32Array }) => {
      seen.push(vectors)
      return Promise.resolve({ sum: vectors.reduce((sum, x) => sum + x, 0) })
    },
    file,
  }
  t.mock.method(console, 'log', () => {})
  t.mock.method(console, 'error', () => {})
  await runAblations(run)
  deepStrictEqual(seen[0], (await trainVectors(setup, 1)).vectors)
  for (const [i, vectors] of seen.entries()) {
    ok(vectors.every(Number.isFinite), ablations[i]!.name)
    for (const [j, other] of seen.slice(0, i).entries()) notDeepStrictEqual(vectors, other, `${ablations[i]!.name} = ${ablations[j]!.name}`)
  }
  // A second run takes what it finds and makes what is missing.
  const kept = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  const last = ablations.at(-1)!.name
  const { [last]: made, ...others } = kept
  await writeFile(file, JSON.stringify(others))
  seen.length = 0
  await runAblations(run)
  deepStrictEqual(seen.length, 1)
  deepStrictEqual(JSON.parse(await readFile(file, 'utf8')), { ...others, [last]: made })
})
