import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { fillNormal } from '../../compute/index.ts'
import { clusterItems } from '../../distill/content-clusters.ts'
import type { SampleItem } from '../../distill/index.ts'

/** Items around a few directions, item k around direction k % groups. */
function world(count: number, groups: number, dim: number): Map<string, SampleItem> {
  const centers = new Float32Array(groups * dim)
  fillNormal(centers, 1, 0)
  return new Map(
    Array.from({ length: count }, (_, k) => {
      const v = new Float32Array(dim)
      fillNormal(v, 2, k)
      for (let d = 0; d < dim; d++) v[d] = centers[(k % groups) * dim + d]! + 0.1 * v[d]!
      return [`i${k}`, { vectors: { v } }]
    }),
  )
}

/** Clusters of i0, i1, … in the order of their first use. */
function codes(items: Map<string, SampleItem>, options: { clusters: number; seed: number }, ids = [...items.keys()]): number[] {
  const clusterOf = clusterItems([{ history: ids }], (id) => items.get(id), options)
  const names = [...items.keys()].map(clusterOf)
  return names.map((name) => [...new Set(names)].indexOf(name))
}

for (const dim of [8, 200]) {
  test(`items of ${dim} dims that are alike share a cluster, whatever the order they come in`, () => {
    const items = world(60, 4, dim)
    const found = codes(items, { clusters: 4, seed: 1 })
    deepStrictEqual(
      found,
      Array.from({ length: 60 }, (_, k) => k % 4),
    )
    deepStrictEqual(codes(items, { clusters: 4, seed: 1 }, [...items.keys()].reverse()), found)
  })
}

test('few items make few clusters', () => {
  strictEqual(new Set(codes(world(16, 16, 8), { clusters: 1000, seed: 1 })).size, 2)
})

test('the first label comes before content, and a name of content is never that of a label', () => {
  const items = world(40, 2, 8)
  items.set('a', { ...items.get('i0')!, labels: ['news', 'all'] })
  items.set('b', { ...items.get('i1')!, labels: ['news'] })
  const clusterOf = clusterItems([{ history: [...items.keys()] }], (id) => items.get(id), { clusters: 2, seed: 1 })
  strictEqual(clusterOf('a'), clusterOf('b'))
  notStrictEqual(clusterOf('a'), clusterOf('i0'))
  ok(clusterOf('i0') !== clusterOf('i1'))
})

test('items without any length share a cluster of their own', () => {
  const items = world(20, 1, 4)
  items.set('zero', { vectors: { v: new Float32Array(4) } })
  const clusterOf = clusterItems([{ history: [...items.keys()] }], (id) => items.get(id), { clusters: 1, seed: 1 })
  ok(clusterOf('zero') !== clusterOf('i0'))
})
