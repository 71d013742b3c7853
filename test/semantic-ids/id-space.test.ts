import { deepStrictEqual, equal, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { idSpace, qualityReport } from '../../semantic-ids/index.ts'
import { flat } from './golden.ts'

const codes = flat([
  [1, 0],
  [1, 1],
  [1, 1],
  [0, 2],
  [1, 1],
  [2, 2],
  [2, 0],
])
const input = {
  codes,
  sizes: [3, 3],
  ids: ['g', 'f', 'e', 'd', 'c', 'b', 'a'],
  titles: ['Golf', 'Fox', null, 'Delta', 'Charlie', 'Bravo', 'Alpha'],
  labels: ['x', 'y', 'y', 'x', null, 'z', 'y'],
}

test('the largest prefixes and buckets come first, with their label and example items', () => {
  const map = idSpace(input, { examples: 2, children: 1 })
  deepStrictEqual(
    map.prefixes.map(({ codes: prefix, items, distinct, label, examples, left }) => ({ prefix, items, distinct, label, examples, left })),
    [
      { prefix: [1], items: 4, distinct: 2, label: 'y', examples: ['Charlie', 'e'], left: { prefixes: 1, items: 1 } },
      // Two labels as often: the first by name.
      { prefix: [2], items: 2, distinct: 2, label: 'y', examples: ['Alpha', 'Bravo'], left: { prefixes: 1, items: 1 } },
      { prefix: [0], items: 1, distinct: 1, label: 'x', examples: ['Delta'], left: { prefixes: 0, items: 0 } },
    ],
  )
  deepStrictEqual(
    map.prefixes[0]!.children.map(({ codes: prefix, items }) => ({ prefix, items })),
    [{ prefix: [1, 1], items: 3 }],
  )
  deepStrictEqual(
    map.buckets.map(({ codes: id, items, labelShare }) => ({ id, items, labelShare })),
    [{ id: [1, 1], items: 3, labelShare: 2 / 3 }],
  )
})

test('lists are bounded and say what they leave out; traffic picks the examples; order changes nothing', () => {
  const map = idSpace(input, { prefixes: 1 })
  deepStrictEqual([map.prefixes.length, map.left], [1, { prefixes: 2, items: 3 }])
  const traffic = Float64Array.of(1, 9, 2, 0, 3, 0, 0)
  deepStrictEqual(idSpace({ ...input, traffic }).prefixes[0]!.examples, ['Fox', 'Charlie', 'e'])
  const order = [6, 2, 4, 0, 5, 1, 3]
  const shuffled = {
    ...input,
    codes: flat(order.map((row) => [...codes.subarray(row * 2, row * 2 + 2)])),
    ids: order.map((row) => input.ids[row]!),
    titles: order.map((row) => input.titles[row]!),
    labels: order.map((row) => input.labels[row]!),
  }
  deepStrictEqual(idSpace(shuffled), idSpace(input))
})

test('without items, names or a second level there is still a map', () => {
  deepStrictEqual(idSpace({ codes: new Uint16Array(0), sizes: [4, 4] }), {
    items: 0,
    prefixes: [],
    left: { prefixes: 0, items: 0 },
    buckets: [],
  })
  const plain = idSpace({ codes: Uint16Array.of(3, 3), sizes: [4] })
  deepStrictEqual(
    [plain.prefixes[0]!.examples, plain.prefixes[0]!.children, plain.prefixes[0]!.label, plain.buckets.length],
    [['item 0', 'item 1'], [], null, 1],
  )
  throws(() => idSpace({ ...input, titles: ['one'] }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('the report names the commonest moves of the first code', async () => {
  const before = flat([
    [0, 0],
    [0, 1],
    [1, 1],
    [0, 2],
    [1, 2],
    [2, 2],
    [2, 0],
  ])
  const { moves } = await qualityReport({ codes, sizes: [3, 3], before: { codes: before } })
  deepStrictEqual(moves, [{ from: 0, to: 1, items: 2 }])
  equal((await qualityReport({ codes, sizes: [3, 3] })).moves, null)
})
