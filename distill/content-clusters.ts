/**
 * Clusters of items for the collaborative sample sets: an item's first label where it has one, else its nearest centroid
 * among the items without.
 * Invariant: an item's cluster depends on the set of items and the seed alone, not on their order.
 */
import { dot, fillNormal, hashUnit, kMeans, normalizeRows } from '../compute/index.ts'
import type { DistillSample } from '../schemas/index.ts'
import type { SampleItem } from './sample-sets.ts'

/** Items per cluster wanted: fewer clusters than asked for when there are few items. */
const itemsPerCluster = 8
/** Items per cluster that the centroids are fitted on; all others are only assigned. */
const fittedPerCluster = 20
const iterations = 10
/** Content of more dims is projected to so many at random: distances between clusters stay, and cost does not grow with dims. */
const projectedDims = 64
const projectionStream = 0x636c

/** Names the cluster of every item of the histories. */
export function clusterItems(
  rows: readonly Pick<DistillSample, 'history'>[],
  item: (itemId: string) => SampleItem | undefined,
  options: { readonly clusters: number; readonly seed: number },
): (itemId: string) => string {
  const named = new Map<string, string>()
  const unnamed = new Map<string, SampleItem>()
  for (const { history } of rows) {
    for (const itemId of history) {
      if (named.has(itemId) || unnamed.has(itemId)) continue
      const found = item(itemId)
      const label = found?.labels?.[0]
      if (label !== undefined) named.set(itemId, `label/${label}`)
      else if (found !== undefined) unnamed.set(itemId, found)
    }
  }
  for (const [itemId, code] of nearestCentroids(unnamed, options)) named.set(itemId, `content/${code}`)
  return (itemId) => named.get(itemId) ?? ''
}

/** Number of each item's first label or, without one, of its cluster; -1 for an item that has neither. Shape [itemIds.length]. */
export function labelNumbers(
  itemIds: readonly string[],
  item: (itemId: string) => SampleItem | undefined,
  options: { readonly clusters: number; readonly seed: number },
): Int32Array {
  const labelOf = clusterItems([{ history: itemIds }], item, options)
  const numbers = new Map<string, number>()
  return Int32Array.from(itemIds, (id) => {
    const label = labelOf(id)
    if (label === '') return -1
    if (!numbers.has(label)) numbers.set(label, numbers.size)
    return numbers.get(label)!
  })
}

function nearestCentroids(
  items: ReadonlyMap<string, SampleItem>,
  { clusters, seed }: { readonly clusters: number; readonly seed: number },
): Map<string, number> {
  if (items.size === 0) return new Map()
  // By hash, so that the first ones are a random draw.
  const ids = [...items.keys()].map((id) => ({ id, order: hashUnit(seed, id) }))
  ids.sort((a, b) => a.order - b.order || (a.id < b.id ? -1 : 1))
  const { vectors, dim } = contentRows(
    ids.map(({ id }) => items.get(id)),
    seed,
  )
  const size = Math.min(clusters, Math.ceil(items.size / itemsPerCluster))
  const fitted = Math.min(items.size, size * fittedPerCluster)
  const { centroids } = kMeans(vectors.subarray(0, fitted * dim), dim, { size, seed, iterations, metric: 'cosine' })
  return new Map(ids.map(({ id }, row) => [id, nearest(vectors.subarray(row * dim, (row + 1) * dim), centroids)]))
}

/** Unit content rows of some items, each modality with the same weight, shape [items.length, dim]. */
function contentRows(items: readonly (SampleItem | undefined)[], seed: number): { readonly vectors: Float32Array; readonly dim: number } {
  const dims = new Map<string, number>()
  for (const found of items)
    for (const name in found?.vectors) dims.set(name, Math.max(dims.get(name) ?? 0, found.vectors[name]?.length ?? 0))
  const names = [...dims.keys()].sort()
  const width = names.reduce((sum, name) => sum + (dims.get(name) ?? 0), 0)
  const dim = Math.min(width, projectedDims)
  const projection = new Float32Array(width > projectedDims ? width * dim : 0)
  fillNormal(projection, seed, projectionStream)
  const vectors = new Float32Array(items.length * dim)
  for (const [row, found] of items.entries()) {
    const content = new Float32Array(width)
    let at = 0
    for (const name of names) {
      const vector = found?.vectors[name]
      if (vector !== undefined) {
        const unit = vector.slice()
        normalizeRows(unit, unit.length)
        content.set(unit, at)
      }
      at += dims.get(name) ?? 0
    }
    const out = vectors.subarray(row * dim, (row + 1) * dim)
    if (projection.length === 0) out.set(content)
    else for (let d = 0; d < dim; d++) out[d] = dot(content, projection.subarray(d * width, (d + 1) * width))
  }
  normalizeRows(vectors, dim)
  return { vectors, dim }
}

/** The centroid with the largest cosine, the first of equal ones; -1 for a vector without length. */
function nearest(vector: Float32Array, centroids: Float32Array): number {
  if (!vector.some((value) => value !== 0)) return -1
  let best = -1
  let most = -Infinity
  for (let start = 0; start < centroids.length; start += vector.length) {
    const cosine = dot(vector, centroids.subarray(start, start + vector.length))
    if (cosine > most) [best, most] = [start / vector.length, cosine]
  }
  return best
}
