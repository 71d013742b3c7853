/** Losses against the golden numbers (float64, gradients checked there by central differences). */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { adamW, gradients, Graph, Session, tensorOf, toModel, TrainingSession, type Tensor, type Value } from '../../compute/index.ts'
import { infoNce, matryoshkaNce, meanPool, prefixView, temperature, temperatureBounds } from '../../distill/index.ts'
import { close, dimsOf, flat, golden, normalRows, openLoss, reordered, type Nested } from './loss-graph.ts'

/** Builds a float64 graph with each named input as a trainable value and gives loss, extra outputs and gradients. */
async function evaluate(
  inputs: Readonly<Record<string, Nested>>,
  build: (graph: Graph, values: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>> & { readonly loss: Value },
): Promise<Record<string, Tensor>> {
  const graph = new Graph({ dtype: 'float64' })
  const values: Record<string, Value> = {}
  for (const [name, nested] of Object.entries(inputs))
    values[name] = graph.parameter(name, tensorOf('float64', dimsOf(nested), flat(nested)))
  const outputs = build(graph, values)
  for (const [name, value] of Object.entries(outputs)) graph.output(name, value)
  gradients(graph, outputs.loss, Object.values(values)).forEach((value, i) => graph.output(`d/${Object.keys(values)[i]!}`, value))
  const session = await Session.create(toModel(graph))
  try {
    return await session.run({})
  } finally {
    await session.close()
  }
}

const bool = (graph: Graph, nested: Nested): Value => graph.constant(tensorOf('bool', dimsOf(nested), flat(nested).map(Number)))

function goldenMasks(graph: Graph): { allowed: Value; hardMask: Value } {
  const { inputs } = golden.info_nce
  const own = (inputs.in_batch_mask as number[][]).map((row, i) => row.map((flag, j) => (i === j ? 1 : Number(flag))))
  return { allowed: bool(graph, own), hardMask: bool(graph, inputs.hard_mask) }
}

for (const name of ['info_nce', 'info_nce_weighted', 'info_nce_small_tau'] as const) {
  test(`InfoNCE with in-batch and hard negatives gives the golden numbers: ${name}`, async () => {
    const { q, t, hard, tau } = golden.info_nce.inputs
    const expected = golden[name]
    const logTau = Math.log(name === 'info_nce_small_tau' ? 1e-4 : tau)
    const found = await evaluate({ q, t, hard, logTau }, (graph, values) => {
      const { allowed, hardMask } = goldenMasks(graph)
      const weights = expected.weights ? { weights: graph.constant(tensorOf('float64', [4], expected.weights)) } : {}
      return infoNce(graph, {
        queries: values['q']!,
        targets: values['t']!,
        logTau: values['logTau']!,
        allowed,
        hard: { items: values['hard']!, mask: hardMask },
        ...weights,
      }) as { loss: Value; perRow: Value }
    })
    close(found['loss']!, expected.outputs.loss)
    if (expected.outputs.loss_per_row) close(found['perRow']!, expected.outputs.loss_per_row)
    if (expected.gradients) {
      for (const input of ['q', 't', 'hard']) close(found[`d/${input}`]!, expected.gradients[input])
      close(found['d/logTau']!, expected.gradients.log_tau)
    } else for (const input of ['q', 't', 'hard', 'logTau']) ok(found[`d/${input}`]!.data.every((x) => Number.isFinite(Number(x))))
  })
}

for (const source of ['copair', 'search'] as const) {
  test(`InfoNCE keeps a temperature per source: ${source}`, async () => {
    const { inputs, outputs, gradients: expected } = golden.info_nce_per_source[source]
    const found = await evaluate(
      { q: inputs.q, t: inputs.t, logTau: Math.log(inputs.tau) },
      (graph, { q, t, logTau }) => infoNce(graph, { queries: q!, targets: t!, logTau: logTau! }) as { loss: Value; perRow: Value },
    )
    close(found['loss']!, outputs.loss)
    close(found['perRow']!, outputs.loss_per_row)
    for (const input of ['q', 't']) close(found[`d/${input}`]!, expected[input])
    close(found['d/logTau']!, expected.log_tau)
  })
}

test('the Matryoshka loss brings every prefix to unit length on its own', async () => {
  const { inputs, outputs, gradients: expected } = golden.mrl
  const found = await evaluate({ q: inputs.q, t: inputs.t, logTau: Math.log(inputs.tau) }, (graph, { q, t, logTau }) => ({
    loss: matryoshkaNce(
      graph,
      (prefix) => ({ queries: prefixView(graph, q!, prefix), targets: prefixView(graph, t!, prefix), logTau: logTau! }),
      { prefixes: inputs.dims, prefixWeights: inputs.weights },
    ),
  }))
  close(found['loss']!, outputs.loss)
  for (const input of ['q', 't']) close(found[`d/${input}`]!, expected[input])
  close(found['d/logTau']!, expected.log_tau)
})

test('the pool of unit items is their masked mean, and padding gets no gradient', async () => {
  const { inputs, outputs, gradients: expected } = golden.mean_pool
  const found = await evaluate({ items: inputs.items }, (graph, { items }) => {
    const mask = graph.constant(tensorOf('float64', dimsOf(inputs.mask), flat(inputs.mask).map(Number)))
    const mean = meanPool(graph, graph.l2norm(items!), mask)
    const pooled = graph.l2norm(mean)
    const upstream = graph.constant(tensorOf('float64', dimsOf(inputs.upstream), flat(inputs.upstream)))
    return { loss: graph.reduceSum(graph.mul(pooled, upstream)), mean, pooled }
  })
  close(found['mean']!, outputs.mean_of_unit_items)
  close(found['pooled']!, outputs.pooled_unit)
  close(found['d/items']!, expected.items)
})

test('a query of zeros and an empty history give a finite loss and no gradient', async () => {
  const found = await evaluate(
    {
      q: [
        [0, 0],
        [1, 2],
      ],
      t: [
        [1, 0],
        [0, 1],
      ],
      items: [[[1, 0]], [[0, 1]]],
    },
    (graph, { q, t, items }) => {
      const mask = graph.constant(tensorOf('float64', [2, 1], [0, 1]))
      const queries = graph.add(q!, meanPool(graph, items!, mask))
      return { loss: infoNce(graph, { queries, targets: t!, logTau: graph.scalar(Math.log(0.2)) }).loss }
    },
  )
  ok(Number.isFinite(Number(found['loss']!.data[0])))
  close({ ...found['d/q']!, data: found['d/q']!.data.slice(0, 2) as Float64Array }, [0, 0])
  ok(Number(found['d/q']!.data[2]) !== 0)
})

test('rows that all weigh 0 give a loss of 0 and no gradient', async () => {
  const { q, t, hard, tau } = golden.info_nce.inputs
  const found = await evaluate({ q, t, hard, logTau: Math.log(tau) }, (graph, values) => {
    const { allowed, hardMask } = goldenMasks(graph)
    const weights = graph.constant(tensorOf('float64', [4], [0, 0, 0, 0]))
    return infoNce(graph, {
      queries: values['q']!,
      targets: values['t']!,
      logTau: values['logTau']!,
      allowed,
      weights,
      hard: { items: values['hard']!, mask: hardMask },
    }) as { loss: Value; perRow: Value }
  })
  strictEqual(found['loss']!.data[0], 0)
  for (const input of ['q', 't', 'hard', 'logTau']) ok(found[`d/${input}`]!.data.every((x) => Number(x) === 0))
})

test('rows in another order have their losses and gradients in that order', async (context) => {
  const allowed = [0, 1, 2, 3, 4].map((i) => [0, 1, 2, 3, 4].map((j) => Number(i === j || (i + 2 * j) % 3 !== 0)))
  const inputs = { q: normalRows(5, 4, 1), t: normalRows(5, 4, 2), weights: [1, 0.5, 0, 2, 1], allowed }
  const run = await openLoss(
    context,
    inputs,
    (graph, { q, t, weights, allowed: mask }) => ({
      ...infoNce(graph, { queries: q!, targets: t!, logTau: graph.scalar(Math.log(0.3)), allowed: mask!, weights: weights! }),
    }),
    ['allowed'],
  )
  const first = await run()
  const places = [3, 1, 4, 0, 2]
  const moved = await run({
    q: reordered(inputs.q, places),
    t: reordered(inputs.t, places),
    weights: reordered(inputs.weights, places),
    allowed: reordered(allowed, places).map((row) => reordered(row, places)),
  })
  close(moved['loss']!, Number(first['loss']!.data[0]))
  close(moved['perRow']!, reordered(Array.from(first['perRow']!.data, Number), places))
  const rows = (x: Tensor): number[][] => places.map((_, i) => Array.from(x.data.slice(i * 4, i * 4 + 4), Number))
  for (const name of ['d/q', 'd/t']) close(moved[name]!, reordered(rows(first[name]!), places))
})

test('a temperature belongs to its source: learned within bounds, or fixed', async () => {
  const graph = new Graph()
  const [easy, hard, fixed] = [
    temperature(graph, 'easy', { tau: 0.02, tauMode: 'learned' }),
    temperature(graph, 'hard', { tau: 0.9, tauMode: 'learned' }),
    temperature(graph, 'fixed', { tau: 0.07, tauMode: 'fixed' }),
  ]
  deepStrictEqual([...graph.states.keys()], ['logTau.easy', 'logTau.hard'])
  const loss = graph.add(graph.sub(easy, hard), fixed)
  graph.output('loss', loss)
  adamW(graph, loss, graph.scalar(0.5), { clipNorm: 100 })
  const session = await TrainingSession.create(graph)
  try {
    const { loss: first } = await session.step({})
    ok(Math.abs(Number(first!.data[0]) - Math.log((0.02 / 0.9) * 0.07)) < 1e-5)
    for (let step = 0; step < 4; step++) await session.step({})
    const state = await session.state()
    ok(Math.abs(Math.exp(Number(state['logTau.easy']!.data[0])) - temperatureBounds.min) < 1e-6)
    ok(Math.abs(Math.exp(Number(state['logTau.hard']!.data[0])) - temperatureBounds.max) < 1e-6)
  } finally {
    await session.close()
  }
})

test('a temperature that cannot be is refused with the source in the message', () => {
  for (const [tau, tauMode] of [
    [0, 'fixed'],
    [Number.NaN, 'fixed'],
    [Infinity, 'fixed'],
    [0.009, 'learned'],
    [1.1, 'learned'],
  ] as const) {
    throws(() => temperature(new Graph(), 'copair', { tau, tauMode }), { code: 'SIDESTREAM_USAGE_INVALID', message: /tau of copair/ })
  }
})
