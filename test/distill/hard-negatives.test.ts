/** Mining against the golden numbers and against its definition, pair by pair. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { lambdaStarOfPairs, mineHardNegatives, plainSimilarity } from '../../distill/index.ts'
import { isSidestreamError } from '../../schemas/index.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8')).hard_negatives
const mismatch = (error: unknown): boolean => isSidestreamError(error) && error.code === 'SIDESTREAM_SHAPE_MISMATCH'
const floats = (values: readonly number[]): Float32Array => Float32Array.from(values)
const ids = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

test('golden: threshold, false negatives dropped, the two hardest below it', async () => {
  const { inputs, outputs } = golden
  const queries = floats(inputs.q_unit.flat())
  const pool = floats(inputs.t_unit.flat())
  const pairs = { queryIds: ids('q', 5), targetIds: ids('t', 5) }
  for (const open of [undefined, plainSimilarity]) {
    const { lambda } = await lambdaStarOfPairs({ queries, targets: pool, dim: 3 }, pairs, open)
    const mined = await mineHardNegatives(
      { queries, pool, dim: 3, pairs, poolIds: ids('t', 5), lambda },
      { perQuery: inputs.per_query },
      open,
    )
    deepStrictEqual([...mined.rows], outputs.hard_indices.flat())
    strictEqual(mined.dropped, outputs.dropped_as_false_negative.length)
    strictEqual(mined.empty, 0)
    mined.similarities.forEach((similarity, place) => {
      ok(Math.abs(similarity - outputs.cos[Math.floor(place / 2)][mined.rows[place]!]) < 1e-6)
    })
  }
})

test('a query with few candidates leaves places empty, masked', async () => {
  const pool = floats([1, 0, 0.6, 0.8, 0, 1, -1, 0])
  const input = {
    queries: floats([1, 0, 0, 2]),
    pool,
    dim: 2,
    pairs: { queryIds: ['a', 'b'], targetIds: ['x0', 'x2'], excluded: (row: number) => (row === 1 ? ['x0', 'x3'] : []) },
    poolIds: ids('x', 4),
    lambda: 0.7,
  }
  const mined = await mineHardNegatives(input, { perQuery: 3 }, plainSimilarity)
  deepStrictEqual([...mined.rows], [1, 2, 3, -1, -1, -1])
  deepStrictEqual([...mined.mask], [1, 1, 1, 0, 0, 0])
  // Query b: x1 at .8 reaches lambda, the others are its own or excluded.
  deepStrictEqual([mined.dropped, mined.empty], [1, 3])
  strictEqual((await mineHardNegatives(input, {}, plainSimilarity)).rows.length, 8)
})

test('rows of zeros are neither chosen nor given negatives', async () => {
  const mined = await mineHardNegatives(
    {
      queries: floats([1, 0, 0, 0]),
      pool: floats([0, 0, -1, 0, -0.5, 0.1]),
      dim: 2,
      pairs: { queryIds: ['a', 'b'], targetIds: ['-', '-'] },
      poolIds: ids('x', 3),
      lambda: Infinity,
    },
    { perQuery: 2 },
    plainSimilarity,
  )
  deepStrictEqual([...mined.rows], [2, 1, -1, -1])
})

// Small whole coordinates: equal cosines are common.
const vector = fc.array(fc.integer({ min: -1, max: 1 }), { minLength: 3, maxLength: 3 })
const scene = fc.record({
  queries: fc.array(vector, { minLength: 1, maxLength: 6 }),
  pool: fc.array(vector, { minLength: 1, maxLength: 12 }),
  lambda: fc.constantFrom(-0.4, 0.1, 0.6, 0.9, Infinity),
  perQuery: fc.integer({ min: 1, max: 5 }),
  seed: fc.nat(1000),
})

test('mined are the most similar below lambda that are no positives, by lower row on ties', async () => {
  await fc.assert(
    fc.asyncProperty(scene, async ({ queries, pool, lambda, perQuery, seed }) => {
      const queryIds = queries.map((_, i) => `q${(i * seed) % 3}`)
      const targetIds = queries.map((_, i) => `x${(i + seed) % pool.length}`)
      const excluded = (row: number): string[] => [`x${(row * 5 + seed) % 4}`]
      const input = { queries: floats(queries.flat()), pool: floats(pool.flat()), dim: 3 }
      const mined = await mineHardNegatives(
        { ...input, pairs: { queryIds, targetIds, excluded }, poolIds: ids('x', pool.length), lambda },
        { perQuery },
        plainSimilarity,
      )
      let dropped = 0
      const expected = queries.flatMap((query, i) => {
        const banned = new Set([...excluded(i), ...targetIds.filter((_, k) => queryIds[k] === queryIds[i])])
        const unit = (v: readonly number[]): Float32Array => floats(v.map((x) => x / Math.hypot(...v)))
        const [u, none] = [unit(query), Array<number>(perQuery).fill(-1)]
        if (Math.hypot(...query) === 0) return none
        const candidates = pool
          .map((item, row) => ({
            row,
            length: Math.hypot(...item),
            score: Math.fround(unit(item).reduce((s, x, d) => Math.fround(s + x * u[d]!), 0)),
          }))
          .filter(({ row, length }) => length > 0 && !banned.has(`x${row}`))
        dropped += candidates.filter(({ score }) => score >= lambda).length
        const hard = candidates.filter(({ score }) => score < lambda).sort((a, b) => b.score - a.score || a.row - b.row)
        return [...hard.map(({ row }) => row), ...none].slice(0, perQuery)
      })
      deepStrictEqual([...mined.rows], expected)
      strictEqual(mined.dropped, dropped)
    }),
    { numRuns: 300 },
  )
})

test('wrong shapes, a threshold that is no number and vectors that are none are refused', async () => {
  const good = {
    queries: floats([1, 0]),
    pool: floats([1, 0, 0, 1]),
    dim: 2,
    pairs: { queryIds: ['a'], targetIds: ['x'] },
    poolIds: ['x', 'y'],
    lambda: 0.5,
  }
  for (const bad of [{ lambda: NaN }, { poolIds: ['x'] }, { queries: floats([1]) }, { queries: floats([1, NaN]) }]) {
    await rejects(mineHardNegatives({ ...good, ...bad }, {}, plainSimilarity), mismatch)
  }
})
