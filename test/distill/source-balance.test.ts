/** Sinkhorn plans and source weights: golden numbers, laws of a transport plan, the two limits of epsilon. */
import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { fillNormal, kMeans, StreamingKMeans } from '../../compute/index.ts'
import { balanceClusters, balanceSources, effectiveSources, sinkhorn, sourceWeights } from '../../distill/index.ts'
import { isSidestreamError, type ErrorCode } from '../../schemas/index.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8'))
const { inputs, outputs } = golden.sinkhorn_balance
const refused =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isSidestreamError(error) && error.code === code

function close(actual: ArrayLike<number | null>, expected: readonly number[], tolerance = 1e-12): void {
  strictEqual(actual.length, expected.length)
  for (const [i, value] of expected.entries()) ok(Math.abs(actual[i]! - value) <= tolerance, `${i}: ${actual[i]}, expected ${value}`)
}

const samples = (name: string, centroids: number[][][], masses: number[][]) =>
  centroids.map((rows, i) => ({ name: `${name} ${i}`, centroids: rows.flat(), masses: masses[i]! }))
const scene = {
  sources: samples('source', inputs.source_centroids, inputs.source_mass),
  tasks: samples('benchmark', inputs.benchmark_centroids, inputs.benchmark_mass),
  dim: 5,
}

test('golden: plans and errors after exactly 200 iterations', () => {
  for (const { source, benchmark, C, P, score, row_marginal_error_l1: error } of outputs.plans) {
    const plan = sinkhorn(Float64Array.from(C.flat()), inputs.source_mass[source], inputs.benchmark_mass[benchmark], {
      epsilon: inputs.epsilon,
      maxIterations: inputs.iterations,
      tolerance: 0,
    })
    close(plan.plan, P.flat())
    close([plan.score, plan.rowError], [score, error])
    strictEqual(plan.iterations, 200)
  }
})

test('golden: three iterations, with their potentials', () => {
  const { P, f, g } = golden.sinkhorn_3_iterations.outputs
  const { source, benchmark, C } = outputs.plans[0]
  const plan = sinkhorn(Float64Array.from(C.flat()), inputs.source_mass[source], inputs.benchmark_mass[benchmark], {
    epsilon: inputs.epsilon,
    maxIterations: 3,
    tolerance: 0,
  })
  close(plan.plan, P.flat())
  close(plan.f, f)
  close(plan.g, g)
})

test('golden: scores, weights with floor, effective sources', async () => {
  const found = await balanceClusters(scene, { epsilon: inputs.epsilon, maxIterations: inputs.iterations, tolerance: 0 })
  found.scores.forEach((row, s) => close(row, outputs.score_matrix[s]))
  close(found.means, outputs.mean_score)
  close(found.weights, outputs.weights_with_floor)
  close([found.effectiveSources], [outputs.effective_sources])
  close([found.rowError], [Math.max(...outputs.plans.map((plan: { row_marginal_error_l1: number }) => plan.row_marginal_error_l1))])
  close(sourceWeights(outputs.mean_score, { floor: 0 }), outputs.softmax_weights)
})

test('it ends when rows are exact, or at the cap, and says which', async () => {
  const { C, source, benchmark } = outputs.plans[0]
  const quick = sinkhorn(Float64Array.from(C.flat()), inputs.source_mass[source], inputs.benchmark_mass[benchmark])
  ok(quick.iterations < 200 && quick.rowError < 1e-6)
  // Source 1 with benchmark 0 needs 15,393 iterations for 1e-6.
  const found = await balanceClusters(scene)
  strictEqual(found.iterations, 2000)
  ok(found.rowError > 1e-4 && found.rowError < 3e-4)
  const exact = await balanceClusters(scene, { maxIterations: 20_000 })
  ok(exact.rowError < 1e-6)
  exact.weights.forEach((weight, s) => ok(Math.abs(weight - found.weights[s]!) < 1e-5))
})

test('a large epsilon gives the mean cosine by mass, a small one the best match', () => {
  const { C, source, benchmark } = outputs.plans[2]
  const flat = Float64Array.from(C.flat())
  const [a, b] = [inputs.source_mass[source] as number[], inputs.benchmark_mass[benchmark] as number[]]
  const meanCosine = a.reduce((sum, p, i) => sum + b.reduce((row, q, k) => row + p * q * C[i][k], 0), 0)
  close([sinkhorn(flat, a, b, { epsilon: 1e6 }).score], [meanCosine], 1e-6)
  // Four points of mass 1/4 on either side: the best match is a permutation.
  const orders = [0, 1, 2, 3].flatMap((i, _, all) =>
    all.flatMap((j) => all.flatMap((k) => all.map((l) => [i, j, k, l]).filter((order) => new Set(order).size === 4))),
  )
  const best = Math.max(...orders.map((order) => order.reduce((sum, k, i) => sum + C[i][k] / 4, 0)))
  close([sinkhorn(flat, a, b, { epsilon: 0.001, maxIterations: 20_000, tolerance: 1e-9 }).score], [best], 1e-3)
})

const mass = fc.float({ min: Math.fround(0.01), max: 5, noNaN: true })
const problem = fc.tuple(fc.array(mass, { minLength: 1, maxLength: 5 }), fc.array(mass, { minLength: 1, maxLength: 5 })).chain(([a, b]) =>
  fc.record({
    a: fc.constant(a),
    b: fc.constant(b),
    similarity: fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: a.length * b.length, maxLength: a.length * b.length }),
    epsilon: fc.constantFrom(0.005, 0.05, 1),
    maxIterations: fc.integer({ min: 1, max: 60 }),
  }),
)

test('columns carry their mass exactly, rows up to the error that is told', () => {
  fc.assert(
    fc.property(problem, ({ a, b, similarity, epsilon, maxIterations }) => {
      const { plan, rowError, iterations } = sinkhorn(Float64Array.from(similarity), a, b, { epsilon, maxIterations })
      const [total, totalB] = [a, b].map((masses) => masses.reduce((sum, value) => sum + value, 0)) as [number, number]
      b.forEach((value, k) => {
        const column = a.reduce((sum, _, i) => sum + plan[i * b.length + k]!, 0)
        ok(Math.abs(column - value / totalB) < 1e-9)
      })
      const error = a.reduce(
        (sum, value, i) => sum + Math.abs(b.reduce((row, _, k) => row + plan[i * b.length + k]!, 0) - value / total),
        0,
      )
      ok(Math.abs(error - rowError) < 1e-9)
      ok(iterations === maxIterations || rowError < 1e-6)
    }),
  )
})

test('as many sources as the floor has room for are balanced; one more is refused and told why', () => {
  const means = (count: number): number[] => Array.from({ length: count }, (_, s) => Math.sin(s))
  const weights = sourceWeights(means(49))
  ok(Math.abs(weights.reduce((sum, weight) => sum + weight, 0) - 1) < 1e-12 && Math.min(...weights) >= 0.02)
  throws(() => sourceWeights(means(50)), {
    code: 'SIDESTREAM_CONFIG_INVALID',
    message: /50 sources with a floor of 0\.02 each leave nothing/,
  })
  ok(Math.min(...sourceWeights(means(64), { floor: 0.005 })) >= 0.005)
})

test('weights are probabilities, never below the floor, and rank as the means', () => {
  const means = fc.array(fc.option(fc.float({ min: -1, max: 1, noNaN: true })), { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(means, (values) => {
      fc.pre(values.some((mean) => mean !== null))
      const weights = sourceWeights(values)
      ok(Math.abs(weights.reduce((sum, weight) => sum + weight, 0) - 1) < 1e-12)
      values.forEach((mean, s) => {
        if (mean === null) return strictEqual(weights[s], 0)
        ok(weights[s]! >= 0.02)
        values.forEach((other, t) => ok(other === null || other <= mean || weights[t]! >= weights[s]!))
      })
      const effective = effectiveSources(weights)
      ok(effective >= 1 - 1e-12 && effective <= values.length + 1e-12)
    }),
  )
})

/** Unit-free vectors near one of the axes. */
function near(axis: number, n: number, seed: number): Float32Array {
  const out = new Float32Array(n * 6)
  fillNormal(out, seed, axis)
  return out.map((value, at) => 0.2 * value + (at % 6 === axis ? 3 : 0))
}

test('the source that looks like the task gets the weight, in any order, from samples or from streams', async () => {
  const sources = [
    { name: 'far', vectors: near(0, 300, 1) },
    { name: 'like the task', vectors: near(2, 300, 2) },
    { name: 'dried up', vectors: new Float32Array(0) },
  ]
  const tasks = [
    { name: 'task', vectors: near(2, 200, 3) },
    { name: 'no rows', vectors: new Float32Array(6) },
  ]
  const options = { clusters: 8, seed: 4 }
  const found = await balanceSources({ sources, tasks, dim: 6 }, options)
  deepStrictEqual(found.tasks, ['task'])
  ok(found.weights[1]! > 0.9)
  deepStrictEqual([found.weights[2], found.means[2], found.scores[2]], [0, null, [null]])
  const turned = await balanceSources({ sources: sources.toReversed(), tasks, dim: 6 }, options)
  deepStrictEqual(turned.means.toReversed(), found.means)
  const streamed = (vectors: Float32Array) => {
    const stream = new StreamingKMeans(6, { size: 8, seed: 4, metric: 'cosine', batch: 64 })
    stream.add(vectors)
    return stream.result()
  }
  const fromStreams = await balanceClusters({
    sources: sources.map(({ name, vectors }) => ({ name, ...streamed(vectors) })),
    tasks: tasks.map(({ name, vectors }) => ({ name, ...streamed(vectors) })),
    dim: 6,
  })
  fromStreams.weights.forEach((weight, s) => ok(Math.abs(weight - found.weights[s]!) < 0.02))
})

test('samples larger than the memory of the stream are weighed as k-means over all rows would, sorted by group or not', async () => {
  // Groups one after the other, 1,600 rows where the stream holds 512.
  const grouped = (axes: number[], seed: number): Float32Array =>
    Float32Array.from(axes.flatMap((axis, i) => [...near(axis, 1600 / axes.length, seed + i)]))
  const sources = [
    [0, 1],
    [2, 3],
    [0, 1, 2, 3],
    [4, 5],
  ].map((axes, s) => ({ name: axes.join(), vectors: grouped(axes, 10 * s) }))
  const tasks = [{ name: 'task', vectors: grouped([0, 1], 50) }]
  const found = await balanceSources({ sources, tasks, dim: 6 }, { clusters: 32 })
  const inMemory = ({ name, vectors }: { name: string; vectors: Float32Array }) => ({
    name,
    ...kMeans(vectors, 6, { size: 32, seed: 1, metric: 'cosine' }),
  })
  const whole = await balanceClusters({ sources: sources.map(inMemory), tasks: tasks.map(inMemory), dim: 6 })
  found.weights.forEach((weight, s) => ok(Math.abs(weight - whole.weights[s]!) < 0.01, `${s}: ${weight}, ${whole.weights[s]}`))
  ok(found.weights[0]! > found.weights[2]! && found.weights[2]! > found.weights[1]!)
})

test('more vectors than asked for are taken evenly; without tasks all sources weigh the same', async () => {
  const many = near(1, 900, 5)
  const third = new Float32Array(many.length / 3)
  for (let row = 0; row < 300; row++) third.set(many.subarray(3 * row * 6, (3 * row + 1) * 6), row * 6)
  const tasks = [{ name: 'task', vectors: near(1, 50, 6) }]
  const balance = (vectors: Float32Array) =>
    balanceSources({ sources: [{ name: 's', vectors }], tasks, dim: 6 }, { vectors: 300, clusters: 4 })
  deepStrictEqual(await balance(many), await balance(third))
  const free = await balanceSources({ sources: ['a', 'b'].map((name, i) => ({ name, vectors: near(i, 20, 7) })), tasks: [], dim: 6 })
  deepStrictEqual([free.weights, free.effectiveSources], [[0.5, 0.5], 2])
})

test('what cannot be balanced is refused', async () => {
  const one = { name: 's', vectors: near(0, 4, 1) }
  await rejects(balanceSources({ sources: [], tasks: [one], dim: 6 }), refused('SIDESTREAM_ITEMS_TOO_FEW'))
  await rejects(
    balanceSources({ sources: [{ name: 's', vectors: new Float32Array(6) }], tasks: [one], dim: 6 }),
    refused('SIDESTREAM_ITEMS_TOO_FEW'),
  )
  await rejects(balanceSources({ sources: [one], tasks: [one], dim: 6 }, { floor: 1 }), refused('SIDESTREAM_CONFIG_INVALID'))
  await rejects(balanceSources({ sources: [one], tasks: [one], dim: 6 }, { temperature: 0 }), refused('SIDESTREAM_CONFIG_INVALID'))
  await rejects(balanceSources({ sources: [one], tasks: [one], dim: 5 }), refused('SIDESTREAM_SHAPE_MISMATCH'))
  await rejects(
    balanceSources({ sources: [{ name: 's', vectors: new Float32Array(6).fill(NaN) }], tasks: [one], dim: 6 }),
    refused('SIDESTREAM_SHAPE_MISMATCH'),
  )
  await rejects(balanceSources({ sources: [one], tasks: [one], dim: 6 }, {}, AbortSignal.abort(new Error('stop'))), /stop/)
  for (const [similarity, a] of [
    [[0.5], [0.5]],
    [[0.5, 0.5], [0]],
    [[0.5, NaN], [1]],
  ] as const) {
    throws(() => sinkhorn(Float64Array.from(similarity), a, [1, 1]), refused('SIDESTREAM_SHAPE_MISMATCH'))
  }
})
