import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { ParentCodes, withVanished } from '../../semantic-ids/index.ts'

const table = (ids: readonly string[], code = 0) => ({ ids, codes: new Uint16Array(ids.length * 2).fill(code), levels: 2 })
const parentsOf = (ids: readonly string[], code = 0): ParentCodes => ParentCodes.of(ids, table(ids, code).codes, 2)
const idsIn = (parents: ParentCodes): string[] => [...parents.entries()].map(([id]) => id)

test('published codes win over remembered ones, and items that came back are counted', () => {
  const { parents, returned, forgotten } = withVanished(table(['a', 'b'], 1), parentsOf(['b', 'c', 'd'], 7), ['a', 'c', 'new'])
  deepStrictEqual([...parents.lookup(['a', 'b', 'c', 'd', 'new'])], [1, 1, 1, 1, 7, 7, 7, 7, -1, -1])
  deepStrictEqual([returned, forgotten], [1, 0])
})

test('beyond its room the table forgets who was away before, never who is here or vanished just now', () => {
  const earlier = Array.from({ length: 100 }, (_, i) => `old-${i}`)
  const present = ['a', 'old-3']
  const { parents, returned, forgotten } = withVanished(table(['a', 'just-gone']), parentsOf(earlier), present, 11)
  deepStrictEqual([parents.rows, returned, forgotten], [13, 1, 89])
  for (const id of ['a', 'old-3', 'just-gone']) ok(idsIn(parents).includes(id), id)
  const again = withVanished(table(['just-gone', 'a']), parentsOf(earlier.toReversed()), present, 11)
  deepStrictEqual(again.parents.toBytes(), parents.toBytes())
  const other = withVanished(table(['a', 'just-gone']), parentsOf([...earlier, 'older']), present, 11)
  ok(idsIn(other.parents).join() !== idsIn(parents).join(), 'another table, another draw')
  equal(withVanished(table(['a', 'just-gone']), parentsOf(earlier), present, 0).parents.rows, 3)
})

test('a table of another shape says nothing', () => {
  equal(withVanished(table(['a']), ParentCodes.of(['b'], new Uint16Array(3), 3), ['a']).parents.rows, 1)
})
