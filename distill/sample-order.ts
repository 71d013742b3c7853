/** Samples in the order of their keys, each once: the order of the input does not show in the order of training. */

import { hash } from 'node:crypto'
import type { DistillSample } from '../schemas/index.ts'
import { sampleIdentity } from './samples.ts'

/** Words of a key. */
const words = 4

/** By ascending `sampleKey`; of equal keys the last one stays. A key takes 16 bytes here, not the 120 of a text in a map. */
export function inKeyOrder(samples: readonly DistillSample[]): DistillSample[] {
  const keys = new Uint32Array(words * samples.length)
  for (const [i, sample] of samples.entries()) {
    const digest = hash('sha256', sampleIdentity(sample), 'buffer')
    for (let w = 0; w < words; w++) keys[words * i + w] = digest.readUInt32BE(4 * w)
  }
  const compare = (a: number, b: number): number => {
    for (let w = 0; w < words; w++) {
      const difference = keys[words * a + w]! - keys[words * b + w]!
      if (difference !== 0) return difference
    }
    return 0
  }
  const order = Uint32Array.from(samples.keys()).sort((a, b) => compare(a, b) || a - b)
  const kept: DistillSample[] = []
  order.forEach((place, i) => {
    if (i + 1 === order.length || compare(place, order[i + 1]!) !== 0) kept.push(samples[place]!)
  })
  return kept
}
