import { deepStrictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { prefixOrder, prefixStarts } from '../../semantic-ids/buckets.ts'

const space = fc.array(fc.constantFrom(1, 2, 3, 200, 256, 2048, 65_536), { minLength: 1, maxLength: 5 })
const table = space.chain((sizes) =>
  fc.tuple(
    fc.constant(sizes),
    fc.array(fc.tuple(...sizes.map((size) => fc.integer({ min: Math.max(0, size - 3), max: size - 1 }))), { maxLength: 30 }),
  ),
)

test('rows are sorted by their codes and every prefix begins where it changes, for IDs of any number of bits', () => {
  fc.assert(
    fc.property(table, ([sizes, rows]) => {
      const { order, starts } = prefixOrder(Uint16Array.from(rows.flat()), sizes)
      deepStrictEqual(prefixStarts(Uint16Array.from(rows.flat()), sizes).starts, starts)
      const compare = (a: readonly number[], b: readonly number[]): number =>
        a.map((code, level) => code - b[level]!).find((one) => one !== 0) ?? 0
      const expected = [...rows.keys()].sort((a, b) => compare(rows[a]!, rows[b]!) || a - b)
      deepStrictEqual([...order], expected)
      for (let length = 1; length <= sizes.length; length++) {
        const changes = expected.flatMap((row, i) => {
          const prefix = rows[row]!.slice(0, length).join()
          return i === 0 || rows[expected[i - 1]!]!.slice(0, length).join() !== prefix ? [i] : []
        })
        deepStrictEqual([...starts[length - 1]!], [...changes, rows.length])
      }
    }),
    { seed: 5, numRuns: 400 },
  )
})
