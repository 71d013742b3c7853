import { deepStrictEqual, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { codebooksBack, encode, fitCodebooks, rotated, rotatedBack, rotationOnto } from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const dim = 12
const rows = 300
const vectors = clustered(rows, dim, 20, 5)

/** A random orthogonal matrix by Gram and Schmidt, reflected or not. */
function orthogonal(width: number, seed: number): Float64Array {
  const q = Float64Array.from(clustered(width, width, 1, seed))
  for (let i = 0; i < width; i++) {
    for (let k = 0; k < i; k++) {
      let dot = 0
      for (let j = 0; j < width; j++) dot += q[i * width + j]! * q[k * width + j]!
      for (let j = 0; j < width; j++) q[i * width + j]! -= dot * q[k * width + j]!
    }
    const norm = Math.hypot(...q.subarray(i * width, (i + 1) * width))
    for (let j = 0; j < width; j++) q[i * width + j]! /= norm
  }
  return q
}

/** Rows turned block by block. */
function turned(x: Float32Array, ends: readonly number[], seed: number): Float32Array {
  const blocks = ends.map((end, i) => orthogonal(end - (ends[i - 1] ?? 0), seed + i))
  return rotated(x, { dim, ends, blocks })
}

const farthest = (a: Float32Array, b: Float32Array): number => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

test('random rotations and reflections are found again, in one block and in several', () => {
  for (const ends of [[dim], [4, 12], [1, 4, 8, 12]]) {
    for (const seed of [1, 20, 300]) {
      const moved = turned(vectors, ends, seed)
      const rotation = rotationOnto(moved, vectors, dim, ends)
      ok(farthest(rotated(moved, rotation), vectors) < 1e-5, `ends ${ends.join()} seed ${seed}`)
      ok(farthest(rotatedBack(vectors, rotation), moved) < 1e-5)
    }
  }
})

test('blocks are orthogonal, with noise and with fewer items than dims too', () => {
  const noisy = turned(vectors, [dim], 3).map((value, at) => value + 0.3 * vectors[(at * 31) % vectors.length]!)
  for (const items of [rows, 3, 1]) {
    const { blocks, ends } = rotationOnto(noisy.subarray(0, items * dim), vectors.subarray(0, items * dim), dim, [5, 12])
    for (const [b, block] of blocks.entries()) {
      const width = ends[b]! - (ends[b - 1] ?? 0)
      for (let i = 0; i < width; i++) {
        for (let k = 0; k <= i; k++) {
          let dot = 0
          for (let j = 0; j < width; j++) dot += block[i * width + j]! * block[k * width + j]!
          ok(Math.abs(dot - (i === k ? 1 : 0)) < 1e-9, `${items} items, block ${b}: rows ${i} and ${k}`)
        }
      }
    }
  }
})

test('no other block-wise rotation is nearer: small turns make it worse', () => {
  const noisy = turned(vectors, [dim], 3).map((value, at) => value + 0.3 * vectors[(at * 31) % vectors.length]!)
  const error = (x: Float32Array): number => x.reduce((sum, value, i) => sum + (value - vectors[i]!) ** 2, 0)
  const best = rotated(noisy, rotationOnto(noisy, vectors, dim))
  for (let i = 1; i < dim; i++) {
    for (const angle of [-0.05, 0.05]) {
      const off = best.slice()
      for (let at = 0; at < off.length; at += dim) {
        off[at] = Math.cos(angle) * best[at]! - Math.sin(angle) * best[at + i]!
        off[at + i] = Math.sin(angle) * best[at]! + Math.cos(angle) * best[at + i]!
      }
      ok(error(off) > error(best))
    }
  }
})

test('codebooks taken along give the codes that turning the vectors gives', async () => {
  const ids = Array.from({ length: rows }, (_, row) => `i${row}`)
  const fit = await fitCodebooks(vectors, ids, dim, { sizes: [8, 6], seed: 1, fsqDigits: [3, 3], normalize: false })
  const moved = turned(vectors, [4, 12], 9)
  const rotation = rotationOnto(moved, vectors, dim, [4, 12])
  deepStrictEqual(
    encode(moved, codebooksBack(fit.codebooks, rotation), fit.settings),
    encode(rotated(moved, rotation), fit.codebooks, fit.settings),
  )
})

test('bad input is refused', () => {
  throws(() => rotationOnto(new Float32Array(0), new Float32Array(0), dim), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
  throws(() => rotationOnto(vectors, vectors.subarray(dim), dim), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  for (const ends of [[4], [4, 4, 12], [0, 12], [4, 13], [4.5, 12]])
    throws(() => rotationOnto(vectors, vectors, dim, ends), { code: 'SIDESTREAM_USAGE_INVALID' })
  throws(() => rotationOnto(vectors.with(3, NaN), vectors, dim), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
})
