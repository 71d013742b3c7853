/** The head: what it computes, what a reader of its file gets, and what happens at its edges. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { gradients, Graph, Session, tensorOf, toModel, type Tensor } from '../../compute/index.ts'
import {
  batchFeeds,
  buildBatch,
  contentColumns,
  headSpec,
  HeadEncoder,
  headLayout,
  headModel,
  sourceLoss,
  trainingSources,
  usableRows,
  type ContentVectors,
  type Head,
} from '../../distill/index.ts'
import { appendFusion } from '../../distill/head-graph.ts'
import { readFileSync } from 'node:fs'
import { numbersOf, referenceLoss, referencePublished } from './head-reference.ts'
import { modalities, worldHead, worldItems, worldRows } from './head-world.ts'

/** A head whose parameters have all moved away from their start. */
function movedHead(head: Head): Head {
  const parameters = new Map(
    [...head.parameters].map(([name, value], n) => {
      const data = value.data.map((x, i) => x + 0.3 * Math.sin(1 + n + 1.7 * i))
      return [name, { ...value, data }] as const
    }),
  )
  return { ...head, parameters }
}

async function encodeAll(head: Head, items: readonly ContentVectors[], prefix?: number): Promise<number[][]> {
  const encoder = await HeadEncoder.create(head, { batchRows: 8, ...(prefix ? { prefix } : {}) })
  try {
    const { published, rows } = await encoder.encode(items)
    const dim = published.length / rows
    strictEqual(dim, encoder.dim)
    return Array.from({ length: rows }, (_, i) => [...published.subarray(i * dim, (i + 1) * dim)])
  } finally {
    await encoder.close()
  }
}

function closeRows(actual: readonly number[][], expected: readonly number[][], tolerance: number): void {
  strictEqual(actual.length, expected.length)
  actual.forEach((row, i) => {
    strictEqual(row.length, expected[i]!.length)
    row.forEach((x, k) => ok(Math.abs(x - expected[i]![k]!) <= tolerance, `row ${i}, element ${k}: ${x}, expected ${expected[i]![k]}`))
  })
}

const items = worldItems(20)
const all = [...items.values()]

for (const used of [modalities, modalities.slice(0, 1)] as const) {
  test(`the graph computes what the plain reference computes, ${used.length} modalities, every prefix`, async () => {
    const head = movedHead(worldHead(items, { modalities: used }))
    for (const [k, prefix] of head.spec.prefixes.entries()) {
      closeRows(
        await encodeAll(head, all, prefix),
        all.map((item) => referencePublished(head, item, k)),
        2e-6,
      )
    }
  })
}

test('a fresh head of one modality publishes the half-whitened content twice', async () => {
  const head = worldHead(items, { modalities: modalities.slice(0, 1), dims: 6, prefixes: [6], contentDims: 6 })
  const flat = {
    ...head,
    parameters: new Map(
      [...head.parameters].map(([name, value]) => [name, name === 'image.V' ? { ...value, data: value.data.map(() => 0) } : value]),
    ),
  }
  for (const row of await encodeAll(flat, all)) for (let k = 0; k < 6; k++) ok(Math.abs(row[k]! - row[6 + k]!) < 1e-6)
})

test('each part of each short view has exactly its share', async () => {
  const head = movedHead(worldHead(items, { contentShare: 0.3 }))
  for (const [k, prefix] of head.spec.prefixes.entries()) {
    const blocks = headLayout(head.spec).blocks.slice(0, k + 1)
    for (const row of await encodeAll(head, all, prefix)) {
      const share = (part: 'distilledAt' | 'contentAt'): number =>
        blocks.reduce((sum, block) => sum + row.slice(...block[part]).reduce((squares, x) => squares + x * x, 0), 0)
      ok(Math.abs(share('distilledAt') - 0.7) < 1e-5)
      ok(Math.abs(share('contentAt') - 0.3) < 1e-5)
    }
  }
})

test('an item without any modality is a row of zeros; one missing modality leaves the rest at full length', async () => {
  const head = movedHead(worldHead(items))
  const [none, textOnly, imageOnly] = await encodeAll(head, [{}, items.get('i1')!, items.get('i2')!])
  ok(none!.every((x) => x === 0))
  for (const row of [textOnly!, imageOnly!]) ok(Math.abs(Math.hypot(...row) - 1) < 1e-6)
})

test('when one part is zero the other has the whole weight', async () => {
  const head = worldHead(items, { modalities: modalities.slice(0, 1), dims: 6, prefixes: [6] })
  const still = {
    ...head,
    parameters: new Map([...head.parameters].map(([name, value]) => [name, { ...value, data: value.data.map(() => 0) }])),
  }
  for (const row of await encodeAll(still, all.slice(3))) ok(Math.abs(Math.hypot(...row) - 1) < 1e-6)
})

test('an item has the same bytes in whatever company it is encoded', async () => {
  const head = movedHead(worldHead(items, { dims: 96, hidden: 80, prefixes: [32, 96] }))
  const encoder = await HeadEncoder.create(head, { batchRows: 16 })
  try {
    const together = await encoder.encode(all)
    const reversed = await encoder.encode(all.toReversed())
    for (const [i, item] of all.entries()) {
      const row = together.published.slice(i * encoder.dim, (i + 1) * encoder.dim)
      deepStrictEqual((await encoder.encode([item])).published, row)
      const from = (all.length - 1 - i) * encoder.dim
      deepStrictEqual(reversed.published.slice(from, from + encoder.dim), row)
    }
  } finally {
    await encoder.close()
  }
})

test('the exported file gives our vectors in plain onnxruntime', async () => {
  const head = movedHead(worldHead(items))
  const session = await InferenceSession.create(headModel(head))
  const encoder = await HeadEncoder.create(head, { batchRows: all.length })
  try {
    const feeds: Record<string, OrtTensor> = {}
    const presence = all.flatMap((item) => modalities.map(({ name }) => (item[name] ? 1 : 0)))
    feeds['presence'] = new OrtTensor('float32', presence, [all.length, 2])
    for (const { name, dim } of modalities) {
      const rows = all.flatMap((item) => [...(item[name] ?? new Float32Array(dim))])
      feeds[`content_${name}`] = new OrtTensor('float32', rows, [all.length, dim])
    }
    const outputs = await session.run(feeds)
    const ours = await encoder.encode(all)
    for (const name of ['published', 'distilled', 'content'] as const) deepStrictEqual(outputs[name]!.data, ours[name])
  } finally {
    await encoder.close()
    await session.release()
  }
})

test('the loss has the gradients of central differences through the whole head', async () => {
  const head = movedHead(worldHead(items))
  const { rows } = usableRows(worldRows(9, items.size), (id) => items.get(id))
  const batch = buildBatch(rows, (id) => items.get(id), { modalities, historyLength: 4 })
  const graph = new Graph()
  const { loss } = sourceLoss(graph, head, trainingSources([{ name: 'seq2item', kind: 'sequences' }], { tau: 0.2, tauMode: 'fixed' })[0]!, {
    historyLength: 4,
  })
  const names = [...head.parameters.keys()]
  const values = names.map((name) => graph.states.get(name)!.value)
  graph.output('loss', loss)
  gradients(graph, loss, values).forEach((value, i) => graph.output(`d/${names[i]!}`, value))
  const session = await Session.create(toModel(graph))
  const { learningRate: _unused, ...feeds } = batchFeeds(batch, head, { kind: 'sequences', scored: false, entities: [] }, 0)
  const found = await session.run(feeds)
  await session.close()
  const numbers = numbersOf(head)
  const reference = referenceLoss(head, numbers, batch, 0.2)
  ok(Math.abs(Number(found['loss']!.data[0]) - reference) < 1e-5 * reference)
  let largest = 0
  for (const name of names) {
    const data = numbers.get(name)!
    const step = Math.max(1, Math.floor(data.length / 12))
    for (let i = 0; i < data.length; i += step) {
      const at = data[i]!
      const h = 1e-5
      data[i] = at + h
      const above = referenceLoss(head, numbers, batch, 0.2)
      data[i] = at - h
      const below = referenceLoss(head, numbers, batch, 0.2)
      data[i] = at
      const difference = (above - below) / (2 * h)
      largest = Math.max(largest, Math.abs(difference))
      const given = Number(found[`d/${name}`]!.data[i])
      ok(Math.abs(given - difference) < 2e-5 + 2e-4 * Math.abs(difference), `${name}[${i}]: ${given}, difference ${difference}`)
    }
  }
  ok(largest > 0.1)
})

test('for two modalities the fusion is the sigmoid gate of the paper', async () => {
  const { inputs, outputs } = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8')).gate as {
    inputs: Record<'v' | 'n_m' | 'W', number[][]> & { b: number[] }
    outputs: { fused: number[][] }
  }
  const d = inputs.b.length
  const graph = new Graph({ dtype: 'float64' })
  const value = (dims: number[], numbers: number[]) => graph.constant(tensorOf('float64', dims, numbers))
  // Logits of the second modality stay 0, so softmax over the two is the sigmoid of the first one's logit. W is [out, in] there.
  const weight = Array.from({ length: 2 * d }, (_, from) => [...inputs.W.map((row) => row[from]!), ...new Array<number>(d).fill(0)]).flat()
  const fused = appendFusion(
    graph,
    [value([2, d], inputs.v.flat()), value([2, d], inputs.n_m.flat())],
    value([2, 2], [1, 1, 1, 1]),
    value([2 * d, 2 * d], weight),
    value([2 * d], [...inputs.b, ...new Array<number>(d).fill(0)]),
  )
  graph.output('fused', fused)
  const session = await Session.create(toModel(graph))
  const { fused: found } = (await session.run({})) as { fused: Tensor }
  await session.close()
  outputs.fused.flat().forEach((x, i) => ok(Math.abs(Number(found.data[i]) - x) < 1e-12))
})

test('content columns go round the modalities until one has no axis left', () => {
  const spec = headSpec({
    modalities: [
      { name: 'a', dim: 2 },
      { name: 'b', dim: 4 },
    ],
    dims: 8,
    contentDims: 100,
  })
  strictEqual(spec.contentDims, 6)
  deepStrictEqual(
    contentColumns(spec).map(({ modality, component }) => `${'ab'[modality]}${component}`),
    ['a0', 'b0', 'a1', 'b1', 'b2', 'b3'],
  )
})

test('a spec that cannot be is refused, and says why', () => {
  const bad = [
    { modalities: [] },
    { modalities: [modalities[0], modalities[0]] },
    { modalities, contentShare: 1 },
    { modalities, dims: 0 },
    { modalities, dims: 8, prefixes: [16, 8] },
  ]
  for (const options of bad) throws(() => headSpec(options), { code: 'SIDESTREAM_USAGE_INVALID' })
  throws(() => headModel(worldHead(items), { prefix: 5 }), { code: 'SIDESTREAM_USAGE_INVALID', message: /4, 8/ })
})
