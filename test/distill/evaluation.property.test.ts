/** The evaluation against its definition, written out event by event with no shortcut. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { openSimilarity, plainSimilarity, planEvaluation, scoreVectors, summarize } from '../../distill/index.ts'
import type { EvaluationOptions, EvaluationStream } from '../../distill/index.ts'

interface Click {
  readonly time: number
  readonly user: number
  readonly item: number
}

interface Scored {
  readonly user: number
  readonly cold: number
  readonly uniform: number
  readonly popularity: number
  readonly rank: number
}

const streamOf = (clicks: readonly Click[]): EvaluationStream => ({
  times: Float64Array.from(clicks, ({ time }) => time),
  users: Int32Array.from(clicks, ({ user }) => user),
  items: Int32Array.from(clicks, ({ item }) => item),
})

/** AUC by pairs: the share of negatives below the target, ties half, each negative with its weight. */
function pairAuc(target: number, negatives: readonly { readonly score: number; readonly weight: number }[]): number {
  let won = 0
  let all = 0
  for (const { score, weight } of negatives) {
    won += weight * (target > score ? 1 : target === score ? 0.5 : 0)
    all += weight
  }
  return won / all
}

function definition(
  clicks: readonly Click[],
  since: Float64Array,
  vectors: readonly (readonly number[])[],
  options: Required<Omit<EvaluationOptions, 'seed'>>,
): Scored[] {
  const events: Scored[] = []
  let index = 0
  const unit = vectors.map((v) => {
    const norm = Math.hypot(...v)
    return v.map((x) => (norm > 0 ? x / norm : 0))
  })
  clicks.forEach(({ time, user, item }, at) => {
    if (time < options.from || time >= options.until || item < 0 || since[item]! > time) return
    const earlier = clicks.slice(0, at).filter((click) => click.user === user && click.item >= 0)
    const recent = [...new Set(earlier.map((click) => click.item).toReversed())].slice(0, options.reach)
    const { labels } = options
    const alike = recent.filter((i) => options.keep === 'newest' || (labels[i]! >= 0 && labels[i] === labels[item]))
    const history = alike.slice(0, options.historyLength)
    if (history.length === 0 || recent.includes(item)) return
    if (index++ % options.every !== options.offset) return
    const taste = unit[0]!.map((_, d) => history.reduce((sum, h) => sum + unit[h]![d]!, 0))
    const score = (i: number): number => unit[i]!.reduce((sum, x, d) => sum + x * taste[d]!, 0)
    const end = Math.floor(time / options.popularityStepMs) * options.popularityStepMs
    const clicksOf = (i: number): number =>
      clicks.filter((click) => click.item === i && click.time >= end - options.popularityMs && click.time < end).length
    const negatives = [...since.keys()].filter((i) => since[i]! <= time && i !== item && !history.includes(i))
    const target = score(item)
    events.push({
      user,
      cold: clicks.some((click) => click.item === item && click.time < options.coldBefore) ? 0 : 1,
      uniform: pairAuc(
        target,
        negatives.map((i) => ({ score: score(i), weight: 1 })),
      ),
      popularity: pairAuc(
        target,
        negatives.map((i) => ({ score: score(i), weight: clicksOf(i) })),
      ),
      rank: negatives.filter((i) => score(i) > target || (score(i) === target && i < item)).length,
    })
  })
  return events
}

const items = 8
const world = fc.record({
  clicks: fc
    .array(fc.record({ time: fc.nat({ max: 200 }), user: fc.nat({ max: 3 }), item: fc.integer({ min: -1, max: items - 1 }) }), {
      minLength: 40,
      maxLength: 80,
    })
    .map((list) => list.toSorted((a, b) => a.time - b.time)),
  since: fc.array(fc.oneof(fc.nat({ max: 150 }), fc.constant(Infinity)), { minLength: items, maxLength: items }),
  // One axis per item: sums are exact, so that ties are ties in every arithmetic. 0 = no vector.
  axes: fc.array(fc.nat({ max: 3 }), { minLength: items, maxLength: items }),
  histories: fc.oneof(
    fc.constant({}),
    fc.record({
      reach: fc.integer({ min: 3, max: 6 }),
      keep: fc.constantFrom('newest' as const, 'same-label' as const),
      labels: fc.array(fc.integer({ min: -1, max: 1 }), { minLength: items, maxLength: items }).map((list) => Int32Array.from(list)),
    }),
  ),
})

const options = {
  from: 40,
  until: 180,
  coldBefore: 60,
  historyLength: 3,
  reach: 3,
  keep: 'newest' as const,
  labels: new Int32Array(items),
  every: 2,
  offset: 1,
  maxEvents: Infinity,
  popularityMs: 50,
  popularityStepMs: 10,
}

test('AUCs, ranks and cold flags are those of the definition', async () => {
  let scored = 0
  await fc.assert(
    fc.asyncProperty(world, async ({ clicks, since, axes, histories }) => {
      const vectors = axes.map((axis) => [1, 2, 3].map((a) => (a === axis ? axis * 1.5 : 0)))
      const plan = planEvaluation(streamOf(clicks), Float64Array.from(since), { ...options, ...histories })
      const { uniform, popularity, ranks } = await scoreVectors(plan, Float32Array.from(vectors.flat()), 3, plainSimilarity)
      const actual = [...ranks].map((rank, e) => ({
        user: plan.users[e]!,
        cold: plan.cold[e]!,
        uniform: uniform[e]!,
        popularity: popularity[e]!,
        rank,
      }))
      const expected = definition(clicks, Float64Array.from(since), vectors, { ...options, ...histories })
      strictEqual(actual.length, expected.length)
      actual.forEach(({ uniform, popularity, ...rest }, e) => {
        const { uniform: u, popularity: p, ...others } = expected[e]!
        deepStrictEqual(rest, others)
        ok(Object.is(uniform, u) || Math.abs(uniform - u) < 1e-12, `uniform ${uniform}, not ${u}`)
        ok(Object.is(popularity, p) || Math.abs(popularity - p) < 1e-12, `popularity ${popularity}, not ${p}`)
      })
      scored += actual.length
    }),
    { numRuns: 300 },
  )
  ok(scored > 300, `only ${scored} events were scored`)
})

test('the matrix product and the plain loop rank alike, also beyond one block', async () => {
  const clicks = Array.from({ length: 900 }, (_, i) => ({ time: i, user: i % 40, item: (i * 7919) % 211 }))
  const since = new Float64Array(211)
  const dim = 5
  const vectors = Float32Array.from({ length: 211 * dim }, (_, i) => Math.sin(i * i + 1))
  const plan = planEvaluation(streamOf(clicks), since, { from: 300, until: 900, popularityMs: 200, popularityStepMs: 10 })
  ok(plan.events > 400)
  const fast = await scoreVectors(plan, vectors, dim, openSimilarity)
  const plain = await scoreVectors(plan, vectors, dim, plainSimilarity)
  // Sums of another order may swap items that are equal but for their last bit.
  fast.ranks.forEach((rank, e) => ok(Math.abs(rank - plain.ranks[e]!) <= 1))
  fast.uniform.forEach((value, e) => ok(Math.abs(value - plain.uniform[e]!) < 0.01))
  const [one, other] = [summarize(plan, fast), summarize(plan, plain)]
  for (const name of ['uni', 'pop', 'recall10'] as const) ok(Math.abs(one[name] - other[name]) < 1e-4, name)
  const doubled = await scoreVectors(
    plan,
    vectors.map((x) => x * 4),
    dim,
  )
  deepStrictEqual(doubled.ranks, fast.ranks, 'lengths of vectors do not count')
})

test('items of equal vectors tie and take half of each other', async () => {
  const clicks = [
    { time: 0, user: 0, item: 0 },
    { time: 1, user: 1, item: 2 },
    { time: 10, user: 0, item: 1 },
  ]
  const plan = planEvaluation(streamOf(clicks), new Float64Array(4), { from: 5, until: 11, popularityMs: 8, popularityStepMs: 2 })
  const { uniform, popularity, ranks } = await scoreVectors(plan, Float32Array.of(1, 0, 1, 1, 1, 1, -1, 0), 2)
  deepStrictEqual([...uniform], [0.75])
  deepStrictEqual([...popularity], [NaN], 'the span [2, 10) is empty')
  deepStrictEqual([...ranks], [0], 'ties go to the lower number')
})
