/** CoSENT, in-modality contrast, late fusion and their total: golden numbers, central differences, masks. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { Graph, Value } from '../../compute/index.ts'
import {
  appendFusion,
  cosent,
  infoNce,
  lossWeightDefaults,
  matryoshkaNce,
  modalityNce,
  prefixView,
  totalLoss,
  type ModalityInputs,
} from '../../distill/index.ts'
import { checkDifferences, close, golden, normalRows, openLoss, reordered, tensorFrom, type Inputs } from './loss-graph.ts'

type Values = Readonly<Record<string, Value>>

const cosentOf = (graph: Graph, { a, b, label, logTau, mask }: Values) =>
  cosent(graph, { queries: a!, targets: b!, labels: label!, logTau: logTau!, ...(mask ? { mask } : {}) })
const cosentGolden: Inputs = {
  a: golden.cosent.inputs.a,
  b: golden.cosent.inputs.b,
  label: golden.cosent.inputs.label,
  logTau: Math.log(golden.cosent.inputs.tau),
}

test('CoSENT gives the golden numbers', async (t) => {
  const run = await openLoss(t, cosentGolden, (graph, values) => ({ ...cosentOf(graph, values) }))
  const { outputs, gradients } = golden.cosent
  const found = await run()
  close(found['loss']!, outputs.loss)
  close(found['cosines']!, outputs.cos)
  for (const name of ['a', 'b']) close(found[`d/${name}`]!, gradients[name])
  close(found['d/logTau']!, gradients.log_tau)
  close(found['d/label']!, [0, 0, 0, 0, 0])
})

test('CoSENT gradients equal central differences, with ties and equal labels', async (t) => {
  const [a, b] = [normalRows(6, 3, 1), normalRows(6, 3, 2)]
  // Rows 0 and 1 are the same pair with different labels: their cosines tie. Rows 2 to 4 have equal labels.
  a[1] = a[0]!
  b[1] = b[0]!
  const inputs = { a, b, label: [0.1, 0.7, 0.4, 0.4, 0.4, -2], logTau: Math.log(0.3) }
  const run = await openLoss(t, inputs, (graph, values) => ({ ...cosentOf(graph, values) }))
  await checkDifferences(run, inputs, ['a', 'b', 'logTau'])
})

test('CoSENT without two different labels is 0 with no gradient, and a small temperature stays finite', async (t) => {
  const run = await openLoss(t, cosentGolden, (graph, values) => ({ ...cosentOf(graph, values) }))
  const equal = await run({ label: [3, 3, 3, 3, 3] })
  strictEqual(equal['loss']!.data[0], 0)
  for (const name of ['a', 'b', 'logTau']) ok(equal[`d/${name}`]!.data.every((x) => Number(x) === 0))
  const sharp = await run({ logTau: Math.log(1e-4) })
  close(sharp['loss']!, (golden.cosent.outputs.cos[4] - golden.cosent.outputs.cos[3]) / 1e-4)
  for (const name of ['a', 'b', 'logTau']) ok(sharp[`d/${name}`]!.data.every((x) => Number.isFinite(Number(x))))
})

test('CoSENT of one pair is 0', async (t) => {
  const inputs = { a: [[1, 2]], b: [[2, 1]], label: [1], logTau: 0 }
  const run = await openLoss(t, inputs, (graph, values) => ({ ...cosentOf(graph, values) }))
  strictEqual((await run())['loss']!.data[0], 0)
})

test('a pair without a label changes nothing in CoSENT, and the order of pairs does not matter', async (t) => {
  const { a, b, label } = golden.cosent.inputs
  const odd = [[9, -9, 9, 9]]
  const inputs = { ...cosentGolden, a: [...odd, ...a], b: [...b.slice(0, 1), ...b], label: [0.6, ...label], mask: [0, 1, 1, 1, 1, 1] }
  const run = await openLoss(t, inputs, (graph, values) => ({ ...cosentOf(graph, values) }), ['mask'])
  const found = await run()
  close(found['loss']!, golden.cosent.outputs.loss)
  close(found['d/a']!, [[0, 0, 0, 0], ...golden.cosent.gradients.a])
  const places = [4, 0, 5, 2, 1, 3]
  const moved = await run(
    Object.fromEntries((['a', 'b', 'label', 'mask'] as const).map((name) => [name, reordered<never>(inputs[name] as never[], places)])),
  )
  close(moved['loss']!, golden.cosent.outputs.loss)
  close(moved['d/b']!, reordered([[0, 0, 0, 0], ...golden.cosent.gradients.b], places))
})

const { tau_v: tauV, tau_t: tauT, has_v: hasV, has_t: hasT, ...miclVectors } = golden.micl.inputs
const miclInputs: Inputs = { ...miclVectors, has_v: hasV, has_t: hasT, logTauV: Math.log(tauV), logTauT: Math.log(tauT) }
const rowsOf = (values: Values, name: string, tau: string): ModalityInputs => ({
  queries: values[name]!,
  targets: values[`${name}_pos`]!,
  queryPresence: values[`has_${name}`]!,
  targetPresence: values[`has_${name}`]!,
  logTau: values[tau]!,
})
const miclOf = (graph: Graph, values: Values) => modalityNce(graph, [rowsOf(values, 'v', 'logTauV'), rowsOf(values, 't', 'logTauT')])

test('contrast inside each modality gives the golden numbers', async (t) => {
  const run = await openLoss(t, miclInputs, (graph, values) => {
    const { loss, terms } = miclOf(graph, values)
    return { loss, loss_v: terms[0]!, loss_t: terms[1]! }
  })
  const found = await run()
  for (const [name, value] of Object.entries(golden.micl.outputs)) close(found[name]!, value as number)
  for (const name of ['v', 'v_pos', 't', 't_pos']) close(found[`d/${name}`]!, golden.micl.gradients[name])
  await checkDifferences(run, miclInputs, ['logTauV', 'logTauT'])
})

test('a row that lacks a modality on either side changes nothing in that term, whatever stands in its place', async (t) => {
  const inputs = { q: normalRows(4, 3, 5), p: normalRows(4, 3, 6), hasQ: [1, 0, 1, 1], hasP: [1, 1, 1, 0], logTau: Math.log(0.2) }
  const run = await openLoss(t, inputs, (graph, { q, p, hasQ, hasP, logTau }) => ({
    loss: modalityNce(graph, [{ queries: q!, targets: p!, queryPresence: hasQ!, targetPresence: hasP!, logTau: logTau! }]).loss,
  }))
  const found = await run()
  const kept = await openLoss(
    t,
    { q: reordered(inputs.q, [0, 2]), p: reordered(inputs.p, [0, 2]), logTau: inputs.logTau },
    (graph, { q, p, logTau }) => ({ ...infoNce(graph, { queries: q!, targets: p!, logTau: logTau! }) }),
  )
  const two = await kept()
  close(found['loss']!, Number(two['loss']!.data[0]))
  const gradient = Array.from(two['d/q']!.data, Number)
  close(found['d/q']!, [gradient.slice(0, 3), [0, 0, 0], gradient.slice(3), [0, 0, 0]])
  const other = await run({ q: inputs.q.with(1, [1e9, 0, -7]).with(3, [0, 0, 0]), p: inputs.p.with(1, [3, 3, 3]) })
  deepStrictEqual(other['loss']!.data, found['loss']!.data)
})

test('a modality that no row has gives 0, and so does a source without modalities', async (t) => {
  const run = await openLoss(t, miclInputs, (graph, values) => {
    const { loss, terms } = miclOf(graph, values)
    return { loss, loss_t: terms[1]!, none: modalityNce(graph, []).loss }
  })
  const found = await run({ has_t: [0, 0, 0] })
  strictEqual(found['loss_t']!.data[0], 0)
  strictEqual(found['none']!.data[0], 0)
  close(found['loss']!, golden.micl.outputs.loss_v)
  close(found['d/v']!, golden.micl.gradients.v)
  for (const name of ['t', 't_pos', 'logTauT']) ok(found[`d/${name}`]!.data.every((x) => Number(x) === 0))
})

test('row weights and forbidden negatives hold inside each modality', async (t) => {
  const inputs = { q: normalRows(3, 4, 8), p: normalRows(3, 4, 9), weights: [2, 0, 1], allowed: [[1, 0, 1], [1, 1, 1], [1, 1, 1]], logTau: -1 } // prettier-ignore
  const run = await openLoss(
    t,
    inputs,
    (graph, { q, p, weights, allowed, logTau }) => {
      const all = graph.constant(tensorFrom([1, 1, 1]))
      const rows = { queries: q!, targets: p!, logTau: logTau! }
      const options = { allowed: allowed!, weights: weights! }
      return {
        loss: modalityNce(graph, [{ ...rows, queryPresence: all, targetPresence: all }], options).loss,
        plain: infoNce(graph, { ...rows, ...options }).loss,
      }
    },
    ['allowed'],
  )
  const found = await run()
  close(found['loss']!, Number(found['plain']!.data[0]))
  ok(Number(found['loss']!.data[0]) > 0)
})

/** The paper's sigmoid gate is the head's fusion of two modalities whose second has no logits: W [d, 2d] of [v; n]. */
function gateOf(graph: Graph, { v, n_m: n, W, b }: Values): Value {
  const weight = graph.concat([graph.transpose(W!), graph.transpose(graph.zerosLike(W!))], 1)
  const bias = graph.concat([b!, graph.zerosLike(b!)], 0)
  const both = graph.constant(tensorFrom(Array.from({ length: v!.shape[0] as number }, () => [1, 1])))
  return appendFusion(graph, [v!, n!], both, weight, bias)
}

test('the fusion of two modalities gives the golden numbers of the gate', async (t) => {
  const { upstream, ...inputs } = golden.gate.inputs
  const run = await openLoss(t, inputs, (graph, values) => {
    const fused = gateOf(graph, values)
    return { loss: graph.reduceSum(graph.mul(fused, graph.constant(tensorFrom(upstream)))), fused }
  })
  const found = await run()
  close(found['fused']!, golden.gate.outputs.fused)
  for (const [name, value] of Object.entries(golden.gate.gradients)) close(found[`d/${name}`]!, value as never)
})

const lateFusionOf = (graph: Graph, values: Values): Value =>
  infoNce(graph, { queries: gateOf(graph, values), targets: values['t']!, logTau: graph.scalar(Math.log(golden.late_fusion.inputs.tau)) })
    .loss

test('InfoNCE of fused vectors gives the golden numbers of late fusion', async (t) => {
  const { tau: _, ...inputs } = golden.late_fusion.inputs
  const run = await openLoss(t, inputs, (graph, values) => ({ loss: lateFusionOf(graph, values) }))
  const found = await run()
  close(found['loss']!, golden.late_fusion.outputs.loss)
  for (const [name, value] of Object.entries(golden.late_fusion.gradients)) close(found[`d/${name}`]!, value as never)
})

/** All four terms of the golden file in one graph; the names of each are put after a prefix. */
function totalInputs(): Inputs {
  const { tau, dims: _, weights: __, ...mrl } = golden.mrl.inputs
  const { tau: ___, ...late } = golden.late_fusion.inputs
  const named = (prefix: string, inputs: Inputs) => Object.entries(inputs).map(([name, value]) => [`${prefix}/${name}`, value] as const)
  return Object.fromEntries([
    ...named('mrl', { ...mrl, logTau: Math.log(tau) }),
    ...named('cosent', cosentGolden),
    ...named('micl', miclInputs),
    ...named('late', late),
  ])
}

function termsOf(graph: Graph, values: Values) {
  const under = (prefix: string): Values =>
    Object.fromEntries(
      Object.entries(values)
        .filter(([name]) => name.startsWith(`${prefix}/`))
        .map(([name, value]) => [name.slice(prefix.length + 1), value]),
    )
  const { q, t, logTau } = under('mrl')
  return {
    nce: matryoshkaNce(
      graph,
      (prefix) => ({ queries: prefixView(graph, q!, prefix), targets: prefixView(graph, t!, prefix), logTau: logTau! }),
      { prefixes: golden.mrl.inputs.dims },
    ),
    cosent: cosentOf(graph, under('cosent')).loss,
    modality: miclOf(graph, under('micl')).loss,
    lateFusion: lateFusionOf(graph, under('late')),
  }
}

test('the total of all terms at the default weights gives the golden number', async (t) => {
  const { lambda, alpha, beta } = golden.total.weights
  deepStrictEqual(lossWeightDefaults, { cosent: lambda, modality: alpha, lateFusion: beta, patterns: 0.2 })
  const run = await openLoss(t, totalInputs(), (graph, values) => ({ loss: totalLoss(graph, termsOf(graph, values)) }))
  const found = await run()
  close(found['loss']!, golden.total.outputs.loss)
  const scaled = (x: readonly number[][], factor: number) => x.map((row) => row.map((value) => value * factor))
  close(found['d/mrl/q']!, golden.mrl.gradients.q)
  close(found['d/cosent/a']!, scaled(golden.cosent.gradients.a, lambda))
  close(found['d/micl/t_pos']!, scaled(golden.micl.gradients.t_pos, alpha))
  close(found['d/late/W']!, scaled(golden.late_fusion.gradients.W, beta))
})

test('terms that a source does not have, or of weight 0, count 0', async (t) => {
  const run = await openLoss(t, totalInputs(), (graph, values) => {
    const { nce, ...others } = termsOf(graph, values)
    return {
      loss: totalLoss(graph, { nce, ...others }, { cosent: 0, modality: 0, lateFusion: 1 }),
      alone: totalLoss(graph, { nce }),
    }
  })
  const found = await run()
  close(found['loss']!, golden.mrl.outputs.loss + golden.late_fusion.outputs.loss)
  close(found['alone']!, golden.mrl.outputs.loss)
  ok(found['d/cosent/a']!.data.every((x) => Number(x) === 0))
})
