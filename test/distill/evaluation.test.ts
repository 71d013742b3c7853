import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import {
  bootstrapMean,
  bootstrapMeans,
  plainSimilarity,
  planEvaluation,
  retrievalReport,
  scoreVectors,
  summarize,
} from '../../distill/index.ts'
import { windowFigures } from '../../schemas/index.ts'

const clicks = (...list: [time: number, user: number, item: number][]) => ({
  times: Float64Array.from(list, ([time]) => time),
  users: Int32Array.from(list, ([, user]) => user),
  items: Int32Array.from(list, ([, , item]) => item),
})

test('an event sees nothing from its own time on', () => {
  const stream = clicks([0, 0, 0], [10, 0, 1], [20, 0, 2], [30, 0, 0])
  const plan = planEvaluation(stream, Float64Array.of(0, 0, 20), { from: 5, until: 25, popularityMs: 10, popularityStepMs: 5 })
  strictEqual(plan.events, 2)
  deepStrictEqual(
    [...plan.histories].filter((place) => place >= 0).map((place) => plan.order[place]),
    [0, 1, 0],
  )
  deepStrictEqual([...plan.live], [2, 3])
  deepStrictEqual(
    plan.popularity.map(({ places }) => [...places].map((place) => plan.order[place])),
    [[0], [1]],
  )
})

test('every nth event is scored, and fewer when a bound is set', () => {
  const stream = clicks(...Array.from({ length: 101 }, (_, i): [number, number, number] => [i, 0, i]))
  const since = new Float64Array(101)
  const targets = (options: object): number[] => {
    const plan = planEvaluation(stream, since, { from: 0, until: 1000, ...options })
    return [...plan.targets].map((place) => plan.order[place]!)
  }
  deepStrictEqual(targets({ every: 30 }), [1, 31, 61, 91])
  deepStrictEqual(targets({ every: 30, offset: 3 }), [4, 34, 64, 94])
  deepStrictEqual(targets({ maxEvents: 3 }), [1, 35, 69])
})

test('items are cold without an interaction before the cut', () => {
  const plan = planEvaluation(clicks([0, 0, 0], [1, 1, 1], [10, 0, 1], [11, 0, 2]), new Float64Array(3), { from: 5, until: 20 })
  deepStrictEqual([...plan.cold], [0, 1])
})

test('a random history is drawn from the reach, newest first, the same for the same seed', () => {
  const stream = clicks(...Array.from({ length: 60 }, (_, i): [number, number, number] => [i, 0, i]))
  const drawn = (seed: number): number[][] => {
    const options = { from: 40, until: 60, historyLength: 4, reach: 20, keep: 'random', seed } as const
    const plan = planEvaluation(stream, new Float64Array(60), options)
    return Array.from({ length: plan.events }, (_, e) => [...plan.histories.subarray(e * 4, e * 4 + 4)])
  }
  const histories = drawn(1)
  strictEqual(histories.length, 20)
  for (const [e, history] of histories.entries()) {
    deepStrictEqual(
      history,
      [...new Set(history)].sort((a, b) => b - a),
    )
    for (const item of history) ok(item < 40 + e && item >= 20 + e)
  }
  deepStrictEqual(drawn(1), histories)
  ok(drawn(2).join() !== histories.join())
  ok(
    histories.some((history, e) => history.at(-1)! < 30 + e),
    'older items are drawn too',
  )
})

test('histories of one label need labels', () => {
  const options = { from: 0, until: 9, keep: 'same-label' } as const
  throws(() => planEvaluation(clicks([0, 0, 0]), new Float64Array(1), options), { code: 'SIDESTREAM_USAGE_INVALID' })
})

test('vectors that are not finite are refused, since NaN would outrank everything', async () => {
  const plan = planEvaluation(clicks([0, 0, 0], [10, 0, 1]), new Float64Array(3), { from: 5, until: 20 })
  await rejects(scoreVectors(plan, Float32Array.of(1, NaN, 1), 1), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

/** Users of a few clicks on items around a circle, some of them cold. */
async function scored() {
  const list = Array.from({ length: 400 }, (_, i): [number, number, number] => [i, (i * 7) % 31, (i * i + 3 * i) % (i < 200 ? 20 : 40)])
  const plan = planEvaluation(clicks(...list), new Float64Array(40), { from: 200, until: 400, popularityMs: 50, popularityStepMs: 10 })
  const vectors = Float32Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? Math.cos(i) : Math.sin(i)))
  return { plan, scores: await scoreVectors(plan, vectors, 2, plainSimilarity) }
}

test('the report gives the figures of the summary, each with its interval over users', async () => {
  const { plan, scores } = await scored()
  const report = retrievalReport(plan, scores, { seed: 3, replicates: 200 })
  const summary = summarize(plan, scores)
  deepStrictEqual(Object.keys(report.figures), [...windowFigures])
  deepStrictEqual([report.events, report.users], [plan.events, new Set(plan.users).size])
  for (const name of windowFigures) {
    const { value, low, high, events } = report.figures[name]
    ok(Math.abs(value! - summary[name]) < 1e-12, name)
    ok(low! <= value! && value! <= high!, name)
    if (/ecall/.test(name))
      strictEqual(events, name.startsWith('warm') ? summary.warmEvents : name.startsWith('cold') ? summary.coldEvents : plan.events)
  }
  const warm = Float64Array.from(scores.ranks, (rank, e) => (plan.cold[e] === 1 ? NaN : rank < 25 ? 1 : 0))
  const { mean, low, high } = bootstrapMean(warm, plan.users, { seed: 3, replicates: 200 })
  deepStrictEqual(report.figures.warmRecall25, { value: mean, low, high, events: summary.warmEvents })
  ok(report.figures.recall1.value! < report.figures.recall10.value! && report.figures.recall25.value! < report.figures.recall100.value!)
})

test('a report over nothing is nulls, and plain JSON', async () => {
  const plan = planEvaluation(clicks([0, 0, 0]), new Float64Array(1), { from: 5, until: 20 })
  const report = retrievalReport(plan, await scoreVectors(plan, Float32Array.of(1), 1, plainSimilarity))
  deepStrictEqual(report.figures.coldRecall50, { value: null, low: null, high: null, events: 0 })
  deepStrictEqual(JSON.parse(JSON.stringify(report)), report)
})

test('figures drawn together have the intervals that they have alone', () => {
  const columns = [0, 1, 2].map((c) => Float64Array.from({ length: 90 }, (_, i) => (c === 1 && i % 3 === 0 ? NaN : Math.sin(i + c))))
  const users = Int32Array.from({ length: 90 }, (_, i) => i % 17)
  deepStrictEqual(
    bootstrapMeans(columns, users, { seed: 2, replicates: 50 }),
    columns.map((values) => bootstrapMean(values, users, { seed: 2, replicates: 50 })),
  )
})

test('means over no event are NaN, over some only those that have a value', async () => {
  const plan = planEvaluation(clicks([0, 0, 0], [10, 0, 1]), new Float64Array(3), { from: 5, until: 20 })
  const summary = summarize(plan, await scoreVectors(plan, Float32Array.of(1, 1, -1), 1, plainSimilarity))
  deepStrictEqual(
    [summary.events, summary.warmEvents, summary.coldEvents, summary.warmUni, summary.coldUni, summary.coldPop, summary.recall10],
    [1, 0, 1, NaN, 1, NaN, 1],
  )
})

test('a matrix of another shape is refused', async () => {
  const plan = planEvaluation(clicks([0, 0, 0]), new Float64Array(3), { from: 0, until: 1 })
  await rejects(scoreVectors(plan, new Float32Array(5), 2), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('the interval over users holds the mean, narrows with users and ignores missing values', () => {
  const values = Float64Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? 1 : 0))
  const alone = Int32Array.from(values.keys())
  const { mean, low, high, events } = bootstrapMean(values, alone)
  deepStrictEqual([mean, events], [0.5, 400])
  // Standard error .025: the bounds of 1,000 draws stand at 1.96 of them, give or take.
  ok(Math.abs(low - 0.451) < 0.006 && Math.abs(high - 0.549) < 0.006, `${low}, ${high}`)
  const withGaps = Float64Array.from({ length: 800 }, (_, i) => (i % 2 === 0 ? values[i / 2]! : NaN))
  deepStrictEqual(bootstrapMean(withGaps, Int32Array.from(withGaps.keys())), { mean, low, high, events })
})

test('events of one user are drawn together: fewer users, wider interval', () => {
  const values = Float64Array.from({ length: 400 }, (_, i) => (i < 200 ? 1 : 0))
  const width = (users: number): number => {
    const { low, high } = bootstrapMean(
      values,
      Int32Array.from(values, (_, i) => Math.floor((i * users) / 400)),
    )
    return high - low
  }
  ok(width(20) > 3 * width(400))
})

test('the same seed gives the same interval, another one another', () => {
  const values = Float64Array.from({ length: 100 }, (_, i) => Math.sin(i))
  const users = Int32Array.from(values, (_, i) => i % 30)
  deepStrictEqual(bootstrapMean(values, users, { seed: 4 }), bootstrapMean(values, users, { seed: 4 }))
  ok(bootstrapMean(values, users, { seed: 4 }).low !== bootstrapMean(values, users, { seed: 5 }).low)
})

test('no event, no interval', () => {
  deepStrictEqual(bootstrapMean(Float64Array.of(NaN), Int32Array.of(0)), { mean: NaN, low: NaN, high: NaN, events: 0 })
})
