/** Metrics over pairs and spaces: the golden numbers, and their definitions written out. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { auc, kendallTau, normalizedMutualInformation, uniform } from '../../compute/index.ts'
import {
  clusterAgreement,
  kendallAgreement,
  openSimilarity,
  pairAuc,
  pairCosines,
  plainSimilarity,
  recallPerQuery,
  relevantRanks,
  retrievalMetrics,
  topKIntersection,
} from '../../distill/index.ts'
import type { OpenSimilarity, Relevance, RetrievalInput } from '../../distill/index.ts'

const { inputs, outputs } = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8')).eval_metrics
const near = (actual: number, expected: number, tolerance: number): void =>
  ok(Object.is(actual, expected) || Math.abs(actual - expected) <= tolerance, `${actual}, expected ${expected}`)

/** Query i belongs to item i. */
const oneEach = (n: number): Relevance => ({
  offsets: Int32Array.from({ length: n + 1 }, (_, i) => i),
  items: Int32Array.from({ length: n }, (_, i) => i),
})

const golden: RetrievalInput = {
  queries: Float32Array.from(inputs.q_unit.flat()),
  items: Float32Array.from(inputs.t_unit.flat()),
  dim: 4,
  relevance: oneEach(8),
}

for (const [name, open] of [
  ['ONNX Runtime', openSimilarity],
  ['the plain loop', plainSimilarity],
] as const) {
  test(`recall, separability and alignment give the golden numbers with ${name}`, async () => {
    const { ranks, separability, bijective } = await retrievalMetrics(golden, open)
    deepStrictEqual(
      [...ranks],
      outputs.target_rank.map((rank: number) => rank - 1),
    )
    const recall = (k: number): number => recallPerQuery(ranks, golden.relevance.offsets, k).reduce((sum, x) => sum + x, 0) / 8
    deepStrictEqual([recall(1), recall(3)], [outputs['recall@1'], outputs['recall@3']])
    strictEqual(bijective, outputs.bijective_share)
    near(separability.meanPositive, outputs.separability.mean_pos, 1e-6)
    near(separability.meanNegative, outputs.separability.mean_neg, 1e-6)
    near(separability.dPrime, outputs.separability.d_prime, 1e-5)
    strictEqual(separability.auc, outputs.separability.auc)
    deepStrictEqual(await relevantRanks(golden, open), ranks)
  })
}

test("NMI, Kendall's tau and top-k intersection give the golden numbers", async () => {
  near(normalizedMutualInformation(inputs.cluster_q, inputs.cluster_t), outputs.nmi, 1e-12)
  deepStrictEqual(kendallTau(Float64Array.from(inputs.kendall_a), Float64Array.from(inputs.kendall_b)), outputs.kendall)
  // The other space is given by its cosines: unit queries pick them out one by one.
  const axes = Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0))
  const cosines: OpenSimilarity = async (items, dim, batch) =>
    dim === 8
      ? { similarity: () => Float32Array.from(inputs.cos_other_space.flat()), close: async () => {} }
      : plainSimilarity(items, dim, batch)
  near(await topKIntersection({ a: golden, b: { queries: axes, items: axes, dim: 8 } }, 3, cosines), outputs.top3_intersection_mean, 1e-12)
})

/** Vectors on a coarse grid: ties and zero rows are met, and products are exact. */
const row = fc.array(fc.integer({ min: -1, max: 1 }), { minLength: 2, maxLength: 2 })
const world = fc
  .record({
    items: fc.array(row, { minLength: 2, maxLength: 12 }),
    queries: fc.array(row, { minLength: 1, maxLength: 8 }),
    among: fc.boolean(),
  })
  .chain(({ items, queries, among }) =>
    fc.record({
      items: fc.constant(items),
      queries: fc.constant(queries),
      self: among ? fc.tuple(...queries.map(() => fc.nat(items.length - 1))) : fc.constant(undefined),
      relevant: fc.tuple(...queries.map(() => fc.uniqueArray(fc.nat(items.length - 1), { maxLength: 3 }))),
    }),
  )

test('metrics over any pairs are their definitions', async () => {
  await fc.assert(
    fc.asyncProperty(world, async ({ items, queries, self, relevant: any }) => {
      const relevant = any.map((list, q) => list.filter((item) => item !== self?.[q]))
      const relevance: Relevance = {
        offsets: Int32Array.from([0, ...relevant.map((_, q) => relevant.slice(0, q + 1).flat().length)]),
        items: Int32Array.from(relevant.flat()),
        ...(self && { self: Int32Array.from(self) }),
      }
      const input = { queries: Float32Array.from(queries.flat()), items: Float32Array.from(items.flat()), dim: 2, relevance }
      const actual = await retrievalMetrics(input, plainSimilarity)

      // In float32, as the matrix product rounds.
      const unit = ([x, y]: readonly number[]): number[] => [x!, y!].map((v) => Math.fround(v / (Math.hypot(x!, y!) || 1)))
      const cosine = (q: number, t: number): number => {
        const [a, b] = [unit(queries[q]!), unit(items[t]!)]
        return Math.fround(Math.fround(a[0]! * b[0]!) + a[1]! * b[1]!)
      }
      const ranked = (q: number): number[] =>
        [...items.keys()].filter((t) => t !== self?.[q]).sort((a, b) => cosine(q, b) - cosine(q, a) || a - b)
      deepStrictEqual(
        [...actual.ranks],
        relevant.flatMap((list, q) => list.map((item) => ranked(q).indexOf(item))),
      )
      for (const k of [1, 3]) {
        deepStrictEqual(
          [...recallPerQuery(actual.ranks, relevance.offsets, k)],
          relevant.map((list, q) => list.filter((item) => ranked(q).slice(0, k).includes(item)).length / list.length),
        )
      }
      const positives = relevant.flatMap((list, q) => list.map((item) => cosine(q, item)))
      const negatives = relevant.flatMap((list, q) =>
        ranked(q)
          .filter((t) => !list.includes(t))
          .map((t) => cosine(q, t)),
      )
      const labels = [...positives.map(() => 1), ...negatives.map(() => 0)]
      near(actual.separability.auc, auc(Float32Array.from([...positives, ...negatives]), labels), 1e-12)
      deepStrictEqual([actual.separability.positives, actual.separability.negatives], [positives.length, negatives.length])
      const targets = new Set(relevant.flat())
      const returned = [...queries.keys()].filter((q) => {
        const nearest = ranked(q).find((t) => targets.has(t))
        if (nearest === undefined) return false
        const back = [...queries.keys()].filter((other) => self?.[other] !== nearest)
        return back.sort((a, b) => cosine(b, nearest) - cosine(a, nearest) || a - b)[0] === q
      })
      strictEqual(actual.bijective, returned.length / queries.length)
    }),
  )
})

const rows = (n: number, dim: number, seed: number): Float32Array =>
  Float32Array.from({ length: n * dim }, (_, i) => uniform(seed, 0, i) - 0.5)

test('two spaces agree with themselves wholly, and with chance by chance', async () => {
  const vectors = rows(1300, 6, 1)
  const a = { queries: vectors, items: vectors, dim: 6 }
  const self = Int32Array.from({ length: 1300 }, (_, i) => i)
  strictEqual(await topKIntersection({ a, b: a, self }, 100), 1)
  strictEqual(await kendallAgreement({ a, b: a, self }, { candidates: 50 }), 1)
  const other = rows(1300, 3, 2)
  const b = { queries: other, items: other, dim: 3 }
  near(await topKIntersection({ a, b, self }, 100), 100 / 1299, 0.01)
  near(await kendallAgreement({ a, b, self }, { candidates: 200 }), 0, 0.02)
})

test("top-k intersection and Kendall's tau are their definitions, query excluded", async () => {
  const [n, k] = [60, 7]
  const [first, second] = [rows(n, 4, 3), rows(n, 5, 4)]
  const self = Int32Array.from({ length: n }, (_, i) => i)
  const pair = { a: { queries: first, items: first, dim: 4 }, b: { queries: second, items: second, dim: 5 }, self }
  const others = (q: number): number[] => [...self].filter((i) => i !== q)
  const cosines = (vectors: Float32Array, dim: number, q: number): number[] => {
    const at = (i: number): Float32Array => vectors.subarray(i * dim, (i + 1) * dim)
    return [...self].map((i) => at(i).reduce((sum, x, d) => sum + x * at(q)[d]!, 0) / Math.hypot(...at(i)) / Math.hypot(...at(q)))
  }
  let [shared, tau] = [0, 0]
  for (const q of self) {
    const [a, b] = [cosines(first, 4, q), cosines(second, 5, q)]
    const near10 = (scores: readonly number[]): number[] =>
      others(q)
        .sort((i, j) => scores[j]! - scores[i]!)
        .slice(0, k)
    shared += near10(a).filter((i) => near10(b).includes(i)).length / k
    tau += kendallTau(
      Float64Array.from(others(q), (i) => a[i]!),
      Float64Array.from(others(q), (i) => b[i]!),
    ).tau
  }
  near(await topKIntersection(pair, k, plainSimilarity), shared / n, 1e-12)
  near(await kendallAgreement(pair, {}, plainSimilarity), tau / n, 1e-12)
})

test('AUC of scored pairs is that of their cosines; a zero row has none', () => {
  const [queries, targets] = [Float32Array.of(1, 0, 0, 2, 3, 3, 0, 0), Float32Array.of(2, 0, 1, 1, -1, 0, 1, 1)]
  const cosines = pairCosines(queries, targets, 2)
  const expected = [1, Math.SQRT1_2, -Math.SQRT1_2, 0]
  cosines.forEach((value, i) => near(value, expected[i]!, 1e-15))
  strictEqual(pairAuc(queries, targets, 2, [1, 0, 0, 1]), 0.75)
})

test('clusters of queries tell those of their targets when pairs share a topic, and nothing when they are drawn', async () => {
  const [n, dim, topics] = [400, 8, 8]
  const around = (seed: number, topicOf: (i: number) => number): Float32Array =>
    Float32Array.from({ length: n * dim }, (_, at) => {
      const axis = at % dim === topicOf(Math.floor(at / dim)) ? 1 : 0
      return axis + 0.2 * (uniform(seed, 0, at) - 0.5)
    })
  const own = (i: number): number => i % topics
  const queries = around(1, own)
  // k-means may split one topic and join two others.
  ok((await clusterAgreement(queries, around(2, own), dim, { clusters: topics })) > 0.9)
  const other = (i: number): number => Math.floor(uniform(9, 0, i) * topics)
  ok((await clusterAgreement(queries, around(2, other), dim, { clusters: topics })) < 0.15)
  const twice = [await clusterAgreement(queries, around(2, other), dim), await clusterAgreement(queries, around(2, other), dim)]
  strictEqual(twice[0], twice[1], 'one seed, one figure')
  const half = around(2, own).fill(0, 0, (n / 2) * dim)
  ok((await clusterAgreement(queries, half, dim, { clusters: topics })) > 0.9, 'zero rows take no part')
  ok(Number.isNaN(await clusterAgreement(queries, new Float32Array(n * dim), dim)))
  ok(Number.isNaN(await clusterAgreement(queries, queries, dim, { clusters: 1 })))
})

test('without items there is nothing to find', async () => {
  const nothing = { ...golden, items: new Float32Array(0), relevance: { offsets: new Int32Array(9), items: new Int32Array(0) } }
  const { ranks, separability, bijective } = await retrievalMetrics(nothing)
  deepStrictEqual([ranks.length, separability.auc, bijective], [0, NaN, 0])
})

test('pairs that make no sense are refused', async () => {
  const refused = { code: 'SIDESTREAM_SHAPE_MISMATCH' }
  await rejects(retrievalMetrics({ ...golden, relevance: oneEach(7) }, plainSimilarity), refused)
  await rejects(retrievalMetrics({ ...golden, relevance: { ...oneEach(8), items: new Int32Array(8).fill(8) } }, plainSimilarity), refused)
  await rejects(retrievalMetrics({ ...golden, relevance: { ...oneEach(8), self: new Int32Array(8).fill(3) } }, plainSimilarity), refused)
  await rejects(retrievalMetrics({ ...golden, items: golden.items.map((x, i) => (i === 5 ? NaN : x)) }, plainSimilarity), refused)
  await rejects(
    topKIntersection({ a: golden, b: { queries: golden.queries, items: new Float32Array(4), dim: 4 } }, 3, plainSimilarity),
    refused,
  )
})
