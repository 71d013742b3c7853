import { deepStrictEqual, equal, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { cosineNeighbors, fillNormal } from '../../compute/index.ts'

/** The obvious form: all cosines in float64, sorted; equal ones by lower row. */
function plain(x: Float32Array, dim: number, query: number, k: number): number[] {
  const rows = x.length / dim
  const length = (row: number): number => Math.sqrt(x.subarray(row * dim, (row + 1) * dim).reduce((sum, value) => sum + value * value, 0))
  const cosines = Array.from({ length: rows }, (_, row) => {
    let sum = 0
    for (let j = 0; j < dim; j++) sum += x[query * dim + j]! * x[row * dim + j]!
    const [a, b] = [length(query), length(row)]
    return a === 0 || b === 0 ? 0 : sum * (1 / a) * (1 / b)
  })
  const others = Array.from({ length: rows }, (_, row) => row).filter((row) => row !== query)
  return others.toSorted((a, b) => cosines[b]! - cosines[a]! || a - b).slice(0, k)
}

test('neighbors are those of float64 sums, over many blocks and near-ties', async () => {
  const [rows, dim, k] = [700, 24, 5]
  const x = new Float32Array(rows * dim)
  fillNormal(x, 7, 1)
  // Copies of copies: rows that tie exactly, rows that differ in the last bit, a row without a direction.
  for (let row = 300; row < 460; row++) x.copyWithin(row * dim, (row % 7) * dim, (row % 7) * dim + dim)
  for (let row = 460; row < 500; row++) x[row * dim] = x[row * dim]! * (1 + 2 ** -23)
  x.fill(0, 650 * dim, 651 * dim)
  const queries = Uint32Array.of(0, 3, 299, 300, 459, 460, 650, 699)
  for (const blockRows of [64, 700, undefined]) {
    const found = await cosineNeighbors(x, dim, queries, { k, ...(blockRows !== undefined && { blockRows }) })
    for (const [q, query] of queries.entries()) deepStrictEqual([...found.subarray(q * k, (q + 1) * k)], plain(x, dim, query, k))
  }
})

test('neighbors of more queries than one product takes, by rank where cosines are equal, with any number of threads', async () => {
  const [rows, dim, k] = [2100, 3, 4]
  const x = new Float32Array(rows * dim)
  fillNormal(x, 3, 1)
  // Every third row stands again behind it.
  for (let row = 0; row + 1 < rows; row += 3) x.copyWithin((row + 1) * dim, row * dim, (row + 1) * dim)
  const all = Uint32Array.from({ length: rows }, (_, row) => row)
  const options = { k, blockRows: 500 }
  const found = await cosineNeighbors(x, dim, all, options)
  for (const query of [0, 1, 2, 1049, 1050, 1051, 2098, 2099])
    deepStrictEqual([...found.subarray(query * k, (query + 1) * k)], plain(x, dim, query, k))
  deepStrictEqual(await cosineNeighbors(x, dim, all, { ...options, threads: 3 }), found)
  // Ranks from the last row to the first: what equals, comes in the other order.
  const turned = await cosineNeighbors(x, dim, Uint32Array.of(2), { ...options, k: rows - 1, ranks: all.toReversed() })
  const place = new Map([...turned].map((row, at) => [row, at]))
  for (let row = 3; row + 1 < rows; row += 3) equal(place.get(row), place.get(row + 1)! + 1)
})

test('fewer rows than neighbors leave -1', async () => {
  const found = await cosineNeighbors(Float32Array.of(1, 0, 0, 1, 1, 1), 2, Uint32Array.of(2, 0), { k: 4 })
  deepStrictEqual([...found], [0, 1, -1, -1, 2, 1, -1, -1])
  deepStrictEqual([...(await cosineNeighbors(Float32Array.of(1, 2), 2, Uint32Array.of(0), { k: 1 }))], [-1])
  equal((await cosineNeighbors(new Float32Array(0), 2, new Uint32Array(0), { k: 1 })).length, 0)
})

test('a k below 1 and broken rows are refused', async () => {
  await rejects(cosineNeighbors(new Float32Array(4), 2, Uint32Array.of(0), { k: 0 }), { code: 'SIDESTREAM_USAGE_INVALID' })
  await rejects(cosineNeighbors(new Float32Array(5), 2, Uint32Array.of(0), { k: 1 }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})
