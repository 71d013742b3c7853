/** Rows on their two directions of largest variance, against the full decomposition. */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { pca, principalPlane, uniform } from '../../compute/index.ts'

const n = 200
const dim = 7
const rows = Float32Array.from({ length: n * dim }, (_, at) => 5 + (uniform(4, at % dim, at) - 0.5) * [9, 5, 1, 1, 0.5, 0.2, 0][at % dim]!)

test('the plane is that of the two first principal axes, point by point', () => {
  const { mean, axes, variances } = pca(rows, n, dim)
  const { points, explained } = principalPlane(rows, dim)
  const total = variances.reduce((sum, value) => sum + value, 0)
  for (const a of [0, 1] as const) {
    ok(Math.abs(explained[a] - variances[a]! / total) < 1e-6)
    for (let row = 0; row < n; row++) {
      let along = 0
      for (let d = 0; d < dim; d++) along += (rows[row * dim + d]! - mean[d]!) * axes[a * dim + d]!
      ok(Math.abs(points[row * 2 + a]! - along) < 1e-3, `row ${row}, axis ${a}`)
    }
  }
})

test('rows without variance, or along one line, give zeros and no NaN', () => {
  const same = principalPlane(new Float32Array(12).fill(3), 4)
  deepStrictEqual([...same.points, ...same.explained], [0, 0, 0, 0, 0, 0, 0, 0])
  const { points, explained } = principalPlane(Float32Array.from([0, 0, 1, 1, 2, 2]), 2)
  ok(Math.abs(explained[0] - 1) < 1e-9 && explained[1] === 0)
  ok([...points].every(Number.isFinite))
  deepStrictEqual([...principalPlane(new Float32Array(0), 3).points], [])
})
