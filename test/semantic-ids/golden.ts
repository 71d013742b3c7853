/** The golden file as typed arrays, for the tests beside it. */

import { readFileSync } from 'node:fs'
import { codebooksOf } from '../../semantic-ids/index.ts'

export const golden = JSON.parse(readFileSync(new URL('../golden/semantic-ids.json', import.meta.url), 'utf8'))

export const settings = { normalize: false, recheckTolerance: 1e-5 }
export const x = Float32Array.from(golden.inputs.x.flat())
export const refreshed = Float32Array.from(golden.inputs.x_refreshed.flat())
export const weights = Float64Array.from(golden.inputs.traffic_weights)
export const codebooks = codebooksOf(
  4,
  golden.inputs.codebooks.map((level: number[][]) => Float32Array.from(level.flat())),
)
export const flat = (codes: number[][]): Uint16Array => Uint16Array.from(codes.flat())
export const encoded = flat(golden.encode.codes)

/** Seeded unit-free vectors around `clusters` centers; Lehmer generator, so that no library decides the bytes. */
export function clustered(rows: number, dim: number, clusters: number, seed: number): Float32Array {
  let state = (seed * 2654435761 + 1) % 2147483647 || 1
  const uniform = (): number => (state = (state * 48271) % 2147483647) / 2147483647
  const normal = (): number => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
  const centers = Float32Array.from({ length: clusters * dim }, normal)
  const out = new Float32Array(rows * dim)
  for (let row = 0; row < rows; row++) {
    const cluster = Math.floor(uniform() * clusters)
    for (let j = 0; j < dim; j++) out[row * dim + j] = centers[cluster * dim + j]! + 0.5 * normal()
  }
  return out
}
