import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { hashUnit } from '../../compute/index.ts'
import {
  contentCosine,
  prepareRound,
  prepareSets,
  rowsOfSets,
  sampleKey,
  sampleSets,
  samplesFromInteractions,
} from '../../distill/index.ts'
import type { SampleItem } from '../../distill/index.ts'
import type { DistillSample, Interaction } from '../../schemas/index.ts'

const kinds = ['like', 'finish', 'share', 'follow']
const draw = (name: string): number => hashUnit(3, name)

const items = new Map<string, SampleItem>(
  Array.from({ length: 40 }, (_, i) => [
    `i${i}`,
    {
      vectors: { v: Float32Array.from({ length: 4 }, (_, d) => draw(`${i}/${d}`) - 0.5) },
      ...(i % 3 > 0 && { labels: [`l${i % 3}`, 'all'] }),
    },
  ]),
)
const item = (id: string): SampleItem | undefined => items.get(id)

const interactions: Interaction[] = Array.from({ length: 400 }, (_, n) => ({
  userId: `u${Math.floor(draw(`user ${n}`) * 10)}`,
  itemId: `i${Math.floor(draw(`item ${n}`) * 45)}`, // five of them have no content
  eventTs: n,
  behaviors: kinds.filter((kind) => draw(`${n} ${kind}`) < 0.6),
}))

async function samples(candidates: number | undefined = 30): Promise<DistillSample[]> {
  const options = { positiveBehaviors: new Set(kinds), ...(candidates !== undefined && { marks: { candidates } }) }
  const made: DistillSample[] = []
  for await (const sample of samplesFromInteractions(interactions, options)) made.push(sample)
  return made
}

const roundOf = (rows: readonly DistillSample[]) =>
  prepareRound(
    rows.map((sample) => ({ key: sampleKey(sample), sample, waited: false })),
    { round: 4, seed: 1, isKnown: (id) => items.has(id) },
  )

test('every set is a source of its own, and none but plain carries more than its history', async () => {
  const { rows, counts } = rowsOfSets(await samples(), item, { sets: sampleSets })
  const sources = new Set(rows.map(({ source }) => source))
  deepStrictEqual([...sources].sort(), [
    'seq2item',
    'seq2item/collaborative-multi',
    'seq2item/collaborative-single',
    'seq2item/content-multi',
    'seq2item/content-single',
  ])
  ok(rows.every(({ history, marks, targetId }) => history.length <= 10 && marks === undefined && !history.includes(targetId)))
  for (const set of sampleSets) {
    const source = set === 'plain' ? 'seq2item' : `seq2item/${set}`
    strictEqual(counts[set]!.rows, rows.filter((row) => row.source === source).length)
    strictEqual(counts[set]!.histories, (await samples()).length)
  }
})

test('beside others, plain rows are what they are alone', async () => {
  const alone = prepareSets(roundOf(await samples(undefined)), { seed: 1, item })
  const beside = prepareSets(roundOf(await samples()), { seed: 1, item, sets: ['content-multi', 'plain'] })
  const plain = beside.rows.filter(({ source }) => source === 'seq2item')
  deepStrictEqual(
    plain.map(sampleKey),
    alone.rows.map(sampleKey).filter((key) => plain.some((row) => sampleKey(row) === key)),
  )
  // What is unknown among the newest ten makes room for older items, and nothing else differs.
  for (const row of alone.rows)
    deepStrictEqual(plain.find((other) => sampleKey(other) === sampleKey(row))!.history.slice(-row.history.length), row.history)
})

test('the rows of a round and their order do not depend on the order of the samples', async () => {
  const all = await samples()
  const options = { seed: 1, item, sets: sampleSets, clusters: 4 }
  const first = prepareSets(roundOf(all), options)
  deepStrictEqual(prepareSets(roundOf(all.toReversed()), options), first)
  notDeepStrictEqual(prepareSets(roundOf(all), { ...options, seed: 2 }).rows.map(sampleKey), first.rows.map(sampleKey))
})

test('without a cut of its own, content-single takes the quantile of what users liked one after the other', async () => {
  const all = await samples()
  const cut = (contentQuantile: number): number => rowsOfSets(all, item, { sets: ['content-single'], contentQuantile }).contentCut
  ok(cut(0) < cut(0.25) && cut(0.25) < cut(0.9))
  const given = rowsOfSets(all, item, { sets: ['content-single'], contentCut: 0.4 })
  strictEqual(given.contentCut, 0.4)
  const stricter = rowsOfSets(all, item, { sets: ['content-single'], contentCut: 0.8 })
  ok(stricter.counts['content-single']!.otherContent > given.counts['content-single']!.otherContent)
})

test('pairs that are given for it have the cut, where one of them has content', async () => {
  const all = await samples()
  const cut = (cutRows: readonly { targetId: string; history: readonly string[] }[], contentQuantile = 0): number =>
    rowsOfSets(all, item, { sets: ['content-single'], contentQuantile, cutRows }).contentCut
  const known = [...new Set(all.map(({ targetId }) => targetId))].filter((id) => item(id) !== undefined)
  const pair = { targetId: known[0]!, history: [known[1]!] }
  const own = contentCosine(item(known[0]!)!.vectors, item(known[1]!)!.vectors)!
  strictEqual(cut([pair]), own)
  strictEqual(cut([{ targetId: 'gone', history: [known[1]!] }, pair]), own)
  const without = rowsOfSets(all, item, { sets: ['content-single'], contentQuantile: 0 }).contentCut
  strictEqual(cut([]), without)
  strictEqual(cut([{ targetId: 'gone', history: ['gone too'] }]), without)
})

test('no row at all is no error', () => {
  deepStrictEqual(rowsOfSets([], item, { sets: sampleSets }).rows, [])
})
