import { deepStrictEqual, equal, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Codec, encodeItemFeatures, isPoison, limits } from '../../schemas/index.ts'
import type { ItemFeature } from '../../schemas/index.ts'

const codec = new Codec()
const id = fc.oneof(
  fc.string({ minLength: 1, maxLength: 70, unit: 'grapheme' }).filter((text) => Buffer.byteLength(text) <= 512 && !text.includes('\ufffd')),
  fc.integer({ min: 60, max: 68 }).map((length) => 'x'.repeat(length)),
  fc.integer({ min: 0, max: 512 - 63 }).map((length) => 'y'.repeat(63 + length)),
  fc.integer({ min: 30, max: 34 }).map((length) => 'é'.repeat(length)),
)

test('every record is byte for byte what the codec writes, and its key is the item id', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ id, value: fc.uint8Array({ maxLength: 300 }) }), { maxLength: 12 }),
      fc.string({ minLength: 1, maxLength: 20 }),
      fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 }),
      fc.integer({ min: 0, max: limits.eventTs }),
      (entries, view, version, ackedTs) => {
        const records = encodeItemFeatures({ view, version, ackedTs, entries })
        equal(records.length, entries.length)
        for (const [i, { id: itemId, value }] of entries.entries()) {
          deepStrictEqual(
            Buffer.from(records[i]!.value),
            Buffer.from(codec.encode('item-features', { itemId, view, version, value, ackedTs })),
          )
          equal(Buffer.from(records[i]!.key).toString(), itemId)
        }
      },
    ),
    { examples: [[[{ id: 'é'.repeat(32), value: new Uint8Array(8192) }], 'v', 0, 0]] },
  )
})

test('what the codec refuses is refused', () => {
  const good = { view: 'main', version: 1, ackedTs: 1, entries: [{ id: 'a', value: new Uint8Array(3) }] }
  const bad: Partial<typeof good>[] = [
    { view: '' },
    { version: -1 },
    { ackedTs: 0.5 },
    { entries: [{ id: '', value: new Uint8Array(1) }] },
    { entries: [{ id: 'x'.repeat(513), value: new Uint8Array(1) }] },
    { entries: [{ id: '\ud800', value: new Uint8Array(1) }] },
    { entries: [{ id: 'large', value: new Uint8Array(limits.recordBytes) }] },
  ]
  for (const change of bad) {
    const rows = { ...good, ...change }
    const [first] = rows.entries
    const single: ItemFeature = { itemId: first!.id, view: rows.view, version: rows.version, value: first!.value, ackedTs: rows.ackedTs }
    throws(() => codec.encode('item-features', single), isPoison)
    throws(() => encodeItemFeatures(rows), isPoison)
  }
})
