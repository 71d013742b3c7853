import { ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'

import { fillNormal } from '../../compute/index.ts'
import { prefix } from '../../features/index.ts'
import { blockLayout } from '../../schemas/index.ts'
import type { VectorLayout } from '../../schemas/index.ts'

const l2 = (x: readonly number[]): number[] => {
  const norm = Math.hypot(...x)
  return x.map((value) => (norm === 0 ? 0 : value / norm))
}

/** By definition: parts side by side, weighted, then moved to their interleaved places. */
function publish(d: readonly number[], c: readonly number[], layout: VectorLayout, block: number, share: number): number[] {
  const { distilled, content } = layout.blocks[block]!
  const dPart = l2(d.slice(0, distilled[1]))
  const cPart = l2(c.slice(0, content[1]))
  const dZero = dPart.every((x) => x === 0)
  const cZero = cPart.every((x) => x === 0)
  const dWeight = Math.sqrt(cZero ? 1 : 1 - share)
  const cWeight = Math.sqrt(dZero ? 1 : share)
  return layout.blocks
    .slice(0, block + 1)
    .flatMap((one) => [...dPart.slice(...one.distilled).map((x) => x * dWeight), ...cPart.slice(...one.content).map((x) => x * cWeight)])
}

function near(actual: Float32Array, expected: readonly number[]): void {
  strictEqual(actual.length, expected.length)
  for (const [i, x] of expected.entries()) ok(Math.abs(actual[i]! - x) < 1e-6, `element ${i}: ${actual[i]} is not ${x}`)
}

const layout = blockLayout({ dims: 8, contentDims: 11, prefixes: [2, 4, 8] })
const random = new Float32Array(8 + 11)
fillNormal(random, 3, 0)
const d = [...random.subarray(0, 8)]
const c = [...random.subarray(8)]
const none = (length: number): number[] => Array.from({ length }, () => 0)

test('a short view is made of renormalized parts, for every block and share', () => {
  for (const share of [0, 0.25, 0.5, 1]) {
    const full = Float32Array.from(publish(d, c, layout, 2, share))
    for (const block of [0, 1, 2]) {
      // A part of weight zero is zero in the published vector: then the other gets weight 1.
      const expected = publish(share === 1 ? none(8) : d, share === 0 ? none(11) : c, layout, block, share)
      near(prefix(full, { layout, block, contentShare: share }), expected)
    }
  }
})

test('an item with one part only keeps unit length; one with none stays zero', () => {
  const rows = [publish(d, none(11), layout, 2, 0.5), publish(none(8), c, layout, 2, 0.5), none(19)]
  const short = prefix(Float32Array.from(rows.flat()), { layout, block: 0, contentShare: 0.5 })
  const width = layout.ends[0]!
  const norms = [0, 1, 2].map((row) => Math.hypot(...short.subarray(row * width, (row + 1) * width)))
  near(Float32Array.from(norms), [1, 1, 0])
})

test('the short view of the last block is the published vector', () => {
  const full = Float32Array.from(publish(d, c, layout, 2, 0.3))
  near(prefix(full, { layout, block: 2, contentShare: 0.3 }), [...full])
})

test('shapes that do not fit are refused', () => {
  const mismatch = { code: 'SIDESTREAM_SHAPE_MISMATCH' }
  throws(() => prefix(new Float32Array(20), { layout, block: 0, contentShare: 0.5 }), mismatch)
  throws(() => prefix(new Float32Array(19), { layout, block: 3, contentShare: 0.5 }), mismatch)
  throws(() => prefix(new Float32Array(19), { layout, block: 0, contentShare: 0.5 }, new Float32Array(1)), mismatch)
})
