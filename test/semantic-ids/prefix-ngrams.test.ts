import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { levelOffsets, levelTokens, parseSemanticId, prefixIndex, prefixNgrams, semanticIdText } from '../../semantic-ids/index.ts'
import { flat, golden } from './golden.ts'

const { K, codes, index, unequal, K2048_exact_decimal_strings: large, mod_50000000 } = golden.prefix_ngram

test('indices equal the golden numbers, for equal and unequal sizes', () => {
  const equalSizes = prefixNgrams(flat(codes), [K, K, K])
  deepStrictEqual([...equalSizes.indices], index.flat())
  deepStrictEqual(equalSizes.tableSizes, [584, 584, 584])
  deepStrictEqual([...prefixNgrams(flat(unequal.codes), unequal.K).indices], unequal.index.flat())
})

test('indices past 2^53 are exact, and hashed as the golden file says', () => {
  for (const [at, prefix] of large.codes.entries()) {
    const sizes = prefix.map(() => 2048)
    deepStrictEqual(
      prefix.map((_: number, level: number) => String(prefixIndex(prefix.slice(0, level + 1), sizes))),
      large.index[at],
    )
  }
  const sizes = Array.from({ length: 6 }, () => 2048)
  const hashed = prefixNgrams(flat([large.codes[1]]), sizes, { tableSize: 50_000_000 })
  deepStrictEqual([...hashed.indices], mod_50000000)
  throws(() => prefixNgrams(flat([large.codes[1]]), sizes), { code: 'SIDESTREAM_USAGE_INVALID', message: /tableSize/ })
})

const space = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 })
const spaceAndCodes = space.chain((sizes) =>
  fc.tuple(
    fc.constant(sizes),
    fc.tuple(...sizes.map((size) => fc.integer({ min: 0, max: size - 1 }))),
    fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  ),
)

test('hashing by Horner is the exact index modulo the table', () => {
  fc.assert(
    fc.property(spaceAndCodes, ([sizes, own, tableSize]) => {
      const { indices } = prefixNgrams(Uint16Array.from(own), sizes, { tableSize })
      const exact = sizes.map((_, level) => Number(prefixIndex(own.slice(0, level + 1), sizes) % BigInt(tableSize)))
      deepStrictEqual([...indices], exact)
    }),
    { seed: 11 },
  )
})

test('without hashing every prefix of every length has an index of its own, and the table is full', () => {
  const sizes = [3, 1, 4]
  const all = Array.from({ length: 12 }, (_, i) => [Math.floor(i / 4), 0, i % 4])
  const shared = prefixNgrams(flat(all), sizes)
  const seen = new Set(shared.indices)
  equal(seen.size, 3 + 3 + 12)
  deepStrictEqual([Math.min(...seen), Math.max(...seen), shared.tableSizes[0]], [0, 17, 18])
  const own = prefixNgrams(flat(all), sizes, { tables: 'per-length', lengths: [1, 3] })
  deepStrictEqual(own.tableSizes, [3, 12])
  deepStrictEqual(
    [...new Set(own.indices.filter((_, at) => at % 2 === 1))],
    Array.from({ length: 12 }, (_, i) => i),
  )
  const hashed = prefixNgrams(flat(all), sizes, { tables: 'per-length', tableSize: 5 })
  ok(hashed.indices.every((value) => value < 5))
})

test('a missing ID has the last index of each table and a token of its own', () => {
  const sparse = Int32Array.of(-1, 0, 0, 2, 0, 3)
  const { indices, tableSizes } = prefixNgrams(sparse, [3, 1, 4], { tables: 'per-length' })
  deepStrictEqual([...indices], [3, 3, 12, 2, 2, 11])
  deepStrictEqual(tableSizes, [3, 3, 12])
  deepStrictEqual([...prefixNgrams(sparse, [3, 1, 4], { tableSize: 7 }).indices.subarray(0, 3)], [7, 7, 7])
  deepStrictEqual([...levelOffsets([3, 1, 4])], [0, 3, 4, 8])
  deepStrictEqual([...levelTokens(sparse, [3, 1, 4])], [8, 8, 8, 2, 3, 7])
})

test('text and codes lead back to each other', () => {
  equal(semanticIdText(Uint16Array.of(12, 200, 7)), '12-200-7')
  equal(semanticIdText(Int32Array.of(-1, 0)), null)
  deepStrictEqual([...parseSemanticId('12-200-7', [256, 256, 256])], [12, 200, 7])
  for (const text of ['', '1', '1-2', '1-2-3-4', '1-02-3', '1--3', '1-2-256', ' 1-2-3']) {
    throws(() => parseSemanticId(text, [256, 256, 256]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  }
})

test('codes outside their level and bad options are refused', () => {
  throws(() => prefixNgrams(Uint16Array.of(3), [3]), { code: 'SIDESTREAM_SHAPE_MISMATCH', message: /code 3 on level 1, which holds 3/ })
  throws(() => levelTokens(Int32Array.of(0, -1), [3, 3]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => prefixNgrams(Uint16Array.of(0, 0, 0), [3, 3]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  for (const options of [{ tableSize: 0 }, { tableSize: 2 ** 32 }, { lengths: [] }, { lengths: [2, 1] }, { lengths: [3] }]) {
    throws(() => prefixNgrams(Uint16Array.of(0, 0), [3, 3], options), { code: 'SIDESTREAM_USAGE_INVALID' })
  }
  equal(prefixNgrams(new Uint16Array(0), [3, 3]).indices.length, 0)
})
