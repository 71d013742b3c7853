import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { before, test } from 'node:test'
import { uniform, uniformInt } from '../../compute/index.ts'
import { judge, neighborRecall, pickCandidate, plainSimilarity } from '../../distill/index.ts'
import type { JudgeInput, Judgement } from '../../distill/index.ts'

const items = 200
const topics = 10
const dim = 12

/** Items around topics; `blur` mixes them. */
function vectorsOf(blur: number, seed: number): Float32Array {
  return Float32Array.from({ length: items * dim }, (_, at) => {
    const item = Math.floor(at / dim)
    return (at % dim === item % topics ? 1 : 0) + blur * (2 * uniform(seed, 0, at) - 1)
  })
}

/** Users who stay with one topic; half of the items appear only in the window. */
function worldOf(): Pick<JudgeInput, 'stream' | 'since' | 'window'> {
  const times: number[] = []
  const users: number[] = []
  const clicked: number[] = []
  for (let i = 0; i < 6000; i++) {
    const user = uniformInt(9, 1, i, 400)
    const rank = uniformInt(9, 0, i, i < 3000 ? 10 : 20)
    times.push(i * 1000)
    users.push(user)
    clicked.push((user % topics) + topics * rank)
  }
  return {
    stream: { times: Float64Array.from(times), users: Int32Array.from(users), items: Int32Array.from(clicked) },
    since: Float64Array.from({ length: items }, (_, item) => (item < items / 2 ? 0 : 3_000_000)),
    window: { from: 3_000_000, until: 6_000_000 },
  }
}

const world = worldOf()
const raw = { vectors: vectorsOf(0.3, 1), dim }
const options = { minNeighborRecall: 0.6 }
let fair: Judgement
before(async () => (fair = await judge({ ...world, raw, candidate: raw }, options, plainSimilarity)))

test('a candidate as good as the raw vectors passes, with a figure for every clause', () => {
  strictEqual(fair.verdict, 'pass')
  deepStrictEqual(fair.warnings, [])
  ok(fair.events > 1500)
  for (const { verdict } of fair.clauses) ok(verdict === 'pass' || verdict === 'reported')
  ok(fair.metrics.candidate.coldUni! > 0.8, 'topics are visible in the raw vectors')
  strictEqual(fair.metrics.live, null)
})

test('a candidate that knows less is refused by clauses that say so', async () => {
  const { verdict, clauses } = await judge({ ...world, raw, candidate: { vectors: vectorsOf(3, 2), dim } }, options, plainSimilarity)
  strictEqual(verdict, 'refused')
  const failed = clauses.filter((clause) => clause.verdict === 'fail').map(({ name }) => name)
  ok(
    failed.includes('content-neighbor-recall') && failed.includes('cold-popularity-auc') && failed.includes('warm-popularity-auc'),
    failed.join(),
  )
})

test('a candidate worse than the live version, though better than raw, is refused for warm items', async () => {
  const blurred = { vectors: vectorsOf(1.2, 3), dim }
  const input = { ...world, raw: blurred, candidate: raw, live: { vectors: vectorsOf(0, 4), dim } }
  const { clauses, metrics } = await judge(input, { minNeighborRecall: 0 }, plainSimilarity)
  const failed = clauses.filter(({ verdict }) => verdict === 'fail')
  ok(failed.length > 0)
  for (const { name, against } of failed) ok(name.startsWith('warm') && against === 'live', name)
  ok(metrics.live!.warmRecall10! > metrics.candidate.warmRecall10! && metrics.candidate.warmRecall10! > metrics.raw.warmRecall10!)
})

test('held-out pairs give figures of their own and decide about content', async () => {
  const pairs = { queries: Int32Array.from({ length: items }, (_, item) => item), targets: new Int32Array(items) }
  pairs.queries.forEach((query, p) => (pairs.targets[p] = (query + topics) % items))
  const fewer = { ...options, minEvents: 100 }
  const passed = await judge({ ...world, raw, candidate: raw, pairs }, fewer, plainSimilarity)
  deepStrictEqual([passed.verdict, passed.reasons], ['pass', []])
  const { candidate, raw: content } = passed.metrics
  ok(candidate.pairRecall50! > 0.9 && candidate.pairSeparation! > 0.9 && candidate.pairRecall50 === content.pairRecall50)
  const { clauses, reasons } = await judge({ ...world, raw, pairs, candidate: { vectors: vectorsOf(3, 2), dim } }, fewer, plainSimilarity)
  const verdictOf = (wanted: string) => clauses.find(({ name }) => name === wanted)!.verdict
  deepStrictEqual([verdictOf('content-pair-recall-50'), verdictOf('content-neighbor-recall')], ['fail', 'reported'])
  ok(
    reasons.some((reason) => /^content-pair-recall-50 0\.\d{4} against 1\.0000 \(raw\)$/.test(reason)),
    reasons.join(),
  )
})

test('a threshold of the gate refuses with its reason, beside clauses that pass', async () => {
  const rules = { coldRecall10: { min: 0.99 }, warmUni: { min: 0.5 }, recall1: { maxLoss: 0 }, neighborRecall: { min: 0.5 } }
  const judged = await judge({ ...world, raw, candidate: raw }, { ...options, gate: rules }, plainSimilarity)
  strictEqual(judged.verdict, 'refused')
  ok(judged.clauses.every(({ verdict }) => verdict !== 'fail'))
  deepStrictEqual(
    judged.gate.map(({ figure, verdict }) => [figure, verdict]),
    [
      ['coldRecall10', 'fail'],
      ['warmUni', 'pass'],
      ['recall1', 'pass'],
      ['neighborRecall', 'pass'],
    ],
  )
  const [reason, ...others] = judged.reasons
  deepStrictEqual([reason, others], [`coldRecall10 ${judged.metrics.candidate.coldRecall10!.toFixed(4)}, at least 0.99 is allowed`, []])
})

test('vectors that are not finite are refused for that, instead of ranking first everywhere', async () => {
  const broken = raw.vectors.map((value, at) => (Math.floor(at / dim) % 4 === 1 ? NaN : value))
  const judged = await judge({ ...world, raw, candidate: { vectors: broken, dim } }, options, plainSimilarity)
  deepStrictEqual([judged.verdict, judged.reasons], ['refused', ['finite-vectors 0.7500 against 1.0000 (threshold)']])
  deepStrictEqual(JSON.parse(JSON.stringify(judged)), judged)
})

test('a short window passes with warnings', async () => {
  const window = { from: 3_000_000, until: 3_100_000 }
  const { verdict, warnings } = await judge(
    { ...world, window, raw, candidate: { vectors: vectorsOf(3, 2), dim } },
    { minNeighborRecall: 0 },
  )
  strictEqual(verdict, 'pass')
  strictEqual(warnings.length, 4)
})

test('a judgment is plain JSON and the same every time', async () => {
  deepStrictEqual(JSON.parse(JSON.stringify(fair)), fair)
  deepStrictEqual(await judge({ ...world, raw, candidate: raw }, options, plainSimilarity), fair)
})

test('the candidate is the newest checkpoint whose window has passed', () => {
  const checkpoints = [{ trainedUntil: 100 }, { trainedUntil: 300 }, { trainedUntil: 200 }]
  strictEqual(pickCandidate(checkpoints, 149, 50), undefined)
  strictEqual(pickCandidate(checkpoints, 150, 50), checkpoints[0])
  strictEqual(pickCandidate(checkpoints, 349, 50), checkpoints[2])
  strictEqual(pickCandidate(checkpoints, Infinity, 50), checkpoints[1])
})

test('equal vectors keep all neighbors, unrelated ones about fifty in all', async () => {
  const sets = { raw: raw.vectors, rawDim: dim, candidate: raw.vectors, dim, items }
  deepStrictEqual(await neighborRecall(sets), { recall: 1, items, recalls: new Float64Array(items).fill(1) })
  const chance = await neighborRecall({
    ...sets,
    candidate: Float32Array.from({ length: items * 3 }, (_, i) => uniform(11, 0, i) - 0.5),
    dim: 3,
  })
  ok(Math.abs(chance!.recall - 50 / 199) < 0.05, String(chance?.recall))
})

test('neighbor recall is its definition', async () => {
  const candidate = vectorsOf(1, 5)
  const nearest = (vectors: Float32Array, item: number, k: number): number[] => {
    const row = (i: number): Float32Array => vectors.subarray(i * dim, (i + 1) * dim)
    const cosines = Array.from(
      { length: items },
      (_, i) => row(i).reduce((sum, x, d) => sum + x * row(item)[d]!, 0) / Math.hypot(...row(i)),
    )
    return cosines
      .map((_, i) => i)
      .filter((i) => i !== item)
      .sort((a, b) => cosines[b]! - cosines[a]!)
      .slice(0, k)
  }
  let kept = 0
  for (let item = 0; item < items; item++) {
    const found = nearest(candidate, item, 50)
    kept += nearest(raw.vectors, item, 10).filter((i) => found.includes(i)).length
  }
  const result = await neighborRecall({ raw: raw.vectors, rawDim: dim, candidate, dim, items }, {}, plainSimilarity)
  strictEqual(result!.recall, kept / (items * 10))
  strictEqual(Math.round(result!.recalls.reduce((sum, one) => sum + 10 * one, 0)), kept)
})

test('with too few items there is nothing to tell', async () => {
  strictEqual(await neighborRecall({ raw: new Float32Array(51), rawDim: 1, candidate: new Float32Array(51), dim: 1, items: 51 }), undefined)
})
