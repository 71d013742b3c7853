import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { churn, duplicates, encode, encodeSticky, reconstruction, usage } from '../../semantic-ids/index.ts'
import { codebooks, encoded, flat, golden, refreshed, settings, weights, x } from './golden.ts'

const near = (actual: number, expected: number, what: string): void =>
  ok(Math.abs(actual - expected) <= 1e-12 * Math.max(1, Math.abs(expected)), `${what}: ${actual}, golden ${expected}`)

test('usage equals the golden numbers', () => {
  const report = usage(encoded, [6, 5])
  const { items, distinct, max_bucket, p99_bucket, levels, ...rates } = golden.usage
  deepStrictEqual([report.items, report.distinct, report.maxBucket, report.p99Bucket], [items, distinct, max_bucket, p99_bucket])
  near(report.uniqueRate, rates.unique_rate, 'unique rate')
  near(report.uniquelyIdentified, rates.uniquely_identified_rate, 'uniquely identified')
  near(report.gini, rates.gini, 'gini')
  near(report.entropy, rates.entropy, 'entropy')
  near(report.entropyRatioCapacity, rates.entropy_ratio_capacity, 'capacity ratio')
  near(report.entropyRatioAttainable, rates.entropy_ratio_attainable, 'attainable ratio')
  for (const [level, expected] of levels.entries()) {
    const actual = report.levels[level]!
    deepStrictEqual([actual.used, actual.dead, actual.histogram], [expected.used, expected.dead, expected.histogram])
    near(actual.coverage, expected.coverage, 'coverage')
    near(actual.entropy, expected.entropy, 'level entropy')
    near(actual.perplexity, expected.perplexity, 'perplexity')
    near(actual.headShare, expected.head_share, 'head share')
  }
})

test('reconstruction equals the golden numbers', () => {
  const report = reconstruction(x, encoded, codebooks, settings)
  near(report.distortion, golden.reconstruction.mean_squared_l2, 'distortion')
  near(report.meanSquaredError, golden.reconstruction.mse_per_dimension, 'mse')
  near(report.fvu, golden.reconstruction.fvu, 'fvu')
  near(report.meanCosine, golden.reconstruction.mean_cosine, 'cosine')
  for (const level of [0, 1]) {
    near(report.residualNorms[level]!, golden.encode.residual_norm_mean[level], 'residual norm')
    near(report.residualEnergy[level]!, golden.encode.relative_residual_energy[level], 'residual energy')
  }
})

test('duplicates are told apart from genuine collisions as in the golden file', () => {
  deepStrictEqual(duplicates(x, encoded, 4, [6, 5]), {
    distinctVectors: golden.duplicates.distinct_vectors,
    duplicateRows: golden.duplicates.duplicate_rows,
    groups: golden.duplicates.duplicate_groups,
    collidingVectors: golden.duplicates.genuine_colliding_vectors,
    uniqueRateOverDistinct: golden.duplicates.unique_rate_over_distinct_vectors,
  })
})

test('churn and FVU of frozen, sticky and keep-all equal the golden numbers', () => {
  const old = Int32Array.from(encoded)
  for (const [name, delta] of [
    ['frozen_reencode', 0],
    ['sticky_0.25', 0.25],
    ['keep_all', Infinity],
  ] as const) {
    const expected = golden.refresh[name]
    const codes = encodeSticky(refreshed, codebooks, settings, { old, delta })
    const report = churn(encoded, codes, 2, weights)
    near(report.full, expected.churn.full, `${name} full`)
    near(report.firstCode, expected.churn.prefix_1, `${name} first code`)
    deepStrictEqual(report.prefix, [report.firstCode, report.full])
    near(report.perLevel[1]!, expected.churn.level_2_any, `${name} level 2`)
    near(report.trafficWeighted!, expected.churn.full_traffic_weighted, `${name} traffic`)
    near(report.meanCommonPrefix, expected.churn.mean_common_prefix, `${name} common prefix`)
    near(reconstruction(refreshed, codes, codebooks, settings).fvu, expected.fvu, `${name} fvu`)
  }
})

test('buckets stay apart where the product of the sizes passes 2^53', () => {
  const sizes = [2048, 2048, 2048, 2048, 2048, 2048]
  const codes = flat([
    [2047, 2047, 2047, 2047, 2047, 2046],
    [2047, 2047, 2047, 2047, 2047, 2047],
    [2047, 2047, 2047, 2047, 2047, 2047],
    [0, 0, 0, 0, 0, 0],
  ])
  const report = usage(codes, sizes)
  deepStrictEqual([report.distinct, report.maxBucket, report.uniquelyIdentified], [3, 2, 0.5])
  ok(report.entropyRatioCapacity < report.entropyRatioAttainable)
})

test('degenerate inputs give defined figures', () => {
  const none = usage(new Uint16Array(0), [4, 4])
  deepStrictEqual([none.items, none.uniqueRate, none.maxBucket, none.p99Bucket, none.gini, none.entropy], [0, 0, 0, 0, 0, 0])
  equal(usage(Uint16Array.of(0, 0), [1]).entropyRatioCapacity, 1)
  const same = Float32Array.from({ length: 40 }, (_, i) => codebooks.levels[0]![i % 4]!)
  const met = reconstruction(same, new Uint16Array(10), { dim: 4, sizes: [1], levels: [codebooks.levels[0]!.slice(0, 4)] }, settings)
  deepStrictEqual([met.fvu, met.distortion], [0, 0])
  const missed = reconstruction(same, new Uint16Array(10), { dim: 4, sizes: [1], levels: [Float32Array.of(9, 9, 9, 9)] }, settings)
  equal(missed.fvu, Infinity)
  equal(
    reconstruction(new Float32Array(8), encode(new Float32Array(8), codebooks, { normalize: true }), codebooks, { normalize: true })
      .meanCosine,
    0,
  )
})

test('churn refuses different cohorts', () => {
  throws(() => churn([1, 2], [1, 2, 3, 4], 2), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => churn([1, 2], [1, 2], 2, new Float64Array(3)), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})
