/** Values and gradients of `test/golden/losses.json`, built from operations: float64 to 1e-12, float32 to 1e-5. */
import { ok, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, test } from 'node:test'
import {
  adamWUpdate,
  clipByNorm,
  ComputeWorker,
  cosineSchedule,
  globalNorm,
  gradients,
  Graph,
  Session,
  tensorOf,
  toModel,
  TrainingSession,
} from '../../compute/index.ts'
import type { Tensor, TensorMap, Value } from '../../compute/index.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8'))
const worker = new ComputeWorker({ name: 'golden-test' })
after(() => worker.close())

type Nested = number | readonly Nested[]
type Float = 'float32' | 'float64'
const flat = (x: Nested): number[] => (typeof x === 'number' ? [x] : x.flatMap(flat))
const dims = (x: Nested): number[] => (typeof x === 'number' ? [] : [x.length, ...dims(x[0]!)])
const tensorFrom = (dtype: Tensor['dtype'], x: Nested): Tensor => tensorOf(dtype, dims(x), flat(x))

function near(actual: Tensor, expected: Nested, tolerance: number, what: string): void {
  const numbers = flat(expected)
  strictEqual(actual.data.length, numbers.length, what)
  const scale = Math.max(1e-3, ...numbers.map(Math.abs))
  numbers.forEach((value, i) => {
    const allowed = tolerance * Math.max(scale, 1)
    ok(Math.abs(Number(actual.data[i]) - value) <= allowed, `${what} [${i}]: ${actual.data[i]} instead of ${value}`)
  })
}

/** Builds the case in both precisions and compares every output named in `expected`. */
function goldenCase(
  name: string,
  inputs: Record<string, Nested>,
  build: (graph: Graph, x: Record<string, Value>, real: Float) => Record<string, Value>,
  expected: Record<string, Nested>,
): void {
  for (const real of ['float64', 'float32'] as const) {
    test(`golden ${name} in ${real}`, async () => {
      const graph = new Graph({ dtype: real })
      const values: Record<string, Value> = {}
      const feeds: TensorMap = {}
      for (const [key, x] of Object.entries(inputs)) {
        feeds[key] = tensorFrom(real, x)
        values[key] = graph.input(key, real, dims(x))
      }
      for (const [key, value] of Object.entries(build(graph, values, real))) graph.output(`out/${key}`, value)
      const session = await Session.create(toModel(graph), { worker, optimization: real === 'float64' ? 'basic' : 'all' })
      const outputs = await session.run(feeds)
      for (const [key, value] of Object.entries(expected)) near(outputs[`out/${key}`]!, value, real === 'float64' ? 1e-12 : 1e-5, key)
      await session.close()
    })
  }
}

/** The outputs plus gradients of the loss by the given values, keyed `d name`. */
function withGradients(graph: Graph, loss: Value, by: Record<string, Value>, upstream?: Value): Record<string, Value> {
  const names = Object.keys(by)
  const found = gradients(graph, loss, Object.values(by), upstream)
  return Object.fromEntries(names.map((name, i) => [`d ${name}`, found[i]!]))
}

const renamed = (gradients_: Record<string, Nested>): Record<string, Nested> =>
  Object.fromEntries(Object.entries(gradients_).map(([key, value]) => [`d ${key}`, value]))

goldenCase(
  'l2norm',
  golden.l2norm.inputs,
  (graph, { x, upstream }) => {
    const y = graph.l2norm(x!)
    return { y, ...withGradients(graph, y, { x: x! }, upstream) }
  },
  { ...golden.l2norm.outputs, ...renamed(golden.l2norm.gradients) },
)

goldenCase(
  'mean_pool',
  golden.mean_pool.inputs,
  (graph, { items, mask, upstream }) => {
    const weights = graph.unsqueeze(mask!, 2)
    const total = graph.reduceSum(graph.mul(graph.l2norm(items!), weights), [1])
    const mean = graph.div(total, graph.reduceSum(weights, [1]))
    const pooled = graph.l2norm(mean)
    return { mean_of_unit_items: mean, pooled_unit: pooled, ...withGradients(graph, pooled, { items: items! }, upstream) }
  },
  { ...golden.mean_pool.outputs, ...renamed(golden.mean_pool.gradients) },
)

goldenCase(
  'gate',
  golden.gate.inputs,
  (graph, { v, n_m: n, W, b, upstream }) => {
    const z = graph.sigmoid(graph.add(graph.matmul(graph.concat([v!, n!], 1), W!, { transposeB: true }), b!))
    const fused = graph.add(graph.mul(z, v!), graph.mul(graph.sub(graph.scalar(1), z), n!))
    return { z, fused, ...withGradients(graph, fused, { v: v!, n_m: n!, W: W!, b: b! }, upstream) }
  },
  { ...golden.gate.outputs, ...renamed(golden.gate.gradients) },
)

/** InfoNCE over in-batch and hard columns as `sail-method` section 4 has it: masked log-sum-exp minus the positive. */
function infoNce(graph: Graph, x: Record<string, Value>, rowWeights: readonly number[], real: Float): Record<string, Value> {
  const { q, t, hard, log_tau: logTau } = x as { q: Value; t: Value; hard: Value; log_tau: Value }
  const batch = q.shape[0] as number
  const unitQ = graph.l2norm(q)
  const inBatch = graph.matmul(unitQ, graph.l2norm(t), { transposeB: true })
  const toHard = graph.reduceSum(graph.mul(graph.unsqueeze(unitQ, 1), graph.l2norm(hard)), [2])
  const logits = graph.div(graph.concat([inBatch, toHard], 1), graph.exp(logTau))
  const { in_batch_mask: allowed, hard_mask: hardAllowed, target_ids: ids } = golden.info_nce.inputs
  const mask = allowed.map((row: number[], i: number) => [
    ...row.map((ok_, j) => (i === j || (ok_ && ids[i] !== ids[j]) ? 1 : 0)),
    ...hardAllowed[i],
  ])
  const lse = graph.logSumExp(logits, 1, graph.constant(tensorFrom('bool', mask)))
  const width = logits.shape[1] as number
  const diagonal = graph.constant(
    tensorOf(
      real,
      [batch, width],
      Array.from({ length: batch * width }, (_, at) => Number(Math.floor(at / width) === at % width)),
    ),
  )
  const perRow = graph.sub(lse, graph.reduceSum(graph.mul(logits, diagonal), [1], { keepDims: true }))
  const total = rowWeights.reduce((a, b) => a + b, 0)
  const weights = graph.constant(
    tensorOf(
      real,
      [batch, 1],
      rowWeights.map((weight) => weight / total),
    ),
  )
  const loss = graph.reduceSum(graph.mul(perRow, weights))
  return { loss, loss_per_row: perRow, ...withGradients(graph, loss, { q, t, hard, log_tau: logTau }) }
}

const nce = golden.info_nce
const nceInputs = { q: nce.inputs.q, t: nce.inputs.t, hard: nce.inputs.hard, log_tau: Math.log(nce.inputs.tau) }
goldenCase('info_nce', nceInputs, (graph, x, real) => infoNce(graph, x, [1, 1, 1, 1], real), {
  loss: nce.outputs.loss,
  loss_per_row: nce.outputs.loss_per_row,
  ...renamed(nce.gradients),
})
const weighted = golden.info_nce_weighted
goldenCase('info_nce_weighted', nceInputs, (graph, x, real) => infoNce(graph, x, weighted.weights, real), {
  loss: weighted.outputs.loss,
  ...renamed(weighted.gradients),
})
goldenCase('info_nce_small_tau', { ...nceInputs, log_tau: Math.log(1e-4) }, (graph, x, real) => infoNce(graph, x, [1, 1, 1, 1], real), {
  loss: golden.info_nce_small_tau.outputs.loss,
})

const clip = golden.grad_clip
goldenCase(
  'grad_clip',
  { a: clip.inputs.grads[0], b: clip.inputs.grads[1] },
  (graph, { a, b }) => {
    const norm = globalNorm(graph, [a!, b!])
    const [first, second] = clipByNorm(graph, [a!, b!], norm, clip.inputs.max_norm)
    return { norm, first: first!, second: second! }
  },
  { norm: clip.outputs.norm, first: clip.outputs.clipped[0], second: clip.outputs.clipped[1] },
)

for (const real of ['float64', 'float32'] as const) {
  for (const [name, weightDecay] of [
    ['adam_wd0', 0],
    ['adamw_wd0.01', 0.01],
  ] as const) {
    test(`golden ${name} in ${real}`, async () => {
      const { param, grads, lr, beta1, beta2, eps } = golden.adam.inputs
      const graph = new Graph({ dtype: real })
      const p = graph.parameter('p', tensorFrom(real, param), { decay: true })
      const gradient = graph.input('gradient', real, [param.length])
      adamWUpdate(graph, [p], [gradient], graph.input('lr', real, []), { beta1, beta2, epsilon: eps, weightDecay })
      const session = await TrainingSession.create(graph, { worker, optimization: 'basic' })
      for (const [step, expected] of golden.adam.outputs[name].entries()) {
        await session.step({ gradient: tensorFrom(real, grads[step]), lr: tensorFrom(real, lr) })
        const state = await session.state()
        const tolerance = real === 'float64' ? 1e-12 : 1e-5
        near(state['p']!, expected.param, tolerance, `step ${step}`)
        if (expected.m) near(state['optimizer/m/p']!, expected.m, tolerance, `m of step ${step}`)
        if (expected.v) near(state['optimizer/v/p']!, expected.v, tolerance, `v of step ${step}`)
      }
      await session.close()
    })
  }
}

test('golden lr_schedule', () => {
  const { total, warmup, max, min } = golden.lr_schedule.inputs
  const schedule = cosineSchedule({ totalSteps: total, warmupSteps: warmup, max, min })
  for (const [step, rate] of Object.entries(golden.lr_schedule.outputs) as [string, number][]) {
    ok(Math.abs(schedule(Number(step)) - rate) <= 1e-12 * max, `step ${step}: ${schedule(Number(step))} instead of ${rate}`)
  }
})
