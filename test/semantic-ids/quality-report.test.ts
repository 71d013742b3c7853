import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import {
  encode,
  networkOf,
  qualityReport,
  reconstruction,
  slicesByTraffic,
  type QualityInput,
  type QualityReport,
} from '../../semantic-ids/index.ts'
import { codebooks, encoded, golden, refreshed, settings, weights, x } from './golden.ts'
import { defaultQueries } from '../../semantic-ids/neighbor-hits.ts'

const near = (actual: number | null | undefined, expected: number, what: string): void =>
  ok(
    actual !== null && actual !== undefined && Math.abs(actual - expected) <= 1e-12 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, golden ${expected}`,
  )

const ids = Array.from(x.keys())
  .slice(0, 60)
  .map((row) => `item-${String(row).padStart(2, '0')}`)
const input: QualityInput = {
  codes: encoded,
  sizes: [6, 5],
  ids,
  vectors: x,
  dim: 4,
  codebooks,
  settings,
  labels: Int32Array.from(golden.inputs.labels as number[]),
  pairs: (golden.cooccurrence.pairs as number[][]).flat(),
  traffic: weights,
}
const options = { neighbors: { k: 5 } }
const valueOf = (report: QualityReport, figure: string): number | null | undefined =>
  report.figures.find((row) => row.figure === figure)?.value

test('every golden figure comes out of the report', async () => {
  const report = await qualityReport(input, options)
  deepStrictEqual(report.cohort.sizes, [6, 5])
  deepStrictEqual(report.method.neighbors, { k: 5, queries: 60, of: 60, seed: 1 })
  const { usage, reconstruction, duplicates } = golden
  const expected: Record<string, number> = {
    items: usage.items,
    distinct: usage.distinct,
    uniqueRate: usage.unique_rate,
    uniquelyIdentified: usage.uniquely_identified_rate,
    uniquelyIdentifiedOfAll: usage.uniquely_identified_rate,
    maxBucket: usage.max_bucket,
    p99Bucket: usage.p99_bucket,
    gini: usage.gini,
    entropy: usage.entropy,
    entropyRatioCapacity: usage.entropy_ratio_capacity,
    entropyRatioAttainable: usage.entropy_ratio_attainable,
    uniformUniqueRate: (30 / 60) * (1 - Math.exp(-60 / 30)),
    distortion: reconstruction.mean_squared_l2,
    meanSquaredError: reconstruction.mse_per_dimension,
    fvu: reconstruction.fvu,
    meanCosine: reconstruction.mean_cosine,
    distinctVectors: duplicates.distinct_vectors,
    duplicateRows: duplicates.duplicate_rows,
    duplicateGroups: duplicates.duplicate_groups.length,
    collidingVectors: duplicates.genuine_colliding_vectors,
    uniqueRateOverDistinct: duplicates.unique_rate_over_distinct_vectors,
  }
  for (const [level, figures] of usage.levels.entries()) {
    for (const name of ['used', 'coverage', 'dead', 'entropy', 'perplexity']) expected[`level${level + 1}.${name}`] = figures[name]
    expected[`level${level + 1}.headShare`] = figures.head_share
    expected[`level${level + 1}.residualNorm`] = golden.encode.residual_norm_mean[level]
    expected[`level${level + 1}.residualEnergy`] = golden.encode.relative_residual_energy[level]
  }
  for (const [level, figures] of golden.semantics.entries()) {
    const prefix = `prefix${level + 1}.`
    expected[`${prefix}prefixes`] = figures.prefixes
    expected[`${prefix}purity`] = figures.purity
    expected[`${prefix}cohesionPairs`] = figures.cohesion_pairs
    expected[`${prefix}cohesionMacro`] = figures.cohesion_macro
    expected[`${prefix}hitPrecision`] = figures['hit_precision@5']
    expected[`${prefix}hitRecall`] = figures['hit_recall@5']
    expected[`${prefix}queriesWithNeighbors`] = figures.queries_with_neighbours
    expected[`${prefix}coOccurrenceRecall`] = golden.cooccurrence.prefix_recall[level]
  }
  for (const [figure, value] of Object.entries(expected)) near(valueOf(report, figure), value, figure)
})

test('before, after, delta and churn stand over one cohort', async () => {
  for (const name of ['frozen_reencode', 'sticky_0.25', 'whole_id_0.25', 'keep_all'] as const) {
    const expected = golden.refresh[name]
    const codes = Uint16Array.from(expected.codes.flat() as number[])
    const report = await qualityReport({ ...input, codes, vectors: refreshed, before: { codes: encoded, ids, vectors: x } }, options)
    near(valueOf(report, 'churn.full'), expected.churn.full, `${name} full`)
    near(valueOf(report, 'churn.prefix1'), expected.churn.prefix_1, `${name} prefix 1`)
    near(valueOf(report, 'churn.prefix2'), expected.churn.full, `${name} prefix 2`)
    near(valueOf(report, 'churn.level2'), expected.churn.level_2_any, `${name} level 2`)
    near(valueOf(report, 'churn.trafficWeighted'), expected.churn.full_traffic_weighted, `${name} traffic`)
    near(valueOf(report, 'churn.meanCommonPrefix'), expected.churn.mean_common_prefix, `${name} common prefix`)
    const fvu = report.figures.find((row) => row.figure === 'fvu')!
    near(fvu.value, expected.fvu, `${name} fvu`)
    near(fvu.before, golden.reconstruction.fvu, `${name} fvu before`)
    near(fvu.delta, expected.fvu - golden.reconstruction.fvu, `${name} delta`)
  }
})

test('figures are of all items; shared, before, delta and churn of those on both sides', async () => {
  const codes = encode(refreshed, codebooks, settings)
  // Before knows the first 50 and one that has gone; its rows run backwards.
  const back = Array.from({ length: 50 }, (_, i) => 49 - i)
  const before = {
    ids: ['gone', ...back.map((row) => ids[row]!)],
    codes: Uint16Array.from([0, 0, ...back.flatMap((row) => [...encoded.subarray(row * 2, row * 2 + 2)])]),
    vectors: Float32Array.from([1, 0, 0, 0, ...back.flatMap((row) => [...x.subarray(row * 4, row * 4 + 4)])]),
  }
  const now = { ...input, codes, vectors: refreshed }
  const report = await qualityReport({ ...now, before }, { ...options, minShared: 0.5 })
  const alone = await qualityReport(now, options)
  const { pairs, traffic, labels } = input
  const part = await qualityReport(
    {
      ...now,
      ids: ids.slice(0, 50),
      codes: codes.slice(0, 100),
      vectors: refreshed.slice(0, 200),
      labels: (labels as Int32Array).slice(0, 50),
      pairs: Array.from(pairs!).flatMap((one, at, all) => (at % 2 === 0 && one < 50 && all[at + 1]! < 50 ? [one, all[at + 1]!] : [])),
      traffic: traffic!.slice(0, 50),
      before: { ids: ids.slice(0, 50), codes: encoded.slice(0, 100), vectors: x.slice(0, 200) },
    },
    options,
  )
  const { items, onlyAfter, onlyBefore, idsSha256 } = report.compared!
  deepStrictEqual([items, onlyAfter, onlyBefore], [50, 10, 1])
  deepStrictEqual([report.cohort, idsSha256], [alone.cohort, part.cohort.idsSha256])
  const partOf = new Map(part.figures.map((row) => [row.figure, row]))
  const aloneOf = new Map(alone.figures.map((row) => [row.figure, row]))
  for (const { figure, scope, value, shared, before: then, delta } of report.figures) {
    const own = partOf.get(figure)!
    if (scope === 'churn') equal(value, own.value, figure)
    else deepStrictEqual([value, shared, then, delta], [aloneOf.get(figure)!.value, own.value, own.before, own.delta], figure)
  }
  deepStrictEqual([report.churn, report.moves], [part.churn, part.moves])
  await rejects(qualityReport({ ...now, before }, { ...options, minShared: 0.9 }), { message: /less than 0\.9 of either side/ })
})

test('the order of items changes no figure, before and after in different orders included', async () => {
  const codes = encode(refreshed, codebooks, settings)
  const straight = await qualityReport({ ...input, codes, vectors: refreshed, before: { codes: encoded, ids, vectors: x } }, options)
  const rows = ids.map((_, row) => (row * 37 + 11) % 60)
  const rowOf = (row: number): number => rows.indexOf(row)
  const shuffled = await qualityReport(
    {
      ...input,
      ids: rows.map((row) => ids[row]!),
      codes: Uint16Array.from(rows.flatMap((row) => [...codes.subarray(row * 2, row * 2 + 2)])),
      vectors: Float32Array.from(rows.flatMap((row) => [...refreshed.subarray(row * 4, row * 4 + 4)])),
      labels: Int32Array.from(rows, (row) => (input.labels as Int32Array)[row]!),
      pairs: Array.from(input.pairs!, rowOf),
      traffic: Float64Array.from(rows, (row) => weights[row]!),
      before: { codes: encoded, ids, vectors: x },
    },
    options,
  )
  equal(shuffled.cohort.idsSha256, straight.cohort.idsSha256)
  equal(shuffled.figures.length, straight.figures.length)
  for (const [at, row] of straight.figures.entries()) {
    equal(shuffled.figures[at]!.figure, row.figure)
    if (row.value !== null) near(shuffled.figures[at]!.value, row.value, row.figure)
  }
})

test('slices hold every figure, of their items alone, and hits and pairs that begin in them', async () => {
  const report = await qualityReport(input, options)
  const slices = slicesByTraffic(weights)!
  deepStrictEqual(report.method.slices?.items, {
    head: slices.filter((slice) => slice === 0).length,
    torso: slices.filter((slice) => slice === 1).length,
    tail: slices.filter((slice) => slice === 2).length,
  })
  const names = report.figures.filter((row) => row.slice === 'all').map((row) => row.figure)
  for (const slice of ['head', 'torso', 'tail'])
    for (const name of names) ok(valueOf(report, `${slice}.${name}`) !== undefined, `${slice}.${name}`)
  for (const [slice, name] of (['head', 'torso', 'tail'] as const).entries()) {
    const rows = [...slices.keys()].filter((row) => slices[row] === slice)
    const own = new Set(rows.map((row) => encoded.subarray(row * 2, row * 2 + 2).join()))
    equal(valueOf(report, `${name}.distinct`), own.size)
    const buckets = new Map<string, number>()
    for (let row = 0; row < 60; row++) {
      const key = encoded.subarray(row * 2, row * 2 + 2).join()
      buckets.set(key, (buckets.get(key) ?? 0) + 1)
    }
    const alone = rows.filter((row) => buckets.get(encoded.subarray(row * 2, row * 2 + 2).join()) === 1).length
    near(valueOf(report, `${name}.uniquelyIdentifiedOfAll`), alone / rows.length, `${name} alone`)
    const started = (golden.cooccurrence.pairs as [number, number][]).filter(([row]) => slices[row] === slice)
    const same = started.filter(([a, b]) => encoded[a * 2] === encoded[b * 2]).length
    if (started.length > 0) near(valueOf(report, `${name}.prefix1.coOccurrenceRecall`), same / started.length, `${name} pairs`)
    equal(report.figures.find((row) => row.figure === `${name}.prefix1.hitRecall`)!.support, rows.length)
  }
  // The mean over slices, weighted by their queries, is the figure of all.
  const parts = ['head', 'torso', 'tail'].map((name) => report.figures.find((row) => row.figure === `${name}.prefix2.hitRecall`)!)
  near(parts.reduce((sum, { value, support }) => sum + value! * support, 0) / 60, golden.semantics[1]['hit_recall@5'], 'hits of slices')
})

test('slices follow the shares of traffic and keep ties together', () => {
  deepStrictEqual([...slicesByTraffic(Float64Array.of(5, 1, 0, 4, 0))!], [0, 2, 2, 1, 2])
  deepStrictEqual([...slicesByTraffic(Float64Array.of(2, 2, 2, 2))!], [0, 0, 0, 0])
  equal(slicesByTraffic(new Float64Array(3)), undefined)
})

test('what was not given has no figure, and nothing is made up', async () => {
  const report = await qualityReport({ codes: encoded, sizes: [6, 5] })
  const names = new Set(report.figures.map((row) => row.metric))
  for (const name of ['fvu', 'purity', 'cohesionPairs', 'hitRecall', 'coOccurrenceRecall', 'duplicateRows', 'full'])
    ok(!names.has(name), name)
  deepStrictEqual(
    [report.before, report.churn, report.method.neighbors, report.method.slices, report.cohort.idsSha256],
    [null, null, null, null, null],
  )
})

test('by default fewer are asked the more there are, never under 2,000', () => {
  deepStrictEqual([60 * 8, 1e6 * 64, 5e6 * 64, 1e9].map(defaultQueries), [20_000, 15_625, 3125, 2000])
})

test('a sample of queries is said, and does not hang on the order of items', async () => {
  const report = await qualityReport(input, { neighbors: { k: 5, queries: 20, seed: 3 } })
  deepStrictEqual(report.method.neighbors, { k: 5, queries: 20, of: 60, seed: 3 })
  equal(report.figures.find((row) => row.figure === 'prefix1.hitRecall')!.support, 20)
})

test('degenerate sets give defined figures', async () => {
  const none = await qualityReport({
    codes: new Uint16Array(0),
    sizes: [2, 3],
    vectors: new Float32Array(0),
    dim: 4,
    labels: [],
    pairs: [],
    traffic: new Float64Array(0),
  })
  for (const row of none.figures) ok(row.value === null || Number.isFinite(row.value), `${row.figure}: ${row.value}`)
  equal(valueOf(none, 'uniqueRate'), 0)
  const one = await qualityReport({
    ...input,
    codes: Uint16Array.of(0, 0),
    ids: ['a'],
    vectors: x.slice(0, 4),
    labels: ['toys'],
    pairs: [0, 0],
    traffic: Float64Array.of(1),
  })
  deepStrictEqual(
    ['uniqueRate', 'fvu', 'prefix1.purity', 'prefix1.cohesionPairs', 'prefix1.hitRecall', 'prefix2.hitPrecision'].map((name) =>
      valueOf(one, name),
    ),
    [1, Infinity, 1, null, 0, null],
  )
  const same = new Float32Array(40).fill(0.5)
  const twins = await qualityReport({ codes: new Uint16Array(20), sizes: [1, 1], vectors: same, dim: 4 })
  deepStrictEqual(
    ['maxBucket', 'duplicateRows', 'collidingVectors', 'level1.perplexity', 'entropyRatioCapacity'].map((name) => valueOf(twins, name)),
    [10, 9, 0, 1, 1],
  )
  near(valueOf(twins, 'prefix2.cohesionPairs'), 1, 'cohesion of equal vectors')
})

test('bad input is refused with what to do', async () => {
  const mismatch = { code: 'SIDESTREAM_SHAPE_MISMATCH' }
  await rejects(qualityReport({ codes: Uint16Array.of(0, 5), sizes: [6, 5] }), {
    ...mismatch,
    message: /item 0 has code 5 on level 2, which holds 5/,
  })
  await rejects(qualityReport({ ...input, dim: 5 }), mismatch)
  await rejects(qualityReport({ codes: encoded, sizes: [6, 5], vectors: x }), { ...mismatch, message: /dimension/ })
  await rejects(qualityReport({ ...input, labels: ['a'] }), mismatch)
  await rejects(qualityReport({ ...input, pairs: [0, 60] }), mismatch)
  await rejects(qualityReport({ ...input, pairs: [0] }), mismatch)
  await rejects(qualityReport({ ...input, traffic: new Float64Array(60).fill(-1) }), { code: 'SIDESTREAM_USAGE_INVALID' })
  await rejects(qualityReport({ ...input, ids: ids.with(1, ids[0]!) }), { code: 'SIDESTREAM_ID_INVALID' })
  const spoiled = x.slice()
  spoiled[9] = NaN
  await rejects(qualityReport({ ...input, vectors: spoiled }), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
  await rejects(qualityReport({ ...input, before: { codes: encoded, sizes: [6, 6] } }), { ...mismatch, message: /equal sizes/ })
  await rejects(qualityReport({ ...input, before: { codes: encoded.slice(2), ids: ids.slice(1) } }), { ...mismatch, message: /item-00/ })
  await rejects(qualityReport({ ...input, before: { codes: encoded, ids: ids.with(0, 'other') } }), { ...mismatch, message: /same items/ })
})

test('behind a network distortion is that of what it makes, neighbors and duplicates are those of the vectors', async () => {
  const network = networkOf([
    { weights: Float32Array.from({ length: 16 }, (_, at) => (at % 5 === 0 ? 0.5 : 0)), bias: Float32Array.of(0, 0, 1, 0) },
  ])
  const codes = encode(x, codebooks, settings, network)
  const report = await qualityReport({ codes, sizes: [6, 5], vectors: x, codebooks, settings, network }, options)
  const made = x.map((value, at) => value / 2 + (at % 4 === 2 ? 1 : 0))
  near(valueOf(report, 'fvu'), reconstruction(made, codes, codebooks, settings).fvu, 'fvu')
  equal(valueOf(report, 'duplicateRows'), golden.duplicates.duplicate_rows)
  const direct = await qualityReport({ codes, sizes: [6, 5], vectors: x, dim: 4 }, options)
  equal(valueOf(report, 'prefix1.hitRecall'), valueOf(direct, 'prefix1.hitRecall'))
})
