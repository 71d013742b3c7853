import { deepStrictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { rowsAmong, sortedOrder } from '../../semantic-ids/index.ts'

const ids = fc.oneof(
  fc.array(fc.string({ unit: 'binary', maxLength: 6 }), { maxLength: 80 }),
  fc.array(fc.constantFrom('item-1', 'item-10', 'item-2', 'item-', 'item-2\u{0}', 'item-é', 'item-\uffff', 'itém'), { maxLength: 80 }),
  fc.array(fc.nat(), { maxLength: 80 }).map((numbers) => numbers.map((number) => `a-long-beginning-${number}-a-long-end-${number % 7}`)),
)

test('ids stand in the order in which JavaScript compares them, equal ones as they came', () => {
  fc.assert(
    fc.property(ids, (given) => {
      const expected = given.map((_, row) => row).sort((a, b) => (given[a]! < given[b]! ? -1 : given[a]! > given[b]! ? 1 : a - b))
      deepStrictEqual(Array.from(sortedOrder(given)), expected)
    }),
    { numRuns: 500 },
  )
})

test('each id finds its row among others', () => {
  fc.assert(
    fc.property(ids, ids, (one, other) => {
      const [own, others] = [[...new Set(one)], [...new Set(other)]]
      const ordered = (some: string[]) => ({ ids: some, order: sortedOrder(some) })
      deepStrictEqual(
        Array.from(rowsAmong(ordered(own), ordered(others))),
        own.map((id) => others.indexOf(id)),
      )
    }),
  )
})
