/** Figures of spaces as a judgment holds them: what is asked, of whom, and what is said where there is nothing to ask. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { uniform, uniformInt } from '../../compute/index.ts'
import {
  decodeCheckpoint,
  encodeCheckpoint,
  hasTaught,
  judge,
  nobodyTaught,
  plainSimilarity,
  planEvaluation,
  scoreVectors,
  splitPairs,
  summarize,
  withTaught,
} from '../../distill/index.ts'
import type { JudgeInput, Judgement, SpaceInput, VectorSet } from '../../distill/index.ts'
import { spaceFigures } from '../../schemas/index.ts'
import { worldHead, worldItems } from './head-world.ts'

const items = 200
const topics = 10
const dim = 12

function vectorsOf(blur: number, seed: number): VectorSet {
  const vectors = Float32Array.from({ length: items * dim }, (_, at) => {
    const item = Math.floor(at / dim)
    return (at % dim === item % topics ? 1 : 0) + blur * (2 * uniform(seed, 0, at) - 1)
  })
  return { vectors, dim }
}

/** Users who mostly stay with one topic; the upper half of the items is liked in the window alone. */
const world: Pick<JudgeInput, 'stream' | 'since' | 'window' | 'raw'> = {
  stream: {
    times: Float64Array.from({ length: 1200 }, (_, i) => i * 1000),
    users: Int32Array.from({ length: 1200 }, (_, i) => uniformInt(9, 1, i, 200)),
    items: Int32Array.from({ length: 1200 }, (_, i) => {
      const topic = uniform(9, 2, i) < 0.7 ? uniformInt(9, 1, i, 200) % topics : uniformInt(9, 3, i, topics)
      return topic + topics * uniformInt(9, 0, i, i < 600 ? 10 : 20)
    }),
  },
  since: Float64Array.from({ length: items }, (_, item) => (item < items / 2 ? 0 : 600_000)),
  window: { from: 600_000, until: 1_200_000 },
  raw: vectorsOf(0.3, 1),
}
const labels = Int32Array.from({ length: items }, (_, item) => item % topics)
const ids = vectorsOf(0.3, 8)
const idOf = (item: number): Float32Array => ids.vectors.subarray(item * dim, (item + 1) * dim)

function judged(spaces: Partial<SpaceInput>, candidate: VectorSet = world.raw, more: Partial<JudgeInput> = {}): Promise<Judgement> {
  return judge({ ...world, candidate, spaces: { labels, ...spaces }, ...more }, { minNeighborRecall: 0, minEvents: 5 }, plainSimilarity)
}

test('agreement is asked of ID embeddings that did not teach; a head that only learned by heart does not show there', async () => {
  // Every second item taught: the head gives its ID embedding, and anything for the others.
  const learned = vectorsOf(3, 4)
  for (let item = 0; item < items; item += 2) learned.vectors.set(idOf(item), item * dim)
  const idEmbeddings = { dim, vector: idOf, hasTaught: (item: number) => item % 2 === 0 }
  const { metrics, notMeasured } = await judged({ idEmbeddings }, learned, { live: ids })
  const { kendall, top100, taughtKendall, taughtTop100, coldKendall } = metrics.candidate
  ok(taughtKendall! > 0.99 && taughtTop100! > 0.99, `learned by heart: ${taughtKendall}, ${taughtTop100}`)
  ok(Math.abs(kendall!) < 0.25 && top100! < 0.5, `others: ${kendall}, ${top100}`)
  ok(Math.abs(coldKendall!) < 0.25)
  ok(metrics.live!.kendall! > 0.99, 'every vector set is asked the same items')
  deepStrictEqual(Object.keys(notMeasured), ['pairAuc'])
})

test('nearest items that two spaces share are a tenth of few items, so that chance does not look like agreement', async () => {
  const few = { dim, vector: (item: number) => (item < 30 ? idOf(item) : undefined), hasTaught: () => false }
  const unrelated = vectorsOf(30, 5)
  ok((await judged({ idEmbeddings: few }, unrelated)).metrics.candidate.top100! < 0.5)
})

test('what cannot be measured is null with its reason, and a threshold on it says so', async () => {
  const gate = { top100: { min: 0.5 }, coldKendall: { min: 0.5 }, pairAuc: { min: 0.5 } }
  const reasonsWith = async (idEmbeddings: SpaceInput['idEmbeddings']): Promise<Judgement> => {
    const spaces = { labels: new Int32Array(items).fill(-1), idEmbeddings }
    return judge({ ...world, candidate: world.raw, spaces }, { minNeighborRecall: 0, gate }, plainSimilarity)
  }
  const without = await reasonsWith(undefined)
  strictEqual(without.metrics.candidate.kendall, null)
  strictEqual(without.notMeasured.kendall, 'there are no ID embeddings that are joined by the item itself')
  strictEqual(without.notMeasured.filteredRecall10, 'no event has a history of its label or cluster')
  strictEqual(without.metrics.candidate.filteredRecall10, null)
  deepStrictEqual(without.warnings.slice(-3), [
    'gate top100.min: not judged, there are no ID embeddings that are joined by the item itself',
    'gate coldKendall.min: not judged, there are no ID embeddings that are joined by the item itself',
    'gate pairAuc.min: not judged, there are no graded pairs that no training saw',
  ])
  deepStrictEqual([without.verdict, without.gate.map(({ verdict }) => verdict)], ['pass', Array(3).fill('insufficient')])

  const all = await reasonsWith({ dim, vector: idOf, hasTaught: () => true })
  strictEqual(all.notMeasured.kendall, 'each item with an ID embedding taught this head (200)')
  strictEqual(all.notMeasured.coldTop100, 'each cold item with an ID embedding taught this head (100)')
  strictEqual(all.notMeasured.taughtKendall, undefined)
  const warm = await reasonsWith({ dim, vector: (item) => (item < 50 ? idOf(item) : undefined), hasTaught: (item) => item > 4 })
  strictEqual(warm.notMeasured.coldKendall, 'no cold item has an ID embedding')
  deepStrictEqual(
    [warm.notMeasured.kendall, warm.notMeasured.top100],
    [undefined, 'only 5 of 50 ID embeddings of items did not teach this head'],
  )
  const nobody = await reasonsWith({ dim, vector: idOf, hasTaught: () => false })
  strictEqual(nobody.notMeasured.taughtTop100, 'no ID embedding taught this head')
  deepStrictEqual(JSON.parse(JSON.stringify(warm)), warm)
})

test('recall of consistent histories is that of a plan with the same label, all and cold', async () => {
  const { metrics } = await judged({})
  const options = { ...world.window, coldBefore: world.window.from, keep: 'same-label', reach: 1000, labels } as const
  const plan = planEvaluation(world.stream, world.since, options)
  const summary = summarize(plan, await scoreVectors(plan, world.raw.vectors, dim, plainSimilarity))
  ok(summary.events > 100 && summary.coldEvents > 30)
  const { filteredRecall10, filteredRecall100, coldFilteredRecall25, recall10 } = metrics.candidate
  deepStrictEqual([filteredRecall10, filteredRecall100, coldFilteredRecall25], [summary.recall10, summary.recall100, summary.coldRecall25])
  ok(filteredRecall10 !== recall10)
})

test('next items of a head that knows topics are apart from the others, and of one that does not are not', async () => {
  const good = (await judged({})).metrics.candidate
  const bad = (await judged({}, vectorsOf(30, 6))).metrics.candidate
  ok(good.separability! > 0.65 && Math.abs(bad.separability! - 0.5) < 0.05, `${good.separability} ${bad.separability}`)
  ok(good.dPrime! > bad.dPrime! + 0.5 && good.coldSeparability! > bad.coldSeparability! + 0.1)
  for (const name of spaceFigures) ok(good[name] !== undefined, `${name} is a number or null`)
})

test('graded pairs are close from the median of their own source on; plain ones belong together', async () => {
  const pair = (
    source: string,
    target: number,
    score?: number,
  ): Parameters<typeof splitPairs>[0] extends Iterable<infer P> ? P : never => ({
    source,
    query: 0,
    target,
    score,
  })
  const given = [pair('stars', 1, 1), pair('stars', 2, 5), pair('share', 3, 0.1), pair('share', 4, 0.9), pair('tags', 5)]
  const { pairs, graded } = splitPairs(given)
  deepStrictEqual(pairs, { queries: Int32Array.of(0), targets: Int32Array.of(5) })
  deepStrictEqual(
    [[...graded!.targets], [...graded!.close]],
    [
      [1, 2, 3, 4],
      [0, 1, 0, 1],
    ],
  )
  deepStrictEqual(splitPairs([pair('stars', 1, 3), pair('stars', 2, 3)]).graded!.close, Uint8Array.of(0, 0), 'one grade tells nothing')
  deepStrictEqual(splitPairs([]), {})
  const near = Int32Array.from({ length: 40 }, (_, i) => i)
  const { metrics, gate } = await judge(
    {
      ...world,
      candidate: world.raw,
      spaces: {
        labels,
        graded: {
          queries: near,
          targets: near.map((i) => i + (i % 2 === 0 ? topics : 1)),
          close: Uint8Array.from(near, (i) => 1 - (i % 2)),
        },
      },
    },
    { minNeighborRecall: 0, gate: { pairAuc: { min: 0.5 } } },
    plainSimilarity,
  )
  ok(metrics.candidate.pairAuc! > 0.9, 'pairs of one topic against those of two')
  deepStrictEqual([gate[0]!.events, gate[0]!.verdict], [40, 'insufficient'], 'fewer than minEvents')
})

test('a checkpoint remembers who taught, and never takes a teacher for a stranger', () => {
  const first = withTaught(nobodyTaught, ['a', 'b', 'a'])
  const both = withTaught(
    first,
    Array.from({ length: 5000 }, (_, i) => `item-${i}`),
  )
  deepStrictEqual([first.length, both.length, withTaught(both, ['b'])], [2, 5002, both])
  for (const id of ['a', 'b', 'item-0', 'item-4999']) ok(hasTaught(both, id), id)
  strictEqual(Array.from({ length: 5000 }, (_, i) => hasTaught(both, `other-${i}`)).filter(Boolean).length, 0)
  const position = { trainedUntil: 1, round: 0, offsets: {}, step: 1, seeds: {}, metrics: {} }
  const checkpoint = { head: worldHead(worldItems(12)), position, taught: both }
  const { parts, about } = encodeCheckpoint(checkpoint)
  deepStrictEqual(decodeCheckpoint({ parts, about }), checkpoint)
  strictEqual(parts.get('taught.items')!.length, 4 * both.length)
  for (const broken of [parts.get('taught.items')!.subarray(0, 7), parts.get('taught.items')!.toReversed()]) {
    throws(() => decodeCheckpoint({ parts: new Map(parts).set('taught.items', broken), about }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
  }
  ok(!encodeCheckpoint({ ...checkpoint, taught: nobodyTaught }).parts.has('taught.items'))
})
