/** What a training step is fed: distinct items, and only negatives that are negatives. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { allowedNegatives, buildBatch, splitRows, usableRows, type ContentVectors, type TrainingRow } from '../../distill/index.ts'

const content = new Map<string, ContentVectors>(['a', 'b', 'c', 'd', 'e'].map((id, i) => [id, { text: Float32Array.of(i, i + 1) }]))
const lookup = (id: string): ContentVectors | undefined => content.get(id)
const options = { modalities: [{ name: 'text', dim: 2 }], historyLength: 2 }
const row = (userId: string, targetId: string, ...history: string[]): TrainingRow => ({ userId, targetId, history })

test('a batch holds every distinct item once and points at it from every place', () => {
  const batch = buildBatch([row('u', 'a', 'b', 'c'), row('v', 'b', 'a'), row('w', 'a', 'c', 'd', 'b')], lookup, options)
  strictEqual(batch.items, 4)
  const idAt = (at: bigint): string => 'abcde'[batch.vectors[0]![Number(at) * 2]!]!
  deepStrictEqual(Array.from(batch.targets, idAt), ['a', 'b', 'a'])
  const places = Object.fromEntries(Array.from({ length: 4 }, (_, u) => [idAt(BigInt(u)), u]))
  const pooled = (i: number): Record<string, number> =>
    Object.fromEntries(Object.entries(places).flatMap(([id, u]) => (batch.pool[i * 4 + u] ? [[id, batch.pool[i * 4 + u]!]] : [])))
  // Of a longer history the newest items stay.
  deepStrictEqual([0, 1, 2].map(pooled), [{ b: 0.5, c: 0.5 }, { a: 1 }, { b: 0.5, d: 0.5 }])
  deepStrictEqual([...batch.presence], [1, 1, 1, 1])
})

test('no negative is the own target, in either history, or of the same user', () => {
  const rows = [row('u', 'a', 'b'), row('v', 'a', 'c'), row('w', 'b', 'e'), row('u', 'd', 'e'), row('x', 'c', 'd'), row('y', 'e', 'd')]
  const allowed = allowedNegatives(rows)
  rows.forEach((mine, i) =>
    rows.forEach((other, j) => {
      const bad =
        mine.targetId === other.targetId ||
        mine.userId === other.userId ||
        mine.history.includes(other.targetId) ||
        other.history.includes(mine.targetId)
      strictEqual(allowed[i * rows.length + j], i === j || !bad ? 1 : 0, `${i}, ${j}`)
    }),
  )
  ok(allowed.includes(0) && allowed.filter((flag) => flag === 1).length > rows.length)
})

test('without masks of histories only rows of one user or one target are kept apart', () => {
  const rows = [row('u', 'a', 'b'), row('v', 'b', 'a'), row('w', 'a', 'c'), row('v', 'd', 'e')]
  deepStrictEqual([...allowedNegatives(rows, undefined, false)], [1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1])
  deepStrictEqual([...buildBatch(rows.slice(0, 2), lookup, { ...options, maskHistory: false }).allowed], [1, 1, 1, 1])
  deepStrictEqual([...buildBatch(rows.slice(0, 2), lookup, options).allowed], [1, 0, 0, 1])
})

test('of graded pairs only the better half are positives of the contrast, or those from a score on', () => {
  const weights = (scores: (number | null)[], positiveFrom: number | null = null): number[] => {
    const rows = scores.map((score, i) => ({ ...row(`u${i}`, 'a', 'b'), score }))
    const batch = buildBatch(rows, lookup, { ...options, graded: { positiveFrom } })
    deepStrictEqual(
      [...batch.scores],
      scores.map((score) => score ?? 0),
      'every score takes part in the order',
    )
    return [...batch.weights]
  }
  deepStrictEqual(weights([1, 2, 3, 4]), [0, 0, 1, 1])
  deepStrictEqual(weights([5, 1, 5, 5]), [1, 0, 1, 1], 'most have the best score')
  deepStrictEqual(weights([2, 2]), [1, 1], 'one score tells nothing apart')
  deepStrictEqual(weights([1, null, 3, 3]), [0, 1, 1, 1], 'a pair without a score belongs together')
  deepStrictEqual(weights([1, 2, 3, 4], 2), [0, 1, 1, 1])
  deepStrictEqual(weights([1, 2], 9), [0, 0])
  const plain = [1, 5].map((score, i) => ({ ...row(`u${i}`, 'a', 'b'), score }))
  deepStrictEqual([...buildBatch(plain, lookup, options).weights], [1, 1], 'of a source that does not look at scores')
})

test('an item beyond the pooled history still is no negative', () => {
  const allowed = allowedNegatives([row('u', 'a', 'e', 'b', 'c'), row('v', 'e', 'd')])
  deepStrictEqual([...allowed], [1, 0, 0, 1])
})

test('rows without content are dropped and counted, items without content leave the history', () => {
  const usable = usableRows([row('u', 'a', 'x', 'b'), row('v', 'x', 'a'), row('w', 'b', 'x'), row('y', 'c', 'c')], lookup)
  deepStrictEqual(usable, { rows: [row('u', 'a', 'b')], dropped: 3 })
})

test('batches are of nearly equal size, in order, and none is left out', () => {
  for (const [n, size] of [
    [0, 4],
    [1, 4],
    [4, 4],
    [9, 4],
    [1025, 512],
  ] as const) {
    const rows = Array.from({ length: n }, (_, i) => i)
    const batches = splitRows(rows, size)
    deepStrictEqual(batches.flat(), rows)
    const sizes = batches.map((batch) => batch.length)
    ok(sizes.every((length) => length <= size && length >= Math.max(...sizes) - 1))
  }
})

test('a vector of another length or with NaN is refused', () => {
  const one = (vector: Float32Array) => () => buildBatch([row('u', 'a', 'b')], () => ({ text: vector }), options)
  throws(one(Float32Array.of(1)), { code: 'SIDESTREAM_VECTOR_DIM_MISMATCH' })
  throws(one(Float32Array.of(1, NaN)), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
})
