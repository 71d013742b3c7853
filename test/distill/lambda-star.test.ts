/** lambda*: golden curves, the law of the sharded form, and which pairs are negatives. */
import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  countScores,
  emptyHistogram,
  lambdaStar,
  lambdaStarInBins,
  lambdaStarOfPairs,
  mergeHistograms,
  openBins,
  plainSimilarity,
  scoresInBins,
  type LambdaStar,
} from '../../distill/index.ts'
import { fillNormal } from '../../compute/index.ts'
import { isSidestreamError } from '../../schemas/index.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8'))
const mismatch = (error: unknown): boolean => isSidestreamError(error) && error.code === 'SIDESTREAM_SHAPE_MISMATCH'
const floats = (values: readonly number[]): Float32Array => Float32Array.from(values)

function sides({ score, is_positive: labels }: { score: number[]; is_positive: number[] }): {
  positives: Float32Array
  negatives: Float32Array
} {
  return {
    positives: floats(score.filter((_, i) => labels[i] === 1)),
    negatives: floats(score.filter((_, i) => labels[i] === 0)),
  }
}

test('golden: the threshold of the curve, with the negatives thrown away', () => {
  const { inputs, outputs } = golden.lambda_star
  const { positives, negatives } = sides(inputs)
  const found = lambdaStar(positives, negatives)
  strictEqual(found.lambda, Math.fround(outputs.lambda))
  strictEqual(found.f1, outputs.f1)
  strictEqual(found.falseNegatives, outputs.negatives_thrown_away)
  deepStrictEqual(
    [...negatives.filter((score) => score < found.lambda)].sort((a, b) => b - a).slice(0, 3),
    outputs.hard_top3_below.map(Math.fround),
  )
})

test('golden: of two thresholds with the same F1 the larger one', () => {
  const { inputs, outputs } = golden.lambda_star_tied_f1
  const { positives, negatives } = sides(inputs)
  const found = lambdaStar(positives, negatives)
  strictEqual(found.lambda, Math.fround(outputs.lambda))
  strictEqual(found.f1, outputs.f1)
})

/** The definition, word for word: F1 at every score, in BigInt, largest threshold first. */
function byDefinition(positives: Float32Array, negatives: Float32Array): LambdaStar {
  const thresholds = [...new Set([...positives, ...negatives])].sort((a, b) => b - a)
  const n = positives.length
  let best = { lambda: Infinity, truePositives: 0, predicted: 0 }
  for (const lambda of thresholds) {
    const truePositives = positives.filter((score) => score >= lambda).length
    const predicted = truePositives + negatives.filter((score) => score >= lambda).length
    if (truePositives * (n + best.predicted) > best.truePositives * (n + predicted)) best = { lambda, truePositives, predicted }
  }
  return {
    ...best,
    lambda: best.lambda + 0,
    f1: (2 * best.truePositives) / (n + best.predicted),
    positives: n,
    negatives: negatives.length,
    falseNegatives: best.predicted - best.truePositives,
  }
}

/** Two passes over shards of scores, as workers would do it. */
function sharded(shards: readonly { positives: Float32Array; negatives: Float32Array }[]): LambdaStar {
  const histogram = emptyHistogram()
  for (const { positives, negatives } of shards) {
    const own = emptyHistogram()
    countScores(own.positives, positives)
    countScores(own.negatives, negatives)
    mergeHistograms(histogram, own)
  }
  const open = openBins(histogram)
  const gathered = (side: 'positives' | 'negatives'): Float32Array =>
    floats(shards.flatMap((shard) => [...scoresInBins(open, shard[side])]))
  return lambdaStarInBins(histogram, open, gathered('positives'), gathered('negatives'))
}

// Ties within a bin and across it, neighbors one step apart, both zeros, and scores past the ends.
const bin = 2 ** -15
const cosine = fc.oneof(
  fc.constantFrom(0, -0, 1, -1, 0.5, 0.5 + bin / 2, 0.5 + bin, 0.5 - bin / 4, 1.0000001, -1.5, 7),
  fc.float({ min: -1, max: 1, noNaN: true }),
)
const cosines = fc.array(cosine, { maxLength: 40 }).map(floats)
const somePositives = fc.array(cosine, { minLength: 1, maxLength: 25 }).map(floats)

test('lambda* is the threshold of the definition, sorted or in shards', () => {
  fc.assert(
    fc.property(somePositives, cosines, fc.nat(5), (positives, negatives, cut) => {
      const expected = byDefinition(positives, negatives)
      deepStrictEqual(lambdaStar(positives, negatives), expected)
      const shards = [
        { positives: positives.subarray(0, cut), negatives: negatives.subarray(cut) },
        { positives: positives.subarray(cut), negatives: negatives.subarray(0, cut) },
      ]
      deepStrictEqual(sharded(shards), expected)
    }),
    { numRuns: 500 },
  )
})

test('all scores equal: everything is predicted; one pair alone: its own score', () => {
  for (const find of [lambdaStar, (positives: Float32Array, negatives: Float32Array) => sharded([{ positives, negatives }])]) {
    const equal = find(floats([0.25, 0.25]), floats([0.25, 0.25, 0.25]))
    deepStrictEqual([equal.lambda, equal.f1, equal.falseNegatives], [0.25, 4 / 7, 3])
    const alone = find(floats([-0.5]), floats([]))
    deepStrictEqual([alone.lambda, alone.f1, alone.positives, alone.negatives], [-0.5, 1, 1, 0])
  }
})

test('only bins that can hold the best threshold are opened', () => {
  const positives = new Float32Array(2000)
  const negatives = new Float32Array(200_000)
  fillNormal(positives, 3, 1)
  fillNormal(negatives, 3, 2)
  positives.forEach((value, i) => (positives[i] = 0.55 + 0.15 * value))
  negatives.forEach((value, i) => (negatives[i] = 0.1 + 0.13 * value))
  const histogram = emptyHistogram()
  countScores(histogram.positives, positives)
  countScores(histogram.negatives, negatives)
  const open = openBins(histogram)
  const kept = scoresInBins(open, negatives).length
  ok(kept < negatives.length / 100, `${kept} of ${negatives.length} negatives had to be sorted`)
  deepStrictEqual(sharded([{ positives, negatives }]), lambdaStar(positives, negatives))
})

test('F1 is compared exactly past 2^53', () => {
  // a positives at .5 and one more at -.5. With N + k = a m + v at the first and (a + 1) m + v at the second threshold the two
  // products are about 2^55 and differ by v alone, which float64 cannot see.
  const a = 4096
  const m = 2 ** 31
  const n = a + 1
  const positives = new Float32Array(n).fill(0.5, 0, a).fill(-0.5, a)
  for (const v of [-1, 0, 1]) {
    const histogram = emptyHistogram()
    countScores(histogram.positives, positives)
    const above = a * m + v - n - a
    const binAt = (score: number): number => (score + 1) * 2 ** 15
    histogram.negatives[binAt(0.75)] = above
    histogram.negatives[binAt(0)] = (a + 1) * m + v - n - (a + 1) - above
    const open = openBins(histogram)
    const found = lambdaStarInBins(histogram, open, scoresInBins(open, positives), floats([]))
    strictEqual(found.lambda, v > 0 ? -0.5 : 0.5, `v ${v}`)
  }
})

test('scores that are no numbers, and no positives at all, are refused', () => {
  throws(() => lambdaStar(floats([NaN]), floats([0])), mismatch)
  throws(() => lambdaStar(floats([0]), floats([0, NaN])), mismatch)
  throws(() => lambdaStar(floats([0]), floats([Infinity])), mismatch)
  throws(() => lambdaStar(floats([]), floats([0])), mismatch)
  throws(() => countScores(emptyHistogram().positives, floats([0, NaN])), mismatch)
  throws(() => openBins(emptyHistogram()), mismatch)
})

test('scores other than those counted are refused', () => {
  const histogram = emptyHistogram()
  countScores(histogram.positives, floats([0.5, 0.25]))
  countScores(histogram.negatives, floats([0.5]))
  const open = openBins(histogram)
  for (const [positives, negatives] of [
    [[0.5], [0.5]],
    [[0.5, 0.25], []],
    [[0.5, 0.25, 0.25], [0.5]],
    [
      [0.5, 0.25],
      [0.5, 0.5],
    ],
    [[0.5, 0.3], [0.5]],
  ] as const) {
    throws(() => lambdaStarInBins(histogram, open, floats(positives), floats(negatives)), mismatch)
  }
})

test('golden: pairs of vectors, and the same with the worker', async () => {
  const { inputs, outputs } = golden.hard_negatives
  const queries = floats(inputs.q_unit.flat())
  const targets = floats(inputs.t_unit.flat())
  const ids = inputs.q_unit.map((_: unknown, i: number) => `${i}`)
  const pairs = { queryIds: ids, targetIds: ids.map((id: string) => `t${id}`) }
  for (const open of [undefined, plainSimilarity]) {
    const found = await lambdaStarOfPairs({ queries, targets, dim: 3 }, pairs, open)
    ok(Math.abs(found.lambda - outputs.lambda) < 1e-6)
    strictEqual(found.f1, outputs.f1)
    strictEqual(found.falseNegatives, outputs.dropped_as_false_negative.length)
    deepStrictEqual([found.positives, found.negatives], [5, 20])
  }
})

/** Every pair of rows by the definition of a negative; scores from the same similarity. */
test('a target that is positive by accident, or excluded, is no negative', async () => {
  const rows = 300
  const dim = 8
  const queries = new Float32Array(rows * dim)
  const targets = new Float32Array(rows * dim)
  fillNormal(queries, 1, 1)
  fillNormal(targets, 1, 2)
  targets.forEach((value, at) => (targets[at] = value + queries[at]!))
  const queryIds = Array.from({ length: rows }, (_, i) => `q${i % 40}`)
  const targetIds = Array.from({ length: rows }, (_, i) => `t${(i * 7) % 90}`)
  const excluded = (row: number): string[] => [`t${row % 3}`, 'nowhere']
  const pairs = { queryIds, targetIds, excluded }
  const found = await lambdaStarOfPairs({ queries, targets, dim }, pairs, plainSimilarity)

  const unit = (x: Float32Array): Float32Array => x.map((v, at) => v / Math.hypot(...x.subarray(at - (at % dim), at - (at % dim) + dim)))
  const { similarity } = await plainSimilarity(unit(targets), dim, rows)
  const scores = await similarity(unit(queries), rows)
  const known = new Set(queryIds.map((id, i) => `${id}>${targetIds[i]}`))
  const own: number[] = []
  const away: number[] = []
  for (let i = 0; i < rows; i++) {
    own.push(scores[i * rows + i]!)
    for (let j = 0; j < rows; j++) {
      if (known.has(`${queryIds[i]}>${targetIds[j]}`) || excluded(i).includes(targetIds[j]!)) continue
      away.push(scores[i * rows + j]!)
    }
  }
  const expected = lambdaStar(floats(own), floats(away))
  strictEqual(found.positives, rows)
  ok(found.negatives < rows * (rows - 1))
  deepStrictEqual(found, expected)
})

test('pairs of the wrong shape, and vectors that are no numbers, are refused', async () => {
  const pairs = { queryIds: ['a', 'b'], targetIds: ['c', 'd'] }
  await rejects(lambdaStarOfPairs({ queries: new Float32Array(4), targets: new Float32Array(2), dim: 2 }, pairs, plainSimilarity), mismatch)
  await rejects(
    lambdaStarOfPairs({ queries: floats([1, 0, NaN, 1]), targets: floats([1, 0, 0, 1]), dim: 2 }, pairs, plainSimilarity),
    mismatch,
  )
  const uneven = { queryIds: ['a', 'b', 'c'], targetIds: ['c', 'd'] }
  await rejects(
    lambdaStarOfPairs({ queries: new Float32Array(4), targets: new Float32Array(4), dim: 2 }, uneven, plainSimilarity),
    mismatch,
  )
})
