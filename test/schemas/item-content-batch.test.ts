import { deepStrictEqual, equal, match, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Codec, createItemContentBatch, isPoison, isSidestreamError, rowStates } from '../../schemas/index.ts'
import type { ItemContent, SidestreamError } from '../../schemas/index.ts'
import { arbitraryRecords, vector } from './sample-records.ts'

const codec = new Codec()
const modalities = [
  { name: 'vision', dim: 3 },
  { name: 'text', dim: 2 },
]

function encode(itemId: string, vectors: Record<string, number[]>, eventTs = 1): Uint8Array {
  return codec.encode('item-content', {
    itemId,
    eventTs,
    vectors: Object.fromEntries(Object.entries(vectors).map(([name, values]) => [name, new Float32Array(values)])),
  })
}

test('rows hold ids, times, vectors and presence; absent modalities are zero', () => {
  const out = createItemContentBatch(3, modalities)
  codec.decodeItemContentBatch([encode('a', { text: [1, 2], vision: [3, 4, 5] }, 10), encode('b', { text: [6, 7] }, 20), null], out)
  equal(out.count, 3)
  deepStrictEqual(out.ids, ['a', 'b', ''])
  deepStrictEqual([...out.eventTs], [10, 20, 0])
  deepStrictEqual([...out.states], [rowStates.content, rowStates.content, rowStates.tombstone])
  deepStrictEqual([...out.vectors[0]!], [3, 4, 5, 0, 0, 0, 0, 0, 0])
  deepStrictEqual([...out.vectors[1]!], [1, 2, 6, 7, 0, 0])
  deepStrictEqual(
    [[...out.present[0]!], [...out.present[1]!]],
    [
      [1, 0, 0],
      [1, 1, 0],
    ],
  )
  equal(out.errors.size, 0)
})

test('poison rows have their error and are zero, the others are read; nothing of the batch before is left', () => {
  const out = createItemContentBatch(8, modalities)
  const full = encode('x', { text: [9, 9], vision: [9, 9, 9] })
  codec.decodeItemContentBatch(
    Array.from({ length: 8 }, () => full),
    out,
  )
  const notFinite = Buffer.from(encode('n', { text: [1, 2], vision: [1, 2, 3] }))
  notFinite.writeFloatLE(NaN, notFinite.indexOf(Buffer.from(new Float32Array([1, 2, 3]).buffer)) + 8)
  codec.decodeItemContentBatch(
    [
      full.subarray(0, full.length - 1),
      encode('d', { text: [1, 2, 3] }),
      notFinite,
      Buffer.from('garbage'),
      encode('u', { audio: [1] }),
      new Uint8Array(2_000_000),
      encode('ok', { text: [1, 2] }),
    ],
    out,
  )
  equal(out.count, 7)
  deepStrictEqual([...out.states.subarray(0, 7)], [2, 2, 2, 2, 2, 2, 0])
  deepStrictEqual(
    [...out.errors].map(([row, error]) => [row, error.code]),
    [
      [0, 'SIDESTREAM_RECORD_UNDECODABLE'],
      [1, 'SIDESTREAM_VECTOR_DIM_MISMATCH'],
      [2, 'SIDESTREAM_VECTOR_NOT_FINITE'],
      [3, 'SIDESTREAM_RECORD_UNDECODABLE'],
      [4, 'SIDESTREAM_RECORD_INVALID'],
      [5, 'SIDESTREAM_RECORD_TOO_LARGE'],
    ],
  )
  match(out.errors.get(1)!.message, /vectors.text has dimension 3, expected 2/)
  deepStrictEqual(
    [...out.vectors[0]!.subarray(0, 7 * 3)],
    Array.from({ length: 21 }, () => 0),
  )
  deepStrictEqual([...out.vectors[1]!.subarray(0, 7 * 2)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2])
  deepStrictEqual([...out.present[0]!.subarray(0, 7), ...out.present[1]!.subarray(0, 7)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
})

test('an unknown modality is dropped, or refused when asked', () => {
  const out = createItemContentBatch(1, modalities)
  const values = [encode('a', { text: [1, 2], audio: [1] })]
  codec.decodeItemContentBatch(values, out)
  equal(out.states[0], rowStates.content)
  codec.decodeItemContentBatch(values, out, { unknownModality: 'refuse' })
  match(out.errors.get(0)!.message, /vectors.audio is not a configured modality; known are vision, text/)
})

test('more values than rows is an error of the caller', () => {
  const out = createItemContentBatch(1, modalities)
  throws(
    () => codec.decodeItemContentBatch([null, null], out),
    (error) => isSidestreamError(error) && error.code === 'SIDESTREAM_SHAPE_MISMATCH',
  )
})

function single(value: Uint8Array): ItemContent | SidestreamError {
  try {
    return codec.decode('item-content', value, { modalities: new Map(modalities.map(({ name, dim }) => [name, dim])) })
  } catch (error) {
    ok(isPoison(error))
    return error
  }
}

test('a batch says of every value what the single decode says', () => {
  const named = fc
    .tuple(
      arbitraryRecords['item-content'],
      fc.record({ vision: vector, text: vector, audio: vector }, { requiredKeys: [], noNullPrototype: true }),
    )
    .filter(([, vectors]) => Object.keys(vectors).length > 0)
    .map(([record, vectors]) => ({ ...record, vectors }) as ItemContent)
  const change = fc.option(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { freq: 2 })
  const out = createItemContentBatch(10, modalities)
  fc.assert(
    fc.property(fc.array(fc.tuple(named, change, fc.boolean()), { maxLength: 10 }), (rows) => {
      const values = rows.map(([record, changed, fits]) => {
        const vectors = fits
          ? Object.fromEntries(modalities.map(({ name, dim }) => [name, new Float32Array(dim).fill(0.5)]))
          : record.vectors
        const bytes = Buffer.from(codec.encode('item-content', { ...record, vectors }))
        if (changed !== null) bytes[changed[0] % bytes.length] = changed[1]
        return bytes
      })
      codec.decodeItemContentBatch(values, out)
      values.forEach((value, row) => {
        const expected = single(value)
        if (expected instanceof Error) {
          equal(out.states[row], rowStates.poison)
          // A changed byte can break two rules at once; which is named first is not promised.
          if (rows[row]![1] === null) equal(out.errors.get(row)?.code, expected.code)
          else ok(isPoison(out.errors.get(row)))
          return
        }
        equal(out.states[row], rowStates.content)
        equal(out.ids[row], expected.itemId)
        equal(out.eventTs[row], expected.eventTs)
        modalities.forEach(({ name, dim }, m) => {
          equal(out.present[m]![row], expected.vectors[name] === undefined ? 0 : 1)
          deepStrictEqual(out.vectors[m]!.slice(row * dim, (row + 1) * dim), expected.vectors[name] ?? new Float32Array(dim))
        })
      })
    }),
    { numRuns: 500 },
  )
})
