import { deepStrictEqual, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { decodeValue, encodeTombstone, encodeValues, isTombstone, valueBytes } from '../../features/index.ts'
import type { ValueRows } from '../../features/index.ts'
import { compareSource } from '../../schemas/index.ts'
import type { SidOrigin, VectorDtype } from '../../schemas/index.ts'

interface GoldenCase {
  readonly name: string
  readonly dtype: VectorDtype | 'none'
  readonly stored: number[]
  readonly scale?: number
  readonly levels: number
  readonly codes: number[]
  readonly origin: SidOrigin
  readonly eventTs: number
  readonly stream: number
  readonly offset: string
  readonly dim: number
  readonly vector: number[]
  readonly hex: string
}

const { cases } = JSON.parse(readFileSync(new URL('../golden/value-v1.json', import.meta.url), 'utf8')) as { cases: GoldenCase[] }
const arrays = { f32: Float32Array, f16: Uint16Array, i8: Int8Array }

function rowOf(golden: GoldenCase): ValueRows {
  const dtype = golden.dtype as VectorDtype
  return {
    rows: 1,
    dtype,
    dim: golden.dim,
    stored: arrays[dtype].from(golden.stored),
    scales: golden.scale === undefined ? undefined : Float32Array.of(golden.scale),
    levels: golden.levels,
    codes: Uint16Array.from(golden.codes),
    origins: [golden.origin],
    eventTs: Float64Array.of(golden.eventTs),
    stream: golden.stream,
    offsets: BigUint64Array.of(BigInt(golden.offset)),
  }
}

const plain = (offsets: bigint[], stored: number[] = []): ValueRows => ({
  rows: offsets.length,
  dtype: 'f32',
  dim: stored.length / Math.max(1, offsets.length),
  stored: Float32Array.from(stored),
  levels: 0,
  codes: new Uint16Array(0),
  origins: offsets.map(() => 'none'),
  eventTs: new Float64Array(offsets.length),
  stream: 1,
  offsets: BigUint64Array.from(offsets),
})

for (const golden of cases) {
  test(`golden bytes: ${golden.name}`, () => {
    const { eventTs, stream, offset } = golden
    const deleted = golden.dtype === 'none'
    const value = deleted ? encodeTombstone({ stream, offset: BigInt(offset), eventTs }) : encodeValues(rowOf(golden))[0]!
    strictEqual(Buffer.from(value).toString('hex'), golden.hex)
    const feature = decodeValue(Buffer.from(golden.hex, 'hex'))
    deepStrictEqual(feature, {
      deleted,
      vector: Float32Array.from(deleted ? [] : golden.vector),
      dtype: golden.dtype,
      sid: Uint16Array.from(deleted ? [] : golden.codes),
      sidOrigin: deleted ? 'none' : golden.origin,
      eventTs,
      stream,
      offset: BigInt(offset),
    })
    strictEqual(isTombstone(value), deleted)
  })
}

test('a value decodes the same at any alignment', () => {
  for (const { hex } of cases) {
    const bytes = Buffer.from(hex, 'hex')
    const expected = decodeValue(bytes)
    for (const shift of [1, 2, 3]) {
      const moved = new Uint8Array(bytes.length + 4)
      moved.set(bytes, shift)
      deepStrictEqual(decodeValue(moved.subarray(shift, shift + bytes.length)), expected)
    }
  }
})

test('every single changed bit and every cut is found', () => {
  const damaged = { code: 'SIDESTREAM_STORE_CORRUPT' }
  for (const { hex } of cases) {
    const bytes = Buffer.from(hex, 'hex')
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Uint8Array.from(bytes)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      throws(() => decodeValue(changed), damaged)
    }
    for (let length = 0; length < bytes.length; length++) throws(() => decodeValue(bytes.subarray(0, length)), damaged)
  }
})

test('values of a batch carry the order of their sources', () => {
  const offsets = [3n, 2n ** 32n + 1n, 2n ** 32n, 2n ** 63n]
  const values = encodeValues(plain(offsets))
  const order = offsets.map((_, i) => i).sort((a, b) => compareSource(values[a]!, values[b]!))
  deepStrictEqual(order, [0, 2, 1, 3])
})

test('an offset array that is a view into a larger buffer is read from its place', () => {
  const all = BigUint64Array.of(9n, 8n, 7n)
  const values = encodeValues({ ...plain([0n, 0n]), offsets: all.subarray(1) })
  deepStrictEqual(
    values.map((value) => decodeValue(value).offset),
    [8n, 7n],
  )
})

test('numbers that are not finite are never published, and the row is named', () => {
  const rows = [0n, 1n]
  throws(() => encodeValues(plain(rows, [1, 2, 3, NaN])), { code: 'SIDESTREAM_VECTOR_NOT_FINITE', message: /row 1/ })
  const half = { ...plain(rows, [1, 2, 3, 4]), dtype: 'f16' as const }
  throws(() => encodeValues({ ...half, stored: Uint16Array.of(0x7c00, 0, 0, 0) }), {
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    message: /row 0/,
  })
  const scales = Float32Array.of(1, Infinity)
  throws(() => encodeValues({ ...half, dtype: 'i8', stored: new Int8Array(4), scales }), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
})

test('arrays that do not fit are refused before anything is written', () => {
  const good = plain([0n, 1n], [1, 2, 3, 4])
  const mismatch = { code: 'SIDESTREAM_SHAPE_MISMATCH' }
  throws(() => encodeValues({ ...good, dim: 3 }), mismatch)
  throws(() => encodeValues({ ...good, levels: 1 }), mismatch)
  throws(() => encodeValues({ ...good, dtype: 'f16' }), mismatch)
  throws(() => encodeValues({ ...good, dtype: 'i8', stored: new Int8Array(4) }), mismatch)
  throws(() => encodeValues({ ...good, eventTs: new Float64Array(1) }), mismatch)
  deepStrictEqual(encodeValues(plain([])), [])
  strictEqual(valueBytes({ dtype: 'f16', dim: 128, levels: 3 }), 32 + 8 + 256)
})
