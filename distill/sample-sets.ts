/**
 * The rows of several sample sets from one row of the log: the newest history as it is (`plain`), and what the four filters
 * make of the candidates. Each set is a source of its own, so that a trainer can draw from them by name.
 * Invariant: rows depend on the candidate rows, the items' content and the options alone, not on the order of anything.
 */
import type { DistillSample } from '../schemas/index.ts'
import { clusterItems } from './content-clusters.ts'
import { contentCosine, sameContent } from './content-similarity.ts'
import { filterDefaults, filterHistory, filterSets, noCounts } from './sequence-filters.ts'
import type { FilterContent, FilterCounts, FilterOptions } from './sequence-filters.ts'
import type { ContentVectors } from './statistics.ts'

export const sampleSets = ['plain', ...filterSets] as const
export type SampleSet = (typeof sampleSets)[number]

export interface SampleSetOptions extends FilterOptions {
  /**
   * Which sets to make. More sets: proportionally more rows.
   * @default ['plain']
   */
  readonly sets?: readonly SampleSet[]
  /**
   * Least cosine of an item's content with the target's in `content-single`; null: the `contentQuantile` of the rows.
   * @default null
   */
  readonly contentCut?: number | null
  /**
   * Without a cut of its own: share of the pairs whose cosine is below the cut. Higher: fewer items, more alike.
   * @default 0.25
   */
  readonly contentQuantile?: number
  /**
   * Those pairs: of each row the target and its newest item. One source of pairs that are alike in content gives the cut of
   * SAIL-Embedding's kind.
   * @default the rows themselves, as they are where none of these has content
   */
  readonly cutRows?: readonly Pick<DistillSample, 'targetId' | 'history'>[]
  /**
   * Most clusters of items without a label. More: finer shares, slower.
   * @default 1000
   */
  readonly clusters?: number
  /**
   * Seed of the clusters.
   * @default 0
   */
  readonly seed?: number
}

export const sampleSetDefaults: Readonly<Required<Omit<SampleSetOptions, 'cutRows'>>> = {
  ...filterDefaults,
  sets: ['plain'],
  contentCut: null,
  contentQuantile: 0.25,
  clusters: 1000,
  seed: 0,
}

/** What is known of an item: the part of `ItemContent` that the filters look at. */
export interface SampleItem {
  readonly vectors: ContentVectors
  readonly labels?: readonly string[]
}

export interface SetRows {
  readonly rows: readonly DistillSample[]
  /** By the name of the set. */
  readonly counts: Readonly<Partial<Record<SampleSet, FilterCounts>>>
  /** The cut that `content-single` used; NaN when it had none to find, or is not made. */
  readonly contentCut: number
}

/** The source name of a set's rows: `seq2item`, `seq2item/content-single`. */
export function sourceOfSet(source: string, set: SampleSet): string {
  return set === 'plain' ? source : `${source}/${set}`
}

/**
 * Rows of every set, row by row in the order given, sets in the order of `sampleSets`.
 * @param rows - candidate rows; items without content are passed over
 * @param item - an item's content as of the round
 */
export function rowsOfSets(
  rows: readonly DistillSample[],
  item: (itemId: string) => SampleItem | undefined,
  given: SampleSetOptions = {},
): SetRows {
  const options = { ...sampleSetDefaults, ...given }
  const sets = sampleSets.filter((set) => options.sets.includes(set))
  const filtered = sets.flatMap((set) => (set === 'plain' ? [] : [set]))
  const content = (itemId: string): ContentVectors | undefined => item(itemId)?.vectors
  const contentCut = filtered.includes('content-single') ? (options.contentCut ?? foundCut(rows, content, options)) : NaN
  const needsClusters = filtered.includes('collaborative-single') || filtered.includes('collaborative-multi')
  const clusterOf = needsClusters ? clusterItems(rows, item, options) : () => ''
  const rules: FilterContent = { content, contentCut, clusterOf }
  const counts: Partial<Record<SampleSet, FilterCounts>> = {}
  for (const set of sets) counts[set] = noCounts()
  const made: DistillSample[] = []
  for (const row of rows) {
    if (counts.plain !== undefined) {
      const plain = newest(row, content, options.length, counts.plain)
      if (plain !== undefined) made.push(plain)
    }
    for (const set of filtered) {
      const history = filterHistory(set, row, rules, options, counts[set])
      if (history !== undefined) made.push(rowOf(row, set, history))
    }
  }
  return { rows: made, counts, contentCut }
}

function rowOf({ kind, source, userId, targetId, eventTs }: DistillSample, set: SampleSet, history: readonly string[]): DistillSample {
  return { kind, source: sourceOfSet(source, set), userId, targetId, eventTs, history }
}

/** The newest known items; a row that is so already stays as it is. */
function newest(row: DistillSample, content: FilterContent['content'], length: number, counts: FilterCounts): DistillSample | undefined {
  counts.histories++
  if (content(row.targetId) === undefined) return undefined
  const known = row.history.filter((itemId) => content(itemId) !== undefined)
  counts.items += row.history.length
  counts.unknown += row.history.length - known.length
  if (known.length === 0) {
    counts.short++
    return undefined
  }
  const history = known.slice(-length)
  counts.surplus += known.length - history.length
  counts.kept += history.length
  counts.rows++
  return row.marks === undefined && history.length === row.history.length ? row : rowOf(row, 'plain', history)
}

function foundCut(
  rows: readonly DistillSample[],
  content: FilterContent['content'],
  { cutRows = [], contentQuantile }: Pick<SampleSetOptions, 'cutRows'> & { readonly contentQuantile: number },
): number {
  const given = cutOf(cutRows, content, contentQuantile)
  return Number.isNaN(given) ? cutOf(rows, content, contentQuantile) : given
}

/** The cosine that `quantile` of the pairs (target, newest other item before it) lie below; NaN without a pair. */
function cutOf(rows: NonNullable<SampleSetOptions['cutRows']>, content: FilterContent['content'], quantile: number): number {
  const cosines: number[] = []
  for (const { targetId, history } of rows) {
    const target = content(targetId)
    if (target === undefined) continue
    for (let i = history.length - 1; i >= 0; i--) {
      const item = content(history[i] ?? '')
      if (item === undefined || sameContent(item, target)) continue
      const cosine = contentCosine(item, target)
      if (cosine !== undefined) cosines.push(cosine)
      break
    }
  }
  const ascending = Float64Array.from(cosines).sort()
  return ascending[Math.min(ascending.length - 1, Math.floor(quantile * ascending.length))] ?? NaN
}
