import { deepStrictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { identicalRows, orderAmong, prefixOrder, prefixStarts } from '../../semantic-ids/buckets.ts'

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

test('the order of some rows is that of these rows alone, under their own numbers', () => {
  fc.assert(
    fc.property(table, fc.infiniteStream(fc.integer({ min: 0, max: 1 })), ([sizes, rows], stream) => {
      const mask = Uint8Array.from(rows, () => stream.next().value!)
      const kept = [...rows.keys()].filter((row) => mask[row] === 1)
      const some = orderAmong(prefixOrder(Uint16Array.from(rows.flat()), sizes), mask)
      const alone = prefixOrder(Uint16Array.from(kept.flatMap((row) => rows[row]!)), sizes)
      deepStrictEqual(
        [...some.order],
        Array.from(alone.order, (place) => kept[place]!),
      )
      deepStrictEqual({ items: some.items, starts: some.starts }, { items: alone.items, starts: alone.starts })
    }),
  )
})

test('rows are identical when all their bytes are, for any dimension, and are numbered as they appear', () => {
  const value = fc.constantFrom(0, -0, 1, -1, 2 ** -149, 1 + 2 ** -23)
  const set = fc
    .integer({ min: 1, max: 9 })
    .chain((dim) => fc.tuple(fc.constant(dim), fc.array(fc.array(value, { minLength: dim, maxLength: dim }), { maxLength: 40 })))
  fc.assert(
    fc.property(set, ([dim, rows]) => {
      const vectors = Float32Array.from(rows.flat())
      const names = rows.map((_, row) => new Uint32Array(vectors.buffer, row * dim * 4, dim).join())
      const distinct = [...new Set(names)]
      const { of, counts } = identicalRows(vectors, dim)
      deepStrictEqual(
        [...of],
        names.map((name) => distinct.indexOf(name)),
      )
      deepStrictEqual(
        [...counts],
        distinct.map((name) => names.filter((other) => other === name).length),
      )
    }),
  )
})
