/** Kernels against published values, golden files and plain references. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  auc,
  covariance,
  crc32c,
  decodeFloat16,
  decodeInt8,
  encodeFloat16,
  encodeInt8,
  fillNormal,
  fillUniform,
  hash64,
  hashUnit,
  meanRow,
  murmur2,
  normalizeRows,
  pairedAuc,
  partitionForKey,
  pca,
  philox,
  shuffle,
  toFloat16,
  topKByDot,
  uniform,
  uniformInt,
  weightedAuc,
} from '../../compute/index.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const golden = JSON.parse(readFileSync(new URL('../golden/auc.json', import.meta.url), 'utf8'))

test('murmur2 equals the Java client on its own test values', () => {
  const values: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [text, hash] of values) strictEqual(murmur2(utf8(text)), hash, text)
  strictEqual(partitionForKey(utf8('21'), 10), (-973932308 & 0x7fffffff) % 10)
})

test('CRC-32C: the check values of RFC 3720, at every length and split', () => {
  strictEqual(crc32c(utf8('123456789')), 0xe3069283)
  strictEqual(crc32c(new Uint8Array(32)), 0x8a9136aa)
  strictEqual(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43)
  strictEqual(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e)
  const bytes = Uint8Array.from({ length: 45 }, (_, i) => (i * 37) & 255)
  for (let cut = 0; cut <= bytes.length; cut++) {
    strictEqual(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), crc32c(bytes))
    strictEqual(crc32c(bytes, 0, 3, cut), crc32c(bytes.slice(3, Math.max(3, cut))))
  }
  // Long runs go by words: any start and any length must give what short pieces give.
  const long = Uint8Array.from({ length: 300 }, (_, i) => (i * i * 31) & 255)
  for (let from = 0; from < 5; from++) {
    for (let to = 90; to <= long.length; to++) {
      let piecewise = 0
      for (let at = from; at < to; at += 16) piecewise = crc32c(long, piecewise, at, Math.min(at + 16, to))
      strictEqual(crc32c(long, 0, from, to), piecewise)
    }
  }
})

test('Philox 4x32-10 equals the published known answers', () => {
  const out = new Uint32Array(4)
  philox(0, 0, 0, out)
  deepStrictEqual([...out], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
})

test('draws depend on seed, stream and index only, and look uniform and normal', () => {
  const [draws, later] = [new Float64Array(20_000), new Float64Array(10)]
  fillUniform(draws, 7, 1)
  fillUniform(later, 7, 1, 100)
  deepStrictEqual(later, draws.slice(100, 110))
  strictEqual(uniform(7, 1, 100), draws[100])
  ok(uniform(8, 1, 100) !== draws[100] && uniform(7, 2, 100) !== draws[100])
  const mean = (x: Float64Array): number => x.reduce((a, b) => a + b, 0) / x.length
  ok(Math.abs(mean(draws) - 0.5) < 0.01 && draws.every((x) => x >= 0 && x < 1))
  const tenths = new Set(Array.from({ length: 1000 }, (_, i) => uniformInt(1, 1, i, 10)))
  deepStrictEqual(
    [...tenths].toSorted((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
  fillNormal(draws, 7, 3)
  ok(Math.abs(mean(draws)) < 0.03 && Math.abs(mean(draws.map((x) => x * x)) - 1) < 0.05)
})

test('a shuffle is a permutation, repeats with its seed and differs without', () => {
  const numbers = (): Uint32Array => Uint32Array.from({ length: 200 }, (_, i) => i)
  const shuffled = shuffle(numbers(), 1, 2)
  deepStrictEqual(shuffled, shuffle(numbers(), 1, 2))
  ok(shuffled.join() !== shuffle(numbers(), 2, 2).join() && shuffled.join() !== numbers().join())
  deepStrictEqual(shuffled.toSorted(), numbers())
})

test('float16: every half survives, ties go to even, overflow is infinity', () => {
  const halves = Uint16Array.from({ length: 65_536 }, (_, i) => i)
  const back = encodeFloat16(decodeFloat16(halves))
  for (let half = 0; half < 65_536; half++) {
    const isNaN_ = (half & 0x7c00) === 0x7c00 && (half & 1023) !== 0
    if (!isNaN_) strictEqual(back[half], half)
  }
  const cases: [number, number][] = [
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [1 + 2 ** -11 + 2 ** -20, 0x3c01],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [2 ** -25, 0],
    [1.5 * 2 ** -25, 1],
    [-(2 ** -24), 0x8001],
    [NaN, 0x7e00],
  ]
  for (const [value, half] of cases) strictEqual(toFloat16(value), half, String(value))
})

test('int8: the error stays within half a step, zero stays zero', () => {
  const x = new Float32Array(64)
  fillNormal(x, 3, 3)
  const codes = new Int8Array(64)
  const scale = encodeInt8(x, codes)
  const back = decodeInt8(codes, scale)
  x.forEach((value, i) => ok(Math.abs(value - back[i]!) <= scale * 0.5001))
  ok(codes.includes(127) || codes.includes(-127))
  strictEqual(encodeInt8(new Float32Array(4), codes.subarray(0, 4)), 0)
  deepStrictEqual([...codes.subarray(0, 4)], [0, 0, 0, 0])
})

test('hash64 is pinned: training order hangs on it', () => {
  strictEqual(hash64(1, 'a'), 14368325854844192493n)
  strictEqual(hash64(2, 'a'), 13952515142317391446n)
  strictEqual(hash64(1, 'b'), 10412680100956521068n)
  const seen = new Set(Array.from({ length: 20_000 }, (_, i) => hash64(5, `user-${i}|item-${i % 7}`)))
  strictEqual(seen.size, 20_000)
  const units = Array.from({ length: 5_000 }, (_, i) => hashUnit(5, `row ${i}`))
  ok(Math.abs(units.reduce((a, b) => a + b, 0) / units.length - 0.5) < 0.02)
})

test('AUC equals the golden values, for float64 and for float32 scores', () => {
  const { label, score_a: a, score_b: b } = golden.inputs
  ok(Math.abs(auc(Float64Array.from(a), label) - golden.auc.a.auc) < 1e-15)
  ok(Math.abs(auc(Float64Array.from(b), label) - golden.auc.b.auc) < 1e-15)
  ok(Math.abs(auc(Float32Array.from(a), label) - golden.auc.a.auc) < 1e-15)
  ok(Math.abs(auc(Float32Array.from(b), label) - golden.auc.b.auc) < 1e-15)
})

test('AUC: weights count like repeated rows, sides may come apart, float64 is not rounded, nonsense is refused', () => {
  const scores = Float32Array.of(0.1, 0.4, 0.4, 0.8, -0, 0)
  const labels = [0, 1, 0, 1, 1, 0]
  const doubled = Float32Array.of(...scores, 0.4, 0.1)
  strictEqual(weightedAuc(scores, labels, [2, 1, 2, 1, 1, 1]), auc(doubled, [...labels, 0, 0]))
  const paired = pairedAuc(Float32Array.of(0.4, 0.8, 0), Float32Array.of(0.1, 0.4, 0), { negativeWeights: [2, 2, 1] })
  strictEqual(paired, auc(doubled, [...labels, 0, 0]))
  strictEqual(auc(Float64Array.of(1, 1 + 1e-12), [0, 1]), 1)
  ok(Number.isNaN(auc(Float32Array.of(1, 2), [1, 1])))
  throws(() => auc(Float32Array.of(1, NaN), [0, 1]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => auc(Float32Array.of(1), [0, 1]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('top k: best first, equal scores by lower index, the query itself left out', () => {
  const rows = Float32Array.of(1, 0, 0, 1, 1, 0, 0.5, 0.5)
  deepStrictEqual([...topKByDot(Float32Array.of(1, 0), rows, 3).indices], [0, 2, 3])
  deepStrictEqual([...topKByDot(Float32Array.of(1, 0), rows, 3, 0).indices], [2, 3, 1])
  deepStrictEqual([...topKByDot(Float32Array.of(1, 0), rows, 9).scores], [1, 1, 0.5, 0])
  deepStrictEqual([...topKByDot(Float32Array.of(1, 0), rows, 0).indices], [])
})

test('rows are scaled to length 1 and rows without a direction counted', () => {
  const x = Float32Array.of(3, 4, 0, 0, 1e-13, 0)
  strictEqual(normalizeRows(x, 2), 2)
  deepStrictEqual([...x], [Math.fround(0.6), Math.fround(0.8), 0, 0, 0, 0])
})

test('principal axes: descending, orthonormal, signs fixed, variances those of the rows', () => {
  const [n, dim] = [400, 6]
  const x = new Float32Array(n * dim)
  fillNormal(x, 11, 1)
  const scales = [1, 5, 0.5, 3, 2, 0.1]
  for (let i = 0; i < x.length; i++) x[i] = 2 + x[i]! * scales[i % dim]!
  const { mean, axes, variances } = pca(x, n, dim)
  deepStrictEqual(mean, meanRow(x, dim))
  const matrix = covariance(x, dim, mean)
  for (let a = 0; a < dim; a++) {
    const axis = axes.subarray(a * dim, a * dim + dim)
    const image = Float64Array.from(axis, (_, i) => axis.reduce((sum, value, j) => sum + matrix[i * dim + j]! * value, 0))
    image.forEach((value, i) => ok(Math.abs(value - variances[a]! * axis[i]!) < 1e-9, 'an eigenvector'))
    ok(axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0) > 0, 'largest component positive')
    if (a > 0) ok(variances[a]! <= variances[a - 1]!)
    for (let b = 0; b <= a; b++) {
      const product = axis.reduce((sum, value, i) => sum + value * axes[b * dim + i]!, 0)
      ok(Math.abs(product - Number(a === b)) < 1e-12)
    }
  }
  deepStrictEqual(pca(x, n, dim), pca(x, n, dim))
  throws(() => pca(new Float32Array(0), 0, 3), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
})
