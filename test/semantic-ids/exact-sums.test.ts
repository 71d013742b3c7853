/** Sums that rounds over all levels keep, and the distances that they are judged by. */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fillNormal, shuffle } from '../../compute/index.ts'
import { distancesToIds } from '../../semantic-ids/distances.ts'
import { roundForExactSums } from '../../semantic-ids/exact-sums.ts'
import { rowsOfRound } from '../../semantic-ids/round-rows.ts'

test('rounded numbers have the same sum in any order, added, taken away and added again', () => {
  const value = fc.oneof(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom(1e-40, 3e38, -3e38, 1, -1, 1e-7))
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 60 }), fc.nat(1000), (values, seed) => {
      const rounded = Float32Array.from(values)
      if (!roundForExactSums(rounded, rounded.length)) {
        deepStrictEqual(rounded, Float32Array.from(values))
        return
      }
      const largest = Math.max(...values.map((number) => Math.abs(Math.fround(number))))
      for (const [at, number] of values.entries()) ok(Math.abs(rounded[at]! - Math.fround(number)) <= largest * 2 ** -40)
      const add = (sum: number, numbers: Iterable<number>): number => [...numbers].reduce((total, number) => total + number, sum)
      const sum = add(0, rounded)
      const mixed = shuffle([...rounded], seed, 1)
      const half = mixed.slice(0, mixed.length / 2)
      deepStrictEqual(
        [
          add(0, mixed),
          add(
            add(
              add(0, rounded),
              half.map((number) => -number),
            ),
            half,
          ),
        ],
        [sum, sum],
      )
    }),
  )
})

test('numbers are not rounded where one is so large that most would lose digits', () => {
  const numbers = new Float32Array(4096)
  fillNormal(numbers, 3, 1)
  ok(roundForExactSums(numbers.slice(), 4096))
  deepStrictEqual(
    [1e6, 1e9, 1e18].map((outlier) => roundForExactSums(numbers.with(7, outlier), 4096)),
    [false, false, false],
  )
  ok(roundForExactSums(new Float32Array(8), 4))
})

test('distances to IDs are those of the sums of their codewords, for any number of levels', () => {
  const dim = 7
  const rows = 9
  const x = new Float32Array(rows * dim)
  fillNormal(x, 5, 1)
  for (const count of [1, 2, 3, 4, 5]) {
    const levels = Array.from({ length: count }, (_, level) => {
      const words = new Float32Array(4 * dim)
      fillNormal(words, 5, 2 + level)
      return words
    })
    // A code of another kind stands behind the others.
    const codes = Int32Array.from({ length: rows * (count + 1) }, (_, at) => (at * 7) % 4)
    codes[2 * (count + 1)] = -1
    const found = new Float64Array(rows - 1)
    distancesToIds(x, dim, codes.subarray(count + 1), levels, found, 1)
    for (let row = 1; row < rows; row++) {
      let expected = 0
      for (let j = 0; j < dim; j++) {
        const sum = levels.reduce((total, words, level) => total + words[codes[row * (count + 1) + level]! * dim + j]!, 0)
        expected += (x[row * dim + j]! - sum) ** 2
      }
      ok(Math.abs(found[row - 1]! - (row === 2 ? 0 : expected)) < 1e-9, `row ${row}, ${count} levels`)
    }
  }
})

test('early rounds look at half of the rows where those are enough, the last ones at all', () => {
  const rounds = (count: number, rows: number, size: number): number[] =>
    Array.from({ length: count }, (_, round) => rowsOfRound(round, count, rows, size))
  deepStrictEqual(rounds(6, 1001, 4), [501, 501, 501, 501, 1001, 1001])
  deepStrictEqual(rounds(3, 1001, 4), [501, 1001, 1001])
  deepStrictEqual(rounds(2, 1001, 4), [1001, 1001])
  deepStrictEqual(rounds(4, 1000, 10), [640, 640, 1000, 1000])
  deepStrictEqual(rounds(4, 300, 10), [300, 300, 300, 300])
})
