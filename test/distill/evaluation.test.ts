import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { bootstrapMean, plainSimilarity, planEvaluation, scoreVectors, summarize } from '../../distill/index.ts'

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
