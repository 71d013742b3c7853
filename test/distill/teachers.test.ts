import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { buildTeacherBatch, exposureWeight, meanExposures, teacherFault } from '../../distill/index.ts'
import type { TeacherKind, TeacherLookup, TeacherVector } from '../../distill/index.ts'

const { inputs, outputs } = (
  JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8')) as {
    id_to_item: {
      inputs: { exposures: number[]; M: number; n_ref: number; n_min: number; ids: number[][][]; id_present: number[][] }
      outputs: { teacher_weight: number[] }
    }
  }
).id_to_item

test('golden: weights by exposures', () => {
  for (const [i, exposures] of inputs.exposures.entries()) {
    const weight = exposureWeight(exposures, inputs.n_ref, { minExposures: inputs.n_min, saturation: inputs.M })
    ok(Math.abs(weight - outputs.teacher_weight[i]!) < 1e-12, String(exposures))
  }
})

test('at the mean an item teaches with all but its whole weight; without any exposure at all nobody teaches', () => {
  ok(Math.abs(exposureWeight(200, 200) - 0.9993) < 1e-4)
  deepStrictEqual([exposureWeight(4, 1), exposureWeight(5, 0), exposureWeight(NaN, 10)], [0, 0, 0])
  deepStrictEqual([meanExposures([0, 30, 10, 0]), meanExposures([0]), meanExposures([])], [20, 0, 0])
})

const kinds: TeacherKind[] = [
  { name: 'item', by: 'item', dim: 2 },
  { name: 'author', by: 'author', dim: 3 },
  { name: 'category', by: 'label', labelPrefix: 'category:', dim: 1 },
]
const endTs = 1000
const items: Record<string, { authorId?: string; labels?: string[] }> = {
  a: { authorId: 'x', labels: ['news', 'category:sport', 'category:food'] },
  b: { authorId: 'y', labels: ['sport'] },
  c: {},
}
const vector = (exposures: number, eventTs: number, ...numbers: number[]): TeacherVector => ({
  vector: Float32Array.from(numbers),
  exposures,
  eventTs,
})
const embeddings: Record<string, TeacherVector> = {
  'item/a': vector(200, 900, 1, 2),
  'item/b': vector(20, 100, 3, 4),
  'author/x': vector(9000, 950, 1, 1, 1),
  'author/y': vector(9000, 950, 0, 0, 0),
  'category/sport': vector(1, 990, 7),
  'category/food': vector(1, 990, 8),
}
const lookup: TeacherLookup = {
  item: (id) => items[id],
  embedding: (entity, id) => embeddings[`${entity}/${id}`],
  meanExposures: () => 200,
}
const rows = ['a', 'b', 'c', 'nobody'].map((targetId) => ({ targetId }))

test('each kind joins by its own field of the content; what is missing is left out', () => {
  const { vectors, presence, weights, counts } = buildTeacherBatch(rows, lookup, { kinds, endTs })
  deepStrictEqual(vectors, [
    Float32Array.of(1, 2, 3, 4, 0, 0, 0, 0),
    Float32Array.of(1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    Float32Array.of(7, 0, 0, 0),
  ])
  deepStrictEqual([...presence], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
  deepStrictEqual(weights, Float32Array.of(Math.tanh(4), Math.tanh(0.4), 0, 0))
  deepStrictEqual(counts, [
    { present: 2, missing: 2, stale: 0, refused: 0 },
    { present: 1, missing: 2, stale: 0, refused: 1 }, // a vector of zeros
    { present: 1, missing: 3, stale: 0, refused: 0 },
  ])
})

test('what is older than the limit at the end of the round is left out, and so is its weight', () => {
  const { presence, weights, counts } = buildTeacherBatch(rows, lookup, { kinds, endTs, staleMs: 100 })
  deepStrictEqual([...presence.slice(0, 6)], [1, 1, 1, 0, 0, 0])
  strictEqual(weights[1], 0)
  strictEqual(counts[0]!.stale, 1)
  strictEqual(buildTeacherBatch(rows, lookup, { kinds, endTs, staleMs: 900 }).counts[0]!.stale, 0)
})

test('another kind may weigh, and an item without it is not taught', () => {
  const { weights } = buildTeacherBatch(rows, lookup, { kinds, endTs, weightBy: 'author' })
  deepStrictEqual(weights, Float32Array.of(1, 0, 0, 0))
  throws(() => buildTeacherBatch(rows, lookup, { kinds, endTs, weightBy: 'song' }), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /no kind song/,
  })
})

test('a vector of another dimension, without length or not finite is refused by name', () => {
  const codeOf = (...numbers: number[]): string | undefined => teacherFault(Float32Array.from(numbers), 2)?.code
  deepStrictEqual(
    [codeOf(1, 2), codeOf(1), codeOf(0, 0), codeOf(NaN, 1), codeOf(Infinity, 1)],
    [
      undefined,
      'SIDESTREAM_VECTOR_DIM_MISMATCH',
      'SIDESTREAM_RECORD_INVALID',
      'SIDESTREAM_VECTOR_NOT_FINITE',
      'SIDESTREAM_VECTOR_NOT_FINITE',
    ],
  )
  const broken = { ...lookup, embedding: () => vector(100, 900, NaN, 1) }
  const { presence, weights, counts } = buildTeacherBatch(rows.slice(0, 1), broken, { kinds, endTs })
  deepStrictEqual([[...presence], weights[0], counts.map(({ refused }) => refused)], [[0, 0, 0], 0, [1, 1, 1]])
})
