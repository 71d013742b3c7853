/**
 * The rows of a round: unique, complete and in an order of their own.
 * Invariant: rows and their order are a function of (the set of samples, the items known, seed, round): partitions,
 * interleaving and repeats of the stream leave no trace.
 */
import { hashUnit } from '../compute/index.ts'
import type { DistillSample } from '../schemas/index.ts'
import { rowsOfSets } from './sample-sets.ts'
import type { SampleItem, SampleSet, SampleSetOptions } from './sample-sets.ts'
import { keepHistory, sampleKey } from './samples.ts'
import type { FilterCounts } from './sequence-filters.ts'

/** A sample that waits in a round. */
export interface RoundRow {
  /** `sampleKey` of the sample. */
  readonly key: string
  readonly sample: DistillSample
  /** It has waited a round for an item already. */
  readonly waited: boolean
}

/** What one round trains on, and what became of the rest. */
export interface PreparedRound {
  readonly round: number
  /** Training rows in order; unknown items are gone from the histories. */
  readonly rows: readonly DistillSample[]
  /** Rows that join the next round because their target, or their whole history, is unknown; in key order. */
  readonly waiting: readonly RoundRow[]
  readonly counts: {
    readonly taken: number
    /** Rows whose key another row of the round has. */
    readonly duplicates: number
    readonly rows: number
    /** Liked items without a history: nothing to learn from. */
    readonly empty: number
    readonly waiting: number
    /** Unknown for the second time: given up. */
    readonly dropped: number
    /** History items left out of the rows because they are unknown. */
    readonly historyItemsUnknown: number
  }
}

/** One row per key, chosen so that it does not matter which came first. */
function uniqueRows(rows: Iterable<RoundRow>): Map<string, RoundRow> {
  const unique = new Map<string, RoundRow>()
  for (const row of rows) {
    const known = unique.get(row.key)
    if (!known || precedes(row, known)) unique.set(row.key, row)
  }
  return unique
}

/**
 * Samples of one key differ only when their histories were read at different states. A row that has waited wins (it must
 * not wait twice), then the longer history, then text order, then the order of the marks.
 */
function precedes(a: RoundRow, b: RoundRow): boolean {
  if (a.waited !== b.waited) return a.waited
  if (a.sample.history.length !== b.sample.history.length) return a.sample.history.length > b.sample.history.length
  const [x, y] = [a, b].map(({ sample: { history, marks = [] } }) => JSON.stringify([history, [...marks]]))
  return (x ?? '') < (y ?? '')
}

/**
 * Makes a round ready to train: one row per key is left, unknown items leave the histories, a row without target or history waits one round and
 * is then dropped, and the rest is ordered by hash(seed, round, key).
 * @param isKnown - whether the item's content is there as of the round's end
 */
export function prepareRound(
  rows: readonly RoundRow[],
  { round, seed, isKnown }: { readonly round: number; readonly seed: number; readonly isKnown: (itemId: string) => boolean },
): PreparedRound {
  const ready: { readonly order: number; readonly key: string; readonly sample: DistillSample }[] = []
  const waiting: RoundRow[] = []
  let empty = 0
  let dropped = 0
  let historyItemsUnknown = 0
  const unique = uniqueRows(rows)
  for (const row of unique.values()) {
    if (row.sample.history.length === 0) {
      empty++
      continue
    }
    const sample = keepHistory(row.sample, isKnown)
    if (sample.history.length > 0 && isKnown(sample.targetId)) {
      historyItemsUnknown += row.sample.history.length - sample.history.length
      ready.push({ order: hashUnit(seed, `${round}/${row.key}`), key: row.key, sample })
    } else if (row.waited) dropped++
    else waiting.push({ ...row, waited: true })
  }
  ready.sort((a, b) => a.order - b.order || (a.key < b.key ? -1 : 1))
  waiting.sort((a, b) => (a.key < b.key ? -1 : 1))
  const counts = {
    taken: rows.length,
    duplicates: rows.length - unique.size,
    rows: ready.length,
    empty,
    waiting: waiting.length,
    dropped,
    historyItemsUnknown,
  }
  return { round, rows: ready.map(({ sample }) => sample), waiting, counts }
}

/** The training rows of a round's sample sets. */
export interface RoundSets {
  /** In order; each set is a source of its own. */
  readonly rows: readonly DistillSample[]
  readonly counts: Readonly<Partial<Record<SampleSet, FilterCounts>>>
  /** Least cosine in `content-single`; NaN when there is none. */
  readonly contentCut: number
}

/**
 * Makes the rows of the sample sets of a prepared round, all together ordered by hash(seed, round, key).
 * @param item - an item's content as of the round's end
 */
export function prepareSets(
  { round, rows }: Pick<PreparedRound, 'round' | 'rows'>,
  { seed, item, ...options }: SampleSetOptions & { readonly seed: number; readonly item: (itemId: string) => SampleItem | undefined },
): RoundSets {
  const made = rowsOfSets(rows, item, { ...options, seed })
  const keyed = made.rows.map((row) => {
    const key = sampleKey(row)
    return { row, key, order: hashUnit(seed, `${round}/${key}`) }
  })
  keyed.sort((a, b) => a.order - b.order || (a.key < b.key ? -1 : 1))
  return { ...made, rows: keyed.map(({ row }) => row) }
}
