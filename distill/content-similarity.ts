/**
 * Content of items compared with content, as the encoders gave it: nothing here is trained.
 * Invariant: the answers depend on the vectors alone; sums run in float64 in index order.
 */
import type { ContentVectors } from './statistics.ts'

/**
 * Mean cosine over the modalities that both items have; undefined when they share none that has a length.
 */
export function contentCosine(a: ContentVectors, b: ContentVectors): number | undefined {
  let sum = 0
  let shared = 0
  for (const name in a) {
    const [x, y] = [a[name], b[name]]
    if (x === undefined || y === undefined || x.length !== y.length) continue
    let xy = 0
    let xx = 0
    let yy = 0
    for (let d = 0; d < x.length; d++) {
      const [p, q] = [x[d] ?? 0, y[d] ?? 0]
      xy += p * q
      xx += p * p
      yy += q * q
    }
    if (xx === 0 || yy === 0) continue
    sum += xy / Math.sqrt(xx * yy)
    shared++
  }
  return shared === 0 ? undefined : sum / shared
}

/** True when two items have the same modalities and the same bits in each: one thing under two ids. */
export function sameContent(a: ContentVectors, b: ContentVectors): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => sameBits(a[name], b[name]))
}

function sameBits(x: Float32Array | undefined, y: Float32Array | undefined): boolean {
  // The first number tells nearly all vectors apart.
  if (x === undefined || y === undefined || x.length !== y.length || x[0] !== y[0]) return false
  return x === y || bytesOf(x).equals(bytesOf(y))
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
