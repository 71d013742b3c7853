/** Offline runs over several sources: what is held out, what is counted, and what the report holds. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { uniform, uniformInt } from '../../compute/index.ts'
import { distillOffline, type ContentRecord, type KeptTraining, type OfflineInput, type OfflineOptions } from '../../distill/index.ts'
import type { IdEmbedding, Interaction, ItemPair } from '../../schemas/index.ts'
import { modalities, worldItems } from './head-world.ts'

const count = 60
const content: ContentRecord[] = [...worldItems(count)].map(([itemId, vectors], i) => ({
  itemId,
  content: { itemId, eventTs: 1, vectors, labels: [`kind:${i % 3}`], authorId: `a${i % 4}` },
}))
const interactions: Interaction[] = Array.from({ length: 400 }, (_, i) => ({
  userId: `u${uniformInt(5, 0, i, 25)}`,
  itemId: `i${uniformInt(5, 1, i, count)}`,
  eventTs: 1000 + i,
  behaviors: [uniform(5, 2, i) < 0.9 ? 'click' : 'view'],
}))
const pairs: ItemPair[] = Array.from({ length: count * 2 }, (_, i) => ({
  source: i % 2 === 0 ? 'tags' : 'graded',
  queryId: `i${Math.floor(i / 2)}`,
  targetId: `i${(Math.floor(i / 2) + 3) % count}`,
  eventTs: 1,
  ...(i % 2 === 1 && { score: i % 4 === 1 ? 1 : 5 }),
}))
const mirrored = pairs.map((pair) => ({ ...pair, queryId: pair.targetId, targetId: pair.queryId }))
const idEmbeddings: IdEmbedding[] = Array.from({ length: count }, (_, i) => ({
  entity: 'item',
  entityId: `i${i}`,
  eventTs: i < 50 ? 1 : 10_000,
  vector: Float32Array.from([Math.cos(i), Math.sin(i), 1]),
  exposures: 20,
}))

const options: OfflineOptions = {
  head: { modalities, dims: 8, hidden: 7, prefixes: [4, 8], seed: 1 },
  samples: { positiveBehaviors: new Set(['click']) },
  trainer: { batchSize: 32 },
  holdOut: 0.2,
  judge: { minNeighborRecall: 0, minEvents: 5 },
  teacherKinds: [{ name: 'item', by: 'item', dim: null }],
  plan: (dims) => ({
    sources: [
      { name: 'seq2item', kind: 'sequences' },
      { name: 'tags', kind: 'pairs' },
      { name: 'graded', kind: 'pairs', scored: true },
      { name: 'near', kind: 'pairs', from: 'content' },
      { name: 'ids', kind: 'ids', entities: [{ name: 'item', dim: dims.get('item')! }] },
    ],
    stages: [
      { name: 'content', sources: ['tags', 'graded', 'near'], steps: 8, learningRate: 5e-3, balance: { by: 'tasks', temperature: 1 } },
      { name: 'both', sources: ['seq2item', 'ids', 'near'], passes: 2, learningRate: 2e-3, mining: { perQuery: 2, every: 5 } },
    ],
  }),
}
const input: OfflineInput = { interactions: [interactions], content: [content], pairs: [pairs], idEmbeddings: [idEmbeddings], options }

test('what is held out is never trained on: not the newest interactions, not their ID embeddings, not a pair or its mirror image', async () => {
  const cut = 1000 + 320
  const kept = await distillOffline(input)
  const { heldOut, trainedUntil, sources, idEmbeddings: counted } = kept.report
  deepStrictEqual([heldOut?.from, heldOut?.until, trainedUntil], [cut, 1400, cut - 1])
  deepStrictEqual([counted.rows, counted.late, sources['ids']!.rows], [count, 10, 50])
  // Whatever happens after the cut changes nothing that was learned.
  const other = interactions.map((one) => (one.eventTs < cut ? one : { ...one, itemId: 'i0', userId: 'u0' }))
  const changed = await distillOffline({ ...input, interactions: [other], options: { ...options, plan: plainPlan } })
  const unchanged = await distillOffline({ ...input, options: { ...options, plan: plainPlan } })
  deepStrictEqual(changed.checkpoint, unchanged.checkpoint)
  const both = await distillOffline({ ...input, pairs: [[...pairs, ...mirrored, ...pairs]] })
  deepStrictEqual(
    [both.report.sources['tags']!.rows, both.report.sources['tags']!.heldOut],
    [2 * sources['tags']!.rows, 2 * sources['tags']!.heldOut],
    'a pair and its mirror image are on one side; a repeated pair counts once',
  )
})

const plainPlan: NonNullable<OfflineOptions['plan']> = () => ({
  sources: [{ name: 'seq2item', kind: 'sequences' }],
  stages: [{ name: 'all', sources: ['seq2item'], passes: 1, learningRate: 1e-3 }],
})

test('the report holds rows, losses, balance, lambda*, figures, heads between and maps, as plain JSON', async () => {
  const { report } = await distillOffline(input)
  deepStrictEqual(JSON.parse(JSON.stringify(report)), report)
  deepStrictEqual(
    report.stages.map(({ name, steps, total }) => [name, steps === total && steps > 0]),
    [
      ['content', true],
      ['both', true],
    ],
  )
  strictEqual(report.trace.steps.loss.length, report.steps)
  const [balance] = report.trace.balances
  deepStrictEqual(balance?.sources, ['tags', 'graded', 'near'])
  deepStrictEqual([...balance!.tasks].sort(), ['graded', 'seq2item', 'tags'])
  ok(report.trace.mined.some(({ source, stage }) => source === 'seq2item' && stage === 1))
  const { judgement, retrieval, filtered } = report.judged!
  ok(judgement.events > 0 && judgement.metrics.candidate.pairRecall50 !== undefined)
  for (const set of ['raw', 'candidate'] as const) {
    ok(retrieval[set]!.figures.recall10.value !== null)
    const { events, figures } = filtered[set]!
    ok(events > 0 && events < retrieval[set]!.events, "not every history has an item of its target's kind")
    for (const name of ['recall1', 'recall10', 'recall25', 'recall50', 'recall100', 'warmRecall10'] as const)
      ok(figures[name].value !== null)
    const measured = judgement.metrics[set]
    for (const name of ['separability', 'bijective', 'nmi', 'taughtKendall', 'taughtTop100', 'pairAuc', 'filteredRecall10'] as const) {
      const value = measured[name]!
      ok(value !== null && value >= -1 && value <= 1, name)
    }
    strictEqual(measured.filteredRecall10, figures.recall10.value, 'one plan, one figure')
    strictEqual(measured.kendall, null)
  }
  match(judgement.notMeasured.kendall!, /^each item with an ID embedding taught this head \(\d+\)$/)
  const { map, pareto } = report
  deepStrictEqual([map?.groupedBy, map?.groups.toSorted()], ['label', ['kind:0', 'kind:1', 'kind:2']])
  strictEqual(map?.before.x.length, map?.items)
  deepStrictEqual([pareto?.points[0]?.k, pareto?.points.at(-1)?.k], [0, 1])
})

test('figures of spaces are measured on cold items alone as well, and thresholds on them refuse', async () => {
  // Items 50 to 59 are liked by nobody before the cut.
  const late = interactions.map((one) => {
    const number = Number(one.itemId.slice(1))
    return one.eventTs < 1320 && number >= 50 ? { ...one, itemId: `i${number - 50}` } : one
  })
  const judge = {
    ...options.judge!,
    gate: { coldNmi: { min: 1 }, coldSeparability: { maxLoss: 1 }, coldKendall: { min: 0 }, recall1: { min: 0 } },
  }
  const { report } = await distillOffline({ ...input, interactions: [late], options: { ...options, plan: plainPlan, judge } })
  const { judgement, retrieval } = report.judged!
  const { separability, coldSeparability, coldBijective, coldNmi, coldDPrime, coldKendall } = judgement.metrics.candidate
  const events = retrieval.candidate!.figures.coldRecall1.events
  for (const value of [coldSeparability, coldBijective, coldNmi, coldDPrime]) ok(typeof value === 'number')
  ok(coldSeparability !== separability)
  strictEqual(coldKendall, null, 'their ID embeddings are of later')
  deepStrictEqual(
    judgement.gate.map(({ figure, verdict, events: behind }) => [figure, verdict, behind]),
    [
      ['coldNmi', 'fail', events],
      ['coldSeparability', 'pass', events],
      ['coldKendall', 'insufficient', 0],
      ['recall1', 'pass', judgement.events],
    ],
  )
  strictEqual(judgement.verdict, 'refused')
  ok(judgement.reasons.some((reason) => reason.startsWith('coldNmi')))
  ok(judgement.warnings.includes('gate coldKendall.min: not judged, no cold item has an ID embedding'), judgement.warnings.join('; '))
})

test('ID embeddings that came after the cut are compared with, and a head that another began keeps its teachers', async () => {
  // Those of items 48 to 59 come in what is held out, when items are compared.
  const known = idEmbeddings.map((row, i) => ({ ...row, eventTs: i < 48 ? 1 : 1390 }))
  const plan: NonNullable<OfflineOptions['plan']> = (dims) => ({
    sources: [{ name: 'ids', kind: 'ids', entities: [{ name: 'item', dim: dims.get('item')! }] }],
    stages: [{ name: 'ids', sources: ['ids'], steps: 2, learningRate: 1e-3 }],
  })
  const given = { ...input, idEmbeddings: [known] }
  const judge = { ...options.judge!, gate: { kendall: { min: 0 }, taughtKendall: { min: 0 } } }
  const taught = await distillOffline({ ...given, options: { ...options, plan, judge } })
  strictEqual(taught.checkpoint.taught?.length, 48)
  const { judgement } = taught.report.judged!
  const behind = ({ gate }: typeof judgement): number[] => gate.map(({ events }) => events)
  ok(typeof judgement.metrics.candidate.kendall === 'number' && typeof judgement.metrics.raw.top100 === 'number')
  deepStrictEqual(behind(judgement), [12, 48])

  const { head, taught: startTaught } = taught.checkpoint
  const next = await distillOffline({ ...given, start: head, startTaught, options: { ...options, plan: plainPlan, judge } })
  deepStrictEqual(next.checkpoint.taught, startTaught)
  deepStrictEqual(behind(next.report.judged!.judgement), [12, 48])
  const fresh = await distillOffline({ ...given, options: { ...options, plan: plainPlan, judge } })
  deepStrictEqual([fresh.checkpoint.taught, behind(fresh.report.judged!.judgement)], [undefined, [60, 0]])
})

test('a run that is kept and gone on with reports what one that never stopped does', async () => {
  const all: KeptTraining[] = []
  const keep = async (kept: KeptTraining): Promise<void> =>
    void all.push({ ...kept, trace: structuredClone(kept.trace), ends: [...kept.ends] })
  const through = await distillOffline({ ...input, options: { ...options, keepEvery: 5 }, keep })
  const places = all.map(({ position }) => `${position.stage}:${position.done}`)
  for (const place of ['0:5', '1:5']) {
    const from = all[places.indexOf(place)]
    ok(from !== undefined, `${place} is among ${places.join(' ')}`)
    const resumed = await distillOffline({ ...input, options: { ...options, keepEvery: 5 }, from })
    deepStrictEqual(resumed.checkpoint, through.checkpoint, place)
    deepStrictEqual(resumed.report, through.report, place)
  }
})
