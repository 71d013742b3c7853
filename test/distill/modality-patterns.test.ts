/** Patterns of modalities: one of the query against another of the target, or against what all give together. */
import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { pairRow, Trainer, trainingSources } from '../../distill/index.ts'
import type { ContentVectors, ModalityPattern, SourceOptions, StepResult } from '../../distill/index.ts'
import { worldHead, worldItems } from './head-world.ts'
import { recallOf, trainTwoSided, twoSidedItems } from './two-sided-world.ts'

const items = worldItems(40)
const content = (id: string): ContentVectors | undefined => items.get(id)
const pairs = Array.from({ length: 16 }, (_, i) => pairRow({ queryId: `i${i}`, targetId: `i${16 + i}` }))

/** The first step of a source of pairs with these patterns. */
async function firstStep(patterns: readonly ModalityPattern[], rows = pairs, own: Partial<SourceOptions> = {}): Promise<StepResult> {
  const trainer = await Trainer.create(worldHead(items), { batchSize: 16, sources: [{ name: 'tags', kind: 'pairs', patterns, ...own }] })
  try {
    const steps: StepResult[] = []
    await trainer.train(rows, content, { schedule: () => 0, steps: 1, onStep: (_, step) => void steps.push(step) })
    return steps[0]!
  } finally {
    await trainer.close()
  }
}

test('each modality against itself is the contrast inside modalities, and the weight of patterns is its own', async () => {
  const both = [
    { query: 'image', target: 'image' },
    { query: 'text', target: 'text' },
  ]
  const { terms, loss } = await firstStep(both, pairs, { losses: { patterns: 3 } })
  strictEqual(terms['patterns'], terms['modality'])
  const { nce, modality, lateFusion, patterns } = terms as Record<string, number>
  ok(Math.abs(nce! + 0.2 * modality! + 0.2 * lateFusion! + 3 * patterns! - loss) < 1e-4 * loss)
  deepStrictEqual(Object.keys((await firstStep([])).terms).sort(), ['lateFusion', 'modality', 'nce'])
  deepStrictEqual(Object.keys((await firstStep(both, pairs, { losses: { patterns: 0 } })).terms).sort(), ['lateFusion', 'modality', 'nce'])
})

test('a pair that lacks a modality of the pattern is neither query nor negative in it', async () => {
  const pattern = [{ query: 'image', target: 'text' }]
  // Item 1 has no image, item 2 no text.
  const lacking = [pairRow({ queryId: 'i1', targetId: 'i30' }), pairRow({ queryId: 'i31', targetId: 'i2' })]
  const [whole, more] = [await firstStep(pattern, pairs.slice(3, 11)), await firstStep(pattern, [...pairs.slice(3, 11), ...lacking])]
  ok(whole.terms['patterns']! > 0)
  ok(Math.abs(whole.terms['patterns']! - more.terms['patterns']!) < 1e-5)
  const none = await firstStep(pattern, lacking)
  strictEqual(none.terms['patterns'], 0)
  ok(Number.isFinite(none.loss) && Number.isFinite(none.gradientNorm))
})

test('against the fused vector only the named side must be there', async () => {
  const change = async (target: string): Promise<number> => {
    const of = async (rows: typeof pairs): Promise<number> => (await firstStep([{ query: 'text', target }], rows)).terms['patterns']!
    // Item 2 has no text.
    return Math.abs((await of(pairs.slice(3, 11))) - (await of([...pairs.slice(3, 11), pairRow({ queryId: 'i31', targetId: 'i2' })])))
  }
  const [fused, text] = [await change('fused'), await change('text')]
  ok(fused > 1e-2 && text < 1e-5, `${fused} and ${text}`)
})

test('a head trained by text against the fused vector finds complete items by their text alone', async () => {
  const world = twoSidedItems()
  const recall = async (patterns: readonly ModalityPattern[]): Promise<number> => {
    const head = await trainTwoSided(world, { patterns, losses: { modality: 0, lateFusion: 0, patterns: 1 } })
    return recallOf(world, head, { queries: ['text'], targets: ['image', 'text'] })
  }
  const [without, having] = [await recall([]), await recall([{ query: 'text', target: 'fused' }])]
  ok(having > without + 0.1, `recall by text ${without} without, ${having} with`)
})

test('patterns that cannot be are refused, and say why', async () => {
  await rejects(firstStep([{ query: 'text', target: 'audio' }]), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /source tags has a pattern of audio; there are: image, text, fused/,
  })
  throws(
    () =>
      trainingSources([{ name: 's', kind: 'sequences', patterns: [{ query: 'text', target: 'image' }] }], { tau: 0.2, tauMode: 'fixed' }),
    { code: 'SIDESTREAM_USAGE_INVALID', message: /only pairs have patterns/ },
  )
})
