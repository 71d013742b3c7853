import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import { decodeValue, encodeValues, quantizeRows } from '../../features/index.ts'
import { sidOrigins } from '../../schemas/index.ts'

const dtype = fc.constantFrom('f32' as const, 'f16' as const, 'i8' as const)
const batch = fc
  .record({ rows: fc.integer({ min: 1, max: 6 }), dim: fc.integer({ min: 1, max: 40 }), levels: fc.integer({ min: 0, max: 5 }), dtype })
  .chain(({ rows, dim, levels, ...rest }) =>
    fc.record({
      rows: fc.constant(rows),
      dim: fc.constant(dim),
      levels: fc.constant(levels),
      dtype: fc.constant(rest.dtype),
      vectors: fc.float32Array({ minLength: rows * dim, maxLength: rows * dim, min: -60_000, max: 60_000, noNaN: true }),
      codes: fc.uint16Array({ minLength: rows * levels, maxLength: rows * levels }),
      origins: fc.array(fc.constantFrom(...sidOrigins), { minLength: rows, maxLength: rows }),
      eventTs: fc.array(fc.maxSafeInteger(), { minLength: rows, maxLength: rows }),
      offsets: fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: rows, maxLength: rows }),
      stream: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    }),
  )

test('what is encoded is decoded: header, codes and stored numbers exactly, vectors within the error of their type', () => {
  fc.assert(
    fc.property(batch, (rows) => {
      const { dim, levels, vectors } = rows
      const { stored, scales } = quantizeRows(vectors, dim, rows.dtype)
      const values = encodeValues({
        ...rows,
        stored,
        scales,
        eventTs: Float64Array.from(rows.eventTs),
        offsets: BigUint64Array.from(rows.offsets),
      })
      for (const [row, value] of values.entries()) {
        const { vector, sid, ...header } = decodeValue(value)
        deepStrictEqual(header, {
          deleted: false,
          dtype: rows.dtype,
          sidOrigin: rows.origins[row],
          eventTs: rows.eventTs[row]! + 0, // -0 is stored as 0
          stream: rows.stream,
          offset: rows.offsets[row],
        })
        deepStrictEqual([...sid], [...rows.codes.subarray(row * levels, (row + 1) * levels)])
        const original = vectors.subarray(row * dim, (row + 1) * dim)
        // Half a step; the scale of subnormal numbers is itself rounded, by up to 2^-150 per step.
        const allowed = rows.dtype === 'i8' ? scales![row]! * 0.5001 + 127 * 2 ** -150 : undefined
        for (const [i, x] of original.entries()) {
          const error = Math.abs(vector[i]! - x)
          if (rows.dtype === 'f32') ok(error === 0)
          else ok(error <= (allowed ?? Math.max(2 ** -25, Math.abs(x) * 2 ** -11)), `${x} became ${vector[i]}`)
        }
      }
    }),
  )
})
