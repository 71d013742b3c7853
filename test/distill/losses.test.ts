/** Losses against the golden numbers (float64, gradients checked there by central differences). */
import { ok, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { gradients, Graph, Session, tensorOf, toModel, type Tensor, type Value } from '../../compute/index.ts'
import { infoNce, matryoshkaNce, meanPool, prefixView } from '../../distill/index.ts'

type Nested = number | readonly Nested[]

const golden = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8'))

function dimsOf(nested: Nested): number[] {
  return Array.isArray(nested) ? [nested.length, ...dimsOf(nested[0]!)] : []
}

function flat(nested: Nested): number[] {
  return Array.isArray(nested) ? (nested as readonly Nested[]).flatMap(flat) : [nested as number]
}

function close(actual: Tensor, expected: Nested, tolerance = 1e-12): void {
  const numbers = flat(expected)
  strictEqual(actual.data.length, numbers.length)
  for (const [i, number] of numbers.entries()) {
    const error = Math.abs(Number(actual.data[i]) - number)
    ok(error <= tolerance * Math.max(1, Math.abs(number)), `element ${i}: ${String(actual.data[i])}, expected ${number}`)
  }
}

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
