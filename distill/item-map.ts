/**
 * A map of items on two axes, before and after training, each item in a group by its label or, without labels, its cluster.
 * Invariant: the same items stand in both maps, in the same order and groups.
 */

import { kMeans, principalPlane } from '../compute/index.ts'
import type { ItemContent } from '../schemas/index.ts'
import type { VectorSet } from './vector-set.ts'

/** Plain JSON. */
export interface ItemMap {
  readonly items: number
  readonly groupedBy: 'label' | 'cluster'
  /** Groups by size; the last one may hold all that is in no group of its own. */
  readonly groups: readonly string[]
  /** Group of each item, an index. */
  readonly group: readonly number[]
  readonly before: MapSide
  readonly after: MapSide
}

export interface MapSide {
  readonly x: readonly number[]
  readonly y: readonly number[]
  /** Share of the variance along both axes. */
  readonly explained: readonly [number, number]
}

/** Items on a map, the most, and groups with a color of their own. */
const mapItems = 5000
const mapGroups = 6

/** Those that a map shows, taken evenly. */
export function shownOnMap<T>(items: readonly T[]): T[] {
  const count = Math.min(items.length, mapItems)
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!)
}

/**
 * @param contents - items in the order of the vectors: those of `shownOnMap`
 * @returns undefined with fewer than three items
 */
export function itemMap(
  contents: readonly Pick<ItemContent, 'labels'>[],
  before: VectorSet,
  after: VectorSet,
  seed: number,
): ItemMap | undefined {
  if (contents.length < 3) return undefined
  const labels = contents.map((item) => item.labels?.[0])
  const isLabelled = labels.filter((label) => label !== undefined).length * 2 > contents.length
  const names = isLabelled ? labels : clusterNames(before.vectors, before.dim, seed)
  const { groups, group } = grouped(names)
  return {
    items: contents.length,
    groupedBy: isLabelled ? 'label' : 'cluster',
    groups,
    group,
    before: side(before.vectors, before.dim),
    after: side(after.vectors, after.dim),
  }
}

function clusterNames(rows: Float32Array, dim: number, seed: number): (string | undefined)[] {
  const { codes } = kMeans(rows, dim, { size: mapGroups, seed, iterations: 20, metric: 'cosine' })
  return Array.from(codes, (code) => (code < 0 ? undefined : `cluster ${code + 1}`))
}

/** The largest groups by name, and one for everything else. */
function grouped(names: readonly (string | undefined)[]): Pick<ItemMap, 'groups' | 'group'> {
  const sizes = new Map<string, number>()
  for (const name of names) if (name !== undefined) sizes.set(name, (sizes.get(name) ?? 0) + 1)
  const largest = [...sizes].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, mapGroups)
  const own = largest.map(([name]) => name)
  const group = names.map((name) => {
    const at = name === undefined ? -1 : own.indexOf(name)
    return at < 0 ? own.length : at
  })
  return { groups: group.includes(own.length) ? [...own, 'all others'] : own, group }
}

function side(rows: Float32Array, dim: number): MapSide {
  const { points, explained } = principalPlane(rows, dim)
  const axis = (a: number): number[] => Array.from({ length: points.length / 2 }, (_, i) => Math.round(points[i * 2 + a]! * 1e4) / 1e4)
  return { x: axis(0), y: axis(1), explained }
}
