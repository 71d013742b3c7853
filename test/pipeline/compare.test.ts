/** Versions side by side: old and new vectors are compared after the new space is turned onto the old one, block by block. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { compareVersions } from '../../pipeline/index.ts'
import { movedCosines } from '../../pipeline/compare.ts'
import { rotated, rotationOnto } from '../../semantic-ids/index.ts'
import type { Feature } from '../../features/index.ts'
import { clicks, hourMs, itemIds, items, normal, startTs, TestProject } from './fixture.ts'

const rows = 200
const dim = 6

/** Turns dims a and b of every row by some angle. */
function turned(vectors: Float32Array, a: number, b: number): Float32Array {
  const [cos, sin] = [Math.cos(1.1), Math.sin(1.1)]
  const out = vectors.slice()
  for (let at = 0; at < vectors.length; at += dim) {
    out[at + a] = cos * vectors[at + a]! - sin * vectors[at + b]!
    out[at + b] = sin * vectors[at + a]! + cos * vectors[at + b]!
  }
  return out
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

test('a space that was turned within its blocks has not moved; one that was turned across them has', () => {
  const old = Float32Array.from({ length: rows * dim }, (_, at) => normal(`compare ${at}`))
  const within = movedCosines(turned(turned(old, 0, 1), 3, 5), old, dim, [3, 6])
  ok(within.aligned.every((cosine) => cosine > 1 - 1e-5) && mean(within.plain) < 0.8, `as it is ${mean(within.plain)}`)
  const across = movedCosines(turned(old, 2, 3), old, dim, [3, 6])
  ok(mean(across.aligned) < 0.95, `across blocks ${mean(across.aligned)}`)
})

test('versions of two heads are compared by one rotation per Matryoshka block of the view; items of one side count nowhere', async (t) => {
  const known = itemIds(60)
  const it = await TestProject.open(t, { changes: { training: { learningRate: 0.3 } } })
  await it.bootstrap(60)
  for (const round of [1, 2]) {
    await it.feed(clicks(48, startTs + round * hourMs, known))
    await it.advance(startTs + (round + 1) * hourMs)
  }
  strictEqual((await it.daemon.refresh('now')).version, 2)
  await it.feed(items(1, startTs + 3 * hourMs, 60))
  const change = await compareVersions(it.project, it.daemon.owner!.lanes.state, 1, 2)
  const ids = itemIds(61)
  strictEqual(change.items, 61)
  const vectorsOf = async (version: number): Promise<Float32Array> =>
    Float32Array.from((await it.read(ids, { version })).flatMap((feature) => [...(feature as Feature).vector]))
  const [old, next] = [await vectorsOf(1), await vectorsOf(2)]
  // Prefixes 4 and 8 of the distilled part, each with as many dims of content beside it.
  const expected = movedCosines(next, old, 16, [8, 16])
  const byId = [...ids].sort()
  const inOrder = (values: Float64Array): number[] => byId.map((id) => values[ids.indexOf(id)]!)
  const close = (a: readonly number[], b: readonly number[]): boolean => a.every((value, i) => Math.abs(value - b[i]!) < 1e-6)
  ok(close([...change.cosines!.aligned], inOrder(expected.aligned)))
  deepStrictEqual([...change.cosines!.plain], inOrder(expected.plain))
  ok(mean(change.cosines!.aligned) > mean(change.cosines!.plain))
  const whole = rotated(next, rotationOnto(next, old, 16))
  ok(
    whole.some((value, at) => Math.abs(value - rotated(next, rotationOnto(next, old, 16, [8, 16]))[at]!) > 1e-3),
    'blocks make a difference',
  )
})
