import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import {
  bundleOf,
  codebooksOf,
  decode,
  encode,
  encodeDefaults,
  encodeSticky,
  fsqOf,
  ParentCodes,
  penaltiesOfPrices,
  reconstruction,
  SemanticIdEncoder,
  type Quantizer,
} from '../../semantic-ids/index.ts'
import { codebooks, encoded, flat, golden, settings, x } from './golden.ts'

const origin = { parent: null, idSpace: 'test', input: {}, training: {}, policy: {} }

/** Codes by the worker's graph, settled. */
async function byWorker(quantizer: Quantizer, vectors: Float32Array): Promise<Uint16Array> {
  const parents = ParentCodes.empty(quantizer.codebooks.sizes.length)
  const encoder = await SemanticIdEncoder.create(bundleOf({ ...quantizer, delta: 0, parents, origin }))
  try {
    return (await encoder.encode(vectors)).codes
  } finally {
    await encoder.close()
  }
}

test('a beam of 3 changes the golden rows 16 and 59 and lowers the error to .7467', async () => {
  const beam = { ...settings, beam: 3 }
  const codes = encode(x, codebooks, beam)
  deepStrictEqual(codes, flat(golden.encode_beam_3.codes))
  const changed = Array.from({ length: 60 }, (_, row) => row).filter(
    (row) => codes[row * 2] !== encoded[row * 2] || codes[row * 2 + 1] !== encoded[row * 2 + 1],
  )
  deepStrictEqual(changed, [16, 59])
  const { distortion } = reconstruction(x, codes, codebooks, settings)
  const squared = golden.encode_beam_3.squared_error as number[]
  ok(Math.abs(distortion - squared.reduce((sum, error) => sum + error, 0) / 60) < 1e-15)
  equal(distortion.toFixed(4), '0.7467')
  deepStrictEqual(await byWorker({ codebooks, settings: beam }, x), codes)
})

test('the finite-scalar level gives the golden digits in mixed radix', async () => {
  const { levels, projection, residuals, index } = golden.fsq_last_level
  const rows = Float32Array.from(residuals.flat())
  // A first level of one zero codeword leaves the vectors as they are.
  const books = codebooksOf(4, [new Float32Array(4)], { fsq: fsqOf(levels, Float32Array.from(projection.flat())) })
  deepStrictEqual(books.sizes, [1, 15])
  const expected = Uint16Array.from((index as number[]).flatMap((code) => [0, code]))
  deepStrictEqual(encode(rows, books, settings), expected)
  deepStrictEqual(await byWorker({ codebooks: books, settings }, rows), expected)
  // It adds nothing to what codes stand for.
  deepStrictEqual(decode(expected, books), new Float32Array(32))
})

test('digits step where the published formula steps, of even numbers of values too', () => {
  for (const values of [2, 3, 4, 5, 8, 9]) {
    const books = codebooksOf(1, [new Float32Array(1)], { fsq: fsqOf([values], Float32Array.of(1)) })
    const half = (values - 1) / 2
    for (let u = -4; u <= 4; u += 0.137) {
      const shift = values % 2 === 0 ? Math.tan(0.5 / half) : 0
      const digit = values % 2 === 0 ? Math.floor(half * Math.tanh(u + shift)) + values / 2 : Math.floor(half * Math.tanh(u) + 0.5) + half
      equal(encode(Float32Array.of(u), books, settings)[1], digit, `${values} values at ${u}`)
    }
  }
})

test('frozen prices give the golden balanced codes', async () => {
  const { batches, codes_with_frozen_price } = golden.balanced_streaming
  const words = codebooks.levels[0]!.slice(0, 5 * 4)
  const penalties = penaltiesOfPrices(batches.at(-1).squared_distance_price)
  equal(Math.min(...penalties), 0)
  const books = codebooksOf(4, [words], { penalties: [penalties] })
  const expected = Uint16Array.from(codes_with_frozen_price as number[])
  deepStrictEqual(encode(x, books, settings), expected)
  deepStrictEqual(await byWorker({ codebooks: books, settings }, x), expected)
})

test('residuals at unit length: codes by direction, errors in the scale of the vectors', async () => {
  // East or north; then what is left of (3, 1), east taken away, points north-west.
  const books = codebooksOf(2, [Float32Array.of(1, 0, 0, 1), Float32Array.of(0, -1, -0.1, 1)])
  const unit = { normalize: false, recheckTolerance: 1e-5, normalizeResiduals: true }
  const rows = Float32Array.of(3, 1, 30, 10, 0, 0, 0, 5)
  const codes = encode(rows, books, unit)
  deepStrictEqual([...codes.subarray(0, 4)], [0, 1, 0, 1], 'length does not matter')
  deepStrictEqual(await byWorker({ codebooks: books, settings: unit }, rows), codes)
  const one = reconstruction(rows.slice(0, 2), codes.slice(0, 2), books, unit)
  const length = Math.sqrt(10)
  const first = [3 - length, 1]
  const left = Math.hypot(...first)
  ok(Math.abs(one.residualNorms[0]! - left) < 1e-6)
  ok(Math.abs(one.distortion - ((first[0]! + 0.1 * left) ** 2 + (1 - left) ** 2)) < 1e-6)
})

test('by beam the sticky rule keeps an ID as a whole, or leaves it as a whole', () => {
  const beam = { ...settings, beam: 3 }
  const best = encode(x, codebooks, beam)
  const squared = (codes: Uint16Array): number[] =>
    Array.from({ length: 60 }, (_, row) =>
      [0, 1, 2, 3].reduce((sum, j) => {
        const words = codebooks.levels.map((level, l) => level[codes[row * 2 + l]! * 4 + j]!)
        return sum + (x[row * 4 + j]! - words[0]! - words[1]!) ** 2
      }, 0),
    )
  // Last published: the greedy codes of the row before.
  const old = Int32Array.from(encoded, (_, at) => encoded[(at + 118) % 120]!)
  const [bestErrors, oldErrors] = [squared(best), squared(new Uint16Array(old))]
  for (const delta of [0, 0.3, 2, Infinity]) {
    const codes = encodeSticky(x, codebooks, beam, { old, delta })
    for (let row = 0; row < 60; row++) {
      const from = oldErrors[row]! <= (1 + delta) * bestErrors[row]! || delta === Infinity ? old : best
      deepStrictEqual([...codes.subarray(row * 2, row * 2 + 2)], [...from.subarray(row * 2, row * 2 + 2)])
    }
  }
})

test('what does not go together is refused with its reason', () => {
  const zero = new Float32Array(4)
  const bundle = (change: Partial<Quantizer>): unknown =>
    bundleOf({ codebooks, settings: encodeDefaults, delta: 0, parents: ParentCodes.empty(2), origin, ...change })
  throws(() => bundle({ settings: { ...encodeDefaults, beam: 0 } }), { code: 'SIDESTREAM_USAGE_INVALID' })
  throws(() => bundle({ settings: { ...encodeDefaults, beam: 2, normalizeResiduals: true } }), { code: 'SIDESTREAM_USAGE_INVALID' })
  throws(() => bundle({ network: { layers: [{ weights: new Float32Array(6), bias: new Float32Array(3) }] } }), {
    code: 'SIDESTREAM_SHAPE_MISMATCH',
  })
  const shape = { code: 'SIDESTREAM_SHAPE_MISMATCH' }
  throws(() => codebooksOf(4, [zero], { penalties: [Float32Array.of(1)] }), shape)
  throws(() => codebooksOf(4, [zero], { penalties: [Float32Array.of(0, 0)] }), shape)
  throws(() => codebooksOf(4, [zero], { penalties: [] }), shape)
  throws(() => codebooksOf(4, [zero], { penalties: [Float32Array.of(NaN)] }), shape)
  throws(() => codebooksOf(4, [zero], { fsq: fsqOf([1, 3], new Float32Array(8)) }), shape)
  throws(() => codebooksOf(4, [zero], { fsq: fsqOf([3], new Float32Array(3)) }), shape)
  throws(() => codebooksOf(4, [zero], { fsq: fsqOf([200, 200, 200], new Float32Array(12)) }), shape)
  throws(() => codebooksOf(4, [zero], { fsq: fsqOf([3], Float32Array.of(1, NaN, 0, 0)) }), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
})
