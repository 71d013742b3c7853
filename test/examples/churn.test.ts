import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { firstFit, frozen, frozenRotated, ours, retrain, warmStart, type Move } from '../../examples/globo-news/churn-policies.ts'
import { windowsFrom } from '../../examples/globo-news/churn-windows.ts'
import type { Globo } from '../../examples/globo-news/protocol.ts'
import { normalizeRows } from '../../compute/index.ts'
import { clustered } from '../semantic-ids/golden.ts'

const dim = 8
const rows = 500
const known = 400
const ends = [4, 8]

/** Vectors whose axes were permuted within the prefixes, and which moved a little each. */
async function moved(): Promise<Move> {
  const before = clustered(rows, dim, 25, 3)
  const noise = clustered(rows, dim, 1, 4)
  const order = [2, 3, 0, 1, 6, 7, 4, 5]
  const after = Float32Array.from(before, (_, at) => before[at - (at % dim) + order[at % dim]!]! + 0.2 * noise[at]!)
  normalizeRows(before, dim)
  normalizeRows(after, dim)
  const ids = Array.from({ length: rows }, (_, row) => `a${row}`)
  const published = await firstFit(before.subarray(0, known * dim), ids.slice(0, known), dim, [8, 8, 8])
  return { dim, ids, before, after, ...published, known, ends }
}

test('the policies order as they should: rotation helps a frozen codebook, ours keeps its budget near a retrain', async () => {
  const move = await moved()
  const [free, cold, turned, warm, small, large] = [
    await retrain(move),
    frozen(move),
    frozenRotated(move, ends),
    await warmStart(move),
    await ours(move, 0.05),
    await ours(move, 0.2),
  ]
  ok(free.churn.full > 0.9 && cold.fvu > 2 * free.fvu, 'a frozen codebook does not know the new space')
  ok(turned.fvu < cold.fvu / 2 && turned.churn.full < cold.churn.full)
  ok(small.churn.full <= 0.05 && large.churn.full <= 0.2 && large.fvu <= small.fvu)
  ok(small.fvu < turned.fvu && warm.fvu < turned.fvu && large.churn.full < warm.churn.full / 2)
  deepStrictEqual(small.decoded.length, rows * dim)
  ok(small.newError > 0 && (await ours(move, 0.05, true)).newError > small.newError, 'new items want their part in the refit')
})

test('windows hold equally many clicks, one after another', () => {
  const times = Float64Array.from({ length: 100 }, (_, i) => i * 10)
  const globo = { clicks: { times } } as unknown as Globo
  deepStrictEqual(windowsFrom(globo, 200, 25, 3), [
    { from: 200, until: 450 },
    { from: 450, until: 700 },
    { from: 700, until: 950 },
  ])
})
