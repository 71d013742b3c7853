import { deepStrictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { chunkKey, decodeChunk, decodeTail, encodeChunk, encodeTail, tailKey } from '../../distill/index.ts'

const id = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 })
const event = fc.record({
  itemId: id,
  eventTs: fc.integer({ min: -(2 ** 52), max: 2 ** 52 }),
  behaviors: fc.uniqueArray(fc.constantFrom('view', 'like', 'teilen', '終'), { minLength: 1, maxLength: 4 }),
})
const events = fc
  .array(event, { maxLength: 64 })
  .map((list) => list.map(({ itemId, eventTs, behaviors }) => ({ itemId, eventTs, behaviors })).sort((a, b) => a.eventTs - b.eventTs))

test('a chunk reads back as it was written', () => {
  fc.assert(fc.property(events, (list) => deepStrictEqual(decodeChunk(encodeChunk(list)), list)))
})

test('a tail reads back with the numbers of its chunks', () => {
  fc.assert(
    fc.property(events, fc.nat(), fc.nat(), (list, firstChunk, chunk) => {
      deepStrictEqual(decodeTail(encodeTail({ firstChunk, chunk, events: list })), { firstChunk, chunk, events: list })
    }),
  )
})

test('a chunk cut short or with bytes behind it is corrupt, never shorter', () => {
  fc.assert(
    fc.property(events, fc.nat(), (list, at) => {
      const bytes = encodeChunk(list)
      throws(() => decodeChunk(bytes.subarray(0, at % bytes.length)), { code: 'SIDESTREAM_STORE_CORRUPT' })
      throws(() => decodeChunk(Uint8Array.of(...bytes, 0)), { code: 'SIDESTREAM_STORE_CORRUPT' })
    }),
  )
})

test('no two chunks share a key', () => {
  fc.assert(
    fc.property(id, id, fc.nat(), fc.nat(), (a, b, m, n) => {
      const keys = new Set([tailKey(a), tailKey(b), chunkKey(a, m), chunkKey(b, n)])
      const things = new Set([`${a}`, `${b}`, JSON.stringify([a, m]), JSON.stringify([b, n])])
      deepStrictEqual(keys.size, (a === b ? 1 : 2) + (a === b && m === n ? 1 : 2), [...things].join())
    }),
  )
})
