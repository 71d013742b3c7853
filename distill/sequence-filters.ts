/**
 * The four sample sets of SAIL-Embedding on one history: which liked items before a target make a training row.
 *
 * | set | keeps an item when | then |
 * |---|---|---|
 * | content-single | 3 kinds of positive behavior | its content is like the target's; the newest 10 |
 * | content-multi | its kinds agree with the target's (Jaccard above 0.5) | the newest 10 |
 * | collaborative-single | 3 kinds, and they agree with the target's | 10 in proportion to the clusters of the whole history |
 * | collaborative-multi | any positive behavior | 10 in proportion to the clusters of the whole history |
 *
 * Invariants: the target and what is bit for bit the same as it never stand in its history; kept items stay in time order;
 * the answer depends on the history, the items' content and the options alone.
 */
import { SidestreamError } from '../schemas/index.ts'
import { markBits } from './behavior-marks.ts'
import { contentCosine, sameContent } from './content-similarity.ts'
import type { ContentVectors } from './statistics.ts'

export const filterSets = ['content-single', 'content-multi', 'collaborative-single', 'collaborative-multi'] as const
export type FilterSet = (typeof filterSets)[number]

export interface FilterOptions {
  /**
   * Most items that a history keeps.
   * @default 10
   */
  readonly length?: number
  /**
   * Fewer items than this make no row. Higher: fewer, better-founded rows.
   * @default 3
   */
  readonly minItems?: number
}

export const filterDefaults: Readonly<Required<FilterOptions>> = { length: 10, minItems: 3 }

/** A target with the liked items before it, oldest first, each item once: the positive history that all sets start from. */
export interface CandidateHistory {
  readonly targetId: string
  readonly history: readonly string[]
  /** Mark of each item (`behavior-marks.ts`), shape [history.length]; undefined when nobody made marks: then only `collaborative-multi` can tell. */
  readonly marks?: Uint8Array
}

/** What the rules ask about items. */
export interface FilterContent {
  /** Content of an item; items without are passed over. */
  readonly content: (itemId: string) => ContentVectors | undefined
  /** Least cosine with the target in `content-single`, inclusive. */
  readonly contentCut: number
  /** Cluster of an item, by any name: its label, or its place among centroids. */
  readonly clusterOf: (itemId: string) => string
}

/** What became of the histories of one set, and which rule took how many items. */
export interface FilterCounts {
  /** Histories looked at. */
  histories: number
  /** Histories that made a row. */
  rows: number
  /** Histories with fewer than `minItems` items left. */
  short: number
  /** Histories without marks in a set that needs them. */
  unmarked: number
  /** Items in them; `items = unknown + duplicate + fewKinds + otherKinds + otherContent + surplus + kept + lost`. */
  items: number
  /** Without content. */
  unknown: number
  /** The target, or bit for bit the same as it. */
  duplicate: number
  /** Fewer than `minKinds` kinds of positive behavior. */
  fewKinds: number
  /** Kinds that do not agree with the target's. */
  otherKinds: number
  /** Content below the cut. */
  otherContent: number
  /** Passed every rule, and there was no place left. */
  surplus: number
  /** In rows. */
  kept: number
  /** Passed every rule in a history that made no row. */
  lost: number
}

/** Counts before anything is counted. */
export function noCounts(): FilterCounts {
  return {
    histories: 0,
    rows: 0,
    short: 0,
    unmarked: 0,
    items: 0,
    unknown: 0,
    duplicate: 0,
    fewKinds: 0,
    otherKinds: 0,
    otherContent: 0,
    surplus: 0,
    kept: 0,
    lost: 0,
  }
}

/** Bits an item must have. */
const asked: Readonly<Record<FilterSet, number>> = {
  'content-single': markBits.kinds,
  'content-multi': markBits.jaccard,
  'collaborative-single': markBits.kinds | markBits.jaccard,
  'collaborative-multi': 0,
}

/**
 * The items of one set, oldest first; undefined when the history makes no row in it.
 * @param counts - added to
 * @throws SIDESTREAM_SHAPE_MISMATCH when marks and history differ in length
 */
export function filterHistory(
  set: FilterSet,
  { targetId, history, marks }: CandidateHistory,
  { content, contentCut, clusterOf }: FilterContent,
  options: FilterOptions = {},
  counts: FilterCounts = noCounts(),
): string[] | undefined {
  const { length, minItems } = { ...filterDefaults, ...options }
  if (marks !== undefined && marks.length !== history.length) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${marks.length} marks for a history of ${history.length} items`)
  }
  counts.histories++
  const target = content(targetId)
  if (target === undefined || (marks === undefined && asked[set] !== 0)) {
    if (target !== undefined) counts.unmarked++
    return undefined
  }
  counts.items += history.length
  /** Places of the whole positive history, which clusters are shares of, and of those that pass. */
  const whole: number[] = []
  const passed: number[] = []
  for (const [i, itemId] of history.entries()) {
    const item = content(itemId)
    if (item === undefined) {
      counts.unknown++
      continue
    }
    if (itemId === targetId || sameContent(item, target)) {
      counts.duplicate++
      continue
    }
    whole.push(i)
    const missing = asked[set] & ~(marks?.[i] ?? 0)
    if (missing & markBits.kinds) counts.fewKinds++
    else if (missing & markBits.jaccard) counts.otherKinds++
    else if (set === 'content-single' && !((contentCosine(item, target) ?? -Infinity) >= contentCut)) counts.otherContent++
    else passed.push(i)
  }
  if (passed.length < minItems) {
    counts.short++
    counts.lost += passed.length
    return undefined
  }
  const isCollaborative = set === 'collaborative-single' || set === 'collaborative-multi'
  const kept = isCollaborative
    ? proportional(passed, new Map(whole.map((i) => [i, clusterOf(history[i] ?? '')])), length)
    : passed.slice(-length)
  counts.surplus += passed.length - kept.length
  counts.kept += kept.length
  counts.rows++
  return kept.map((i) => history[i] ?? '')
}

/**
 * Up to `length` places so that clusters keep their shares of the whole: each goes to the cluster with the largest
 * (quota - taken) that has one left, on a tie to the one with the newest item; newest items first.
 * @param passed - places to choose from, ascending
 * @param clusters - cluster of every place of the whole
 * @returns ascending
 */
function proportional(passed: readonly number[], clusters: ReadonlyMap<number, string>, length: number): number[] {
  const sizes = new Map<string, number>()
  for (const cluster of clusters.values()) sizes.set(cluster, (sizes.get(cluster) ?? 0) + 1)
  const open = new Map<string, { readonly places: number[]; deficit: number }>()
  for (const place of passed) {
    const cluster = clusters.get(place) ?? ''
    const known = open.get(cluster)
    // quota - taken, times the size of the whole: whole numbers, so that ties are ties.
    if (known === undefined) open.set(cluster, { places: [place], deficit: length * (sizes.get(cluster) ?? 0) })
    else known.places.push(place)
  }
  const taken: number[] = []
  while (taken.length < length) {
    let best: { readonly places: number[]; deficit: number } | undefined
    let newest = -1
    for (const cluster of open.values()) {
      const last = cluster.places.at(-1) ?? -1
      if (last < 0 || (best !== undefined && (cluster.deficit < best.deficit || (cluster.deficit === best.deficit && last < newest))))
        continue
      best = cluster
      newest = last
    }
    if (best === undefined) break
    taken.push(newest)
    best.places.pop()
    best.deficit -= clusters.size
  }
  return taken.sort((a, b) => a - b)
}
