/** Input statistics: what half-whitening does to a cloud of vectors, and to the odd vector. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { fillNormal } from '../../compute/index.ts'
import { fitStatistics, halfWhiten, modalityStatistics, whiteningMatrix, type ContentVectors } from '../../distill/index.ts'

const modality = { name: 'text', dim: 3 }

/** Rows along known axes: (1, 1, 0), (1, -1, 0), (0, 0, 1) with sd 4, 1, 0.25 around (5, -3, 2). */
function cloud(n: number): Float32Array {
  const noise = new Float64Array(n * 3)
  fillNormal(noise, 4, 0)
  return Float32Array.from({ length: n * 3 }, (_, at) => {
    const [a, b, c] = noise.subarray(at - (at % 3), at - (at % 3) + 3) as unknown as [number, number, number]
    return [5 + (4 * a + b) / Math.SQRT2, -3 + (4 * a - b) / Math.SQRT2, 2 + 0.25 * c][at % 3]!
  })
}

test('axes come by descending spread, their largest component positive', () => {
  const { mean, axes, sd, rows } = modalityStatistics(modality, cloud(4000))
  strictEqual(rows, 4000)
  const close = (actual: Float32Array, expected: readonly number[], tolerance: number): void =>
    expected.forEach((x, i) => ok(Math.abs(actual[i]! - x) < tolerance, `${i}: ${actual[i]}, expected ${x}`))
  close(mean, [5, -3, 2], 0.2)
  close(sd, [4, 1, 0.25], 0.1)
  const half = Math.SQRT1_2
  close(axes.subarray(0, 3), [half, half, 0], 0.02)
  close(axes.subarray(6, 9), [0, 0, 1], 0.02)
  for (let k = 0; k < 3; k++) {
    const axis = [...axes.subarray(k * 3, k * 3 + 3)]
    ok(axis.find((x) => Math.abs(x) === Math.max(...axis.map(Math.abs)))! > 0)
  }
})

test('half-whitened rows have unit length, and spread by the square root of what it was', () => {
  const packed = cloud(4000)
  const statistics = modalityStatistics(modality, packed)
  const matrix = whiteningMatrix(statistics)
  for (const [k, expected] of [2, 1, 0.5].entries()) {
    let squares = 0
    for (let i = 0; i < 4000; i++) {
      let x = 0
      for (let j = 0; j < 3; j++) x += (packed[i * 3 + j]! - statistics.mean[j]!) * matrix[j * 3 + k]!
      squares += x * x
    }
    ok(Math.abs(Math.sqrt(squares / 4000) - expected) < 0.05)
  }
  const white = halfWhiten(statistics, packed)
  for (let i = 0; i < 4000; i++) ok(Math.abs(Math.hypot(...white.subarray(i * 3, i * 3 + 3)) - 1) < 1e-6)
})

test('the mean itself stays zero; an axis without spread does not blow up', () => {
  const flat = Float32Array.from({ length: 30 }, (_, at) => (at % 3 === 0 ? Math.floor(at / 3) : 7))
  const statistics = modalityStatistics(modality, flat)
  deepStrictEqual([...halfWhiten(statistics, statistics.mean)], [0, 0, 0])
  ok(halfWhiten(statistics, Float32Array.of(1e6, -1e6, 0)).every(Number.isFinite))
})

test('without any row the input is only brought to unit length', () => {
  const white = halfWhiten(modalityStatistics(modality, new Float32Array(0)), Float32Array.of(3, 0, 4))
  ok(Math.abs(white[0]! - 0.6) < 1e-6 && Math.abs(white[2]! - 0.8) < 1e-6)
})

test('items that lack the modality do not count; a large sample is thinned evenly', () => {
  const packed = cloud(100)
  const items: ContentVectors[] = Array.from({ length: 100 }, (_, i) => (i % 2 ? {} : { text: packed.subarray(i * 3, i * 3 + 3) }))
  strictEqual(fitStatistics([modality], items)[0]!.rows, 50)
  const [thinned] = fitStatistics([modality], items, { maxRows: 20 })
  strictEqual(thinned!.rows, 17)
  deepStrictEqual(fitStatistics([modality], items, { maxRows: 20 }), [thinned])
})

test('a vector that does not fit is refused', () => {
  throws(() => fitStatistics([modality], [{ text: Float32Array.of(1, 2) }]), { code: 'SIDESTREAM_VECTOR_DIM_MISMATCH' })
  throws(() => fitStatistics([modality], [{ text: Float32Array.of(1, 2, Infinity) }]), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
})
