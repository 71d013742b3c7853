/** Laws of the kernels, against slow obvious references. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  addScaled,
  auc,
  decodeFloat16,
  encodeFloat16,
  orderAscending,
  orderDescending,
  squaredNormAt,
  subtractRow,
  topK,
} from '../../compute/index.ts'

// Few distinct values, so that ties are common; both zeros and extremes among them.
const score = fc.oneof(fc.constantFrom(0, -0, 1, -1, 0.5, 3.4e38, -3.4e38, 1e-45), fc.float({ noNaN: true }))
const scores = fc.array(score, { maxLength: 60 }).map((values) => Float32Array.from(values))

test('AUC is the share of pairs in the right order, ties half', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(score, fc.boolean()), { maxLength: 60 }), (rows) => {
      const values = Float32Array.from(rows, ([value]) => value)
      let [wins, pairs] = [0, 0]
      rows.forEach(([, positive], i) =>
        rows.forEach(([, other], j) => {
          if (!positive || other) return
          pairs++
          wins += values[i]! > values[j]! ? 1 : values[i] === values[j] ? 0.5 : 0
        }),
      )
      const labels = rows.map(([, positive]) => Number(positive))
      const found = auc(values, labels)
      if (pairs === 0) ok(Number.isNaN(found))
      else {
        ok(Math.abs(found - wins / pairs) < 1e-12)
        ok(Math.abs(auc(Float64Array.from(values), labels) - wins / pairs) < 1e-12)
      }
    }),
  )
})

test('the radix order is the stable order of the numbers, both ways', () => {
  fc.assert(
    fc.property(scores, (values) => {
      const indices = [...values.keys()]
      deepStrictEqual(
        [...orderAscending(values)],
        indices.toSorted((a, b) => values[a]! - values[b]! || a - b),
      )
      deepStrictEqual(
        [...orderDescending(values)],
        indices.toSorted((a, b) => values[b]! - values[a]! || a - b),
      )
    }),
  )
})

test('top k is the head of the descending order', () => {
  fc.assert(
    fc.property(scores, fc.nat(70), (values, k) => {
      deepStrictEqual([...topK(values, k).indices], [...orderDescending(values)].slice(0, k))
    }),
  )
})

test('no half is nearer than the one chosen', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: Math.fround(-65_504), max: Math.fround(65_504) }), (value) => {
      const half = encodeFloat16(Float32Array.of(value))[0]!
      const error = (bits: number): number => Math.abs(decodeFloat16(Uint16Array.of(bits))[0]! - value)
      const magnitude = half & 0x7fff
      if (magnitude > 0) ok(error(half) <= error(half - 1))
      if (magnitude < 0x7bff) ok(error(half) <= error(half + 1))
      if (value === 0) strictEqual(magnitude, 0)
    }),
  )
})

test('rows are added, taken away and measured number by number, whatever their length', () => {
  const row = fc.array(fc.float({ noNaN: true, min: -1e3, max: 1e3 }), { minLength: 1, maxLength: 11 })
  fc.assert(
    fc.property(row, fc.nat(3), fc.double({ noNaN: true, min: -4, max: 4 }), (values, before, factor) => {
      const dim = values.length
      const from = Float32Array.from([...Array<number>(before).fill(7), ...values, 7])
      const sums = new Float64Array(dim + 2).fill(0.5)
      addScaled(sums, 1, from, before, dim, factor)
      deepStrictEqual(
        [...sums],
        [0.5, ...from.subarray(before, before + dim).map(() => 0), 0.5].map((edge, at) =>
          at === 0 || at === dim + 1 ? edge : 0.5 + factor * from[before + at - 1]!,
        ),
      )
      const left = new Float32Array(dim + 2).fill(1)
      subtractRow(left, 1, from, before, dim)
      deepStrictEqual([...left], [1, ...from.subarray(before, before + dim).map((value) => 1 - value), 1])
      const exact = from.subarray(before, before + dim).reduce((sum, value) => sum + value * value, 0)
      ok(Math.abs(squaredNormAt(from, before, dim) - exact) <= 1e-12 * exact)
    }),
  )
})
