/** ID embeddings of co-use against a dense decomposition. */
import { ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { EigenvalueDecomposition, Matrix } from 'ml-matrix'
import { uniformInt } from '../../compute/index.ts'
import { coClickVectors } from '../../examples/co-click-vectors.ts'

test('products of the vectors are the best approximation of co-use, degrees divided out', () => {
  const items = 12
  const liked = Array.from({ length: 40 }, (_, user) => [
    ...new Set(Array.from({ length: 5 }, (_place, k) => `i${(uniformInt(3, user, k, 5) + 4 * (user % 3)) % items}`)),
  ])
  const dim = 3
  const { vectors, users } = coClickVectors(liked, dim)
  const ids = [...vectors.keys()]
  strictEqual(users.get(ids[0]!), liked.filter((own) => own.includes(ids[0]!)).length)
  const coUse = ids.map((a) =>
    ids.map((b) => liked.filter((own) => own.includes(a) && own.includes(b)).length / Math.sqrt(users.get(a)! * users.get(b)!)),
  )
  const found = new EigenvalueDecomposition(new Matrix(coUse), { assumeSymmetric: true })
  const order = found.realEigenvalues.map((value, k) => [value, k] as const).sort(([a], [b]) => b - a)
  for (const [i, a] of ids.entries()) {
    for (const [j, b] of ids.entries()) {
      const best = order
        .slice(0, dim)
        .reduce((sum, [value, k]) => sum + value * found.eigenvectorMatrix.get(i, k) * found.eigenvectorMatrix.get(j, k), 0)
      const ours = vectors.get(a)!.reduce((sum, x, k) => sum + x * vectors.get(b)![k]!, 0)
      ok(Math.abs(ours - best) < 2e-2, `${a} ${b}: ${ours}, best ${best}`)
    }
  }
})
