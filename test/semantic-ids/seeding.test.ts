import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { placeSpares, plusPlusSeeds } from '../../semantic-ids/seeding.ts'
import { clustered } from './golden.ts'

const dim = 6
const squared = (row: Float32Array): number => row.reduce((sum, value) => sum + value * value, 0)
const rowsOf = (values: Float32Array): Float32Array[] =>
  Array.from({ length: values.length / dim }, (_, row) => values.subarray(row * dim, (row + 1) * dim))

/** Seeds stand half the way from the mean of the rows to the row that was drawn. */
function drawnRows(rows: Float32Array, size: number, seed: number, level: number): Float32Array[] {
  const count = rows.length / dim
  const mean = Array.from({ length: dim }, (_, j) => rowsOf(rows).reduce((sum, row) => sum + row[j]! / count, 0))
  return rowsOf(plusPlusSeeds(rows, dim, size, seed, level)).map((word) => word.map((value, j) => 2 * value - mean[j]!))
}

test('rows shorter than 5 % of the mean squared norm are no seeds', () => {
  const rows = clustered(400, dim, 50, 1).map((value, at) => (Math.floor(at / dim) % 2 ? value : value * 0.01))
  const mean = squared(rows) / 400
  const seeds = drawnRows(rows, 32, 9, 0)
  equal(seeds.length, 32)
  for (const seed of seeds) ok(squared(seed) >= 0.049 * mean)
})

test('seeds are distinct rows drawn half the way to the mean, the same for a seed and level, others for another', () => {
  const rows = clustered(300, dim, 40, 2)
  const seeds = plusPlusSeeds(rows, dim, 40, 5, 1)
  const known = rowsOf(rows)
  const drawn = drawnRows(rows, 40, 5, 1).map((seed) =>
    known.findIndex((row) => row.every((value, j) => Math.abs(value - seed[j]!) < 1e-5)),
  )
  ok(!drawn.includes(-1))
  equal(new Set(drawn).size, 40)
  deepStrictEqual(plusPlusSeeds(rows, dim, 40, 5, 1), seeds)
  ok(plusPlusSeeds(rows, dim, 40, 6, 1).join() !== seeds.join())
  ok(plusPlusSeeds(rows, dim, 40, 5, 2).join() !== seeds.join())
})

test('seeds spread: one per far cluster', () => {
  const noise = clustered(600, dim, 1, 3)
  const rows = noise.map((value, at) => value * 0.001 + (Math.floor(at / dim) % dim === at % dim ? 10 : 0))
  const axes = drawnRows(rows, dim, 4, 0).map((row) => row.findIndex((value) => value > 5))
  deepStrictEqual(axes.toSorted(), [0, 1, 2, 3, 4, 5])
})

test('rows of many dims are compared by a sketch: seeds still spread, and equal rows are one', () => {
  const wide = 96
  const noise = clustered(960, wide, 1, 3)
  const rows = noise.map((value, at) => value * 0.001 + (Math.floor(at / wide) % 40 === at % wide ? 10 : 0) + 1000)
  const drawn = plusPlusSeeds(rows, wide, 40, 4, 0)
  // Half the way from the mean, 10.25 of 40, an axis stands five above.
  const axes = Array.from({ length: 40 }, (_, seed) => drawn.subarray(seed * wide, (seed + 1) * wide).findIndex((value) => value > 1004))
  deepStrictEqual(
    axes.toSorted((a, b) => a - b),
    Array.from({ length: 40 }, (_, axis) => axis),
  )
  const four = new Float32Array(100 * wide).map((_, at) => ((Math.floor(at / wide) % 4) + 1) * ((at % wide) + 1))
  equal(plusPlusSeeds(four, wide, 8, 1, 0).length, 4 * wide)
})

test('no more seeds than distinct rows; spares stand a 64th of the scale beside used codewords', () => {
  const rows = new Float32Array(10 * dim).fill(1)
  equal(plusPlusSeeds(rows, dim, 4, 1, 0).length, dim)
  equal(plusPlusSeeds(new Float32Array(10 * dim), dim, 4, 1, 0).length, 0)
  const codebook = new Float32Array(4 * dim).fill(1)
  placeSpares(codebook, dim, [0], [1, 2, 3], 6.4, 1, 0)
  for (const word of rowsOf(codebook).slice(1)) ok(Math.abs(Math.sqrt(squared(word.map((value) => value - 1))) - 0.1) < 1e-6)
  equal(new Set(rowsOf(codebook).map((row) => row.join())).size, 4)
})
