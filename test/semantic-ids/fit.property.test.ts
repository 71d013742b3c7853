import { ok } from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { fitWithCrew } from '../../semantic-ids/fit.ts'
import { encode, usage } from '../../semantic-ids/index.ts'
import { Crew } from '../../semantic-ids/walk-pool.ts'
import { clustered } from './golden.ts'

// One thread for all fits: starting one takes longer than a fit.
const crew = new Crew(1)
after(() => crew.close())
const seed = 20_262

test('no code of the first level is dead where there are 39 distinct rows per code, balanced or not', async () => {
  const worlds = fc.record({
    size: fc.integer({ min: 1, max: 12 }),
    dim: fc.integer({ min: 1, max: 6 }),
    groups: fc.integer({ min: 1, max: 40 }),
    /** Rows shrink by powers of this, so that most of them stand close to zero. */
    shrink: fc.constantFrom(1, 0.5, 0.1),
    /** Rows that are not distinct, beside those that are. */
    copies: fc.integer({ min: 0, max: 200 }),
    normalize: fc.boolean(),
    balanced: fc.boolean(),
    seed: fc.integer({ min: 0, max: 1000 }),
  })
  await fc.assert(
    fc.asyncProperty(worlds, async ({ size, dim, groups, shrink, copies, normalize, balanced, ...world }) => {
      const distinct = 39 * size
      const x = clustered(distinct, dim, groups, world.seed).map((value, at) => value * shrink ** (Math.floor(at / dim) % 5))
      const vectors = new Float32Array((distinct + copies) * dim)
      vectors.set(x)
      for (let row = distinct; row < distinct + copies; row++) vectors.set(x.subarray(0, dim), row * dim)
      // At unit length a single dim leaves two distinct rows.
      fc.pre(!normalize || dim > 1)
      const ids = Array.from({ length: distinct + copies }, (_, row) => String(row))
      const { codebooks, settings } = await fitWithCrew(
        vectors,
        ids,
        dim,
        {
          sizes: [size],
          seed: world.seed,
          normalize,
          iterations: 6,
          ...(balanced && { balance: { iterations: 20, rounds: 3 } }),
        },
        crew,
      )
      const codes = encode(vectors, codebooks, settings)
      const { dead } = usage(codes, [size]).levels[0]!
      ok(dead === 0, `${dead} of ${size} codes are dead`)
    }),
    { seed, numRuns: 40 },
  )
})
