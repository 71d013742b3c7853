import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { uniform, uniformInt } from '../../compute/index.ts'
import { pairQuestions, plainSimilarity, scorePairs } from '../../distill/index.ts'
import { contentFigures } from '../../schemas/index.ts'

const pairs = (...list: [query: number, target: number][]) => ({
  queries: Int32Array.from(list, ([query]) => query),
  targets: Int32Array.from(list, ([, target]) => target),
})

test('pairs become questions: each query once, repeats and pairs of an item with itself left out', () => {
  const { self, offsets, items } = pairQuestions(pairs([5, 2], [1, 9], [5, 0], [5, 2], [3, 3], [1, 9]))
  deepStrictEqual(
    [[...self], [...offsets], [...items]],
    [
      [1, 5],
      [0, 1, 3],
      [9, 0, 2],
    ],
  )
  deepStrictEqual([...pairQuestions(pairs()).offsets], [0])
})

test('of many queries some are asked, evenly', () => {
  const many = pairs(...Array.from({ length: 100 }, (_, i): [number, number] => [99 - i, 200]))
  deepStrictEqual([...pairQuestions(many, 4).self], [0, 25, 50, 75])
})

test('recall@50 is the share of targets among the 50 nearest other items', async () => {
  const [items, dim] = [300, 4]
  const vectors = Float32Array.from({ length: items * dim }, (_, i) => uniform(1, 0, i) - 0.5)
  const list = Array.from({ length: 400 }, (_, p): [number, number] => [uniformInt(2, 0, p, 40), uniformInt(2, 1, p, items)])
  const questions = pairQuestions(pairs(...list))
  const { recall50, figures } = await scorePairs(questions, vectors, dim, plainSimilarity)
  const row = (i: number): Float32Array => vectors.subarray(i * dim, (i + 1) * dim)
  const expected = [...questions.self].map((query, q) => {
    const cosine = (i: number): number => row(i).reduce((sum, x, d) => sum + x * row(query)[d]!, 0) / Math.hypot(...row(i))
    const near = Array.from({ length: items }, (_, i) => i)
      .filter((i) => i !== query)
      .sort((a, b) => cosine(b) - cosine(a))
      .slice(0, 50)
    const targets = [...questions.items.subarray(questions.offsets[q], questions.offsets[q + 1])]
    return targets.filter((target) => near.includes(target)).length / targets.length
  })
  deepStrictEqual([...recall50], expected)
  ok(Math.abs(figures.pairRecall50 - expected.reduce((a, b) => a + b) / expected.length) < 1e-12)
  ok(figures.pairRecall1 < figures.pairRecall50 && figures.pairRecall50 < figures.pairRecall100)
  ok(Math.abs(figures.pairSeparation - 0.5) < 0.05, 'unrelated pairs do not stand apart')
  deepStrictEqual(
    Object.keys(figures),
    contentFigures.filter((name) => name !== 'neighborRecall'),
  )
})

test('twins find each other whatever else there is', async () => {
  const twins = Float32Array.from({ length: 400 }, (_, i) => uniform(3, 0, (Math.floor(i / 8) * 4 + (i % 4)) >>> 0) - 0.5)
  const list = Array.from({ length: 50 }, (_, i): [number, number] => [2 * i, 2 * i + 1])
  const { figures } = await scorePairs(pairQuestions(pairs(...list)), twins, 4, plainSimilarity)
  deepStrictEqual([figures.pairRecall1, figures.pairBijective, figures.pairSeparation], [1, 1, 1])
})

test('a pair that names no item is refused; no pair, no figure', async () => {
  const vectors = new Float32Array(8).fill(1)
  await rejects(scorePairs(pairQuestions(pairs([0, 4])), vectors, 2, plainSimilarity), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  const { recall50, figures } = await scorePairs(pairQuestions(pairs()), vectors, 2, plainSimilarity)
  strictEqual(recall50.length, 0)
  for (const value of Object.values(figures)) ok(Number.isNaN(value))
})
