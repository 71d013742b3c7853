/**
 * The rows of each training source of an offline run, and the held-out ones that stand for the tasks.
 * Invariant: a source without rows stays in the count; it is passed over, never an error of its own.
 */

import type { ItemContent } from '../schemas/index.ts'
import { idRow, pairRow, usableRows, type TeacherRows, type TrainingRow } from './batches.ts'
import { contentPairs } from './content-pairs.ts'
import type { Head } from './head.ts'
import type { OfflineData } from './offline-data.ts'
import { rowsOfSets, sourceOfSet, type SampleSet, type SampleSetOptions, type SetRows } from './sample-sets.ts'
import { sampleDefaults, type SampleOptions } from './samples.ts'
import type { SourceOptions, TrainingSource } from './sources.ts'
import type { ContentVectors } from './statistics.ts'
import { buildTeacherBatch, teachersOfSource, type TeacherBatchOptions, type TeacherCounts } from './teachers.ts'

export interface OfflineSource extends SourceOptions {
  /** Of `sequences`: the set whose rows it takes; null: those of all. @default null */
  readonly set?: SampleSet | null
  /** Of `pairs`: the given pairs of its name, or each item with its nearest by content. @default 'topic' */
  readonly from?: 'topic' | 'content'
}

/** How ID embeddings are trusted. */
export type OfflineWeighing = Pick<TeacherBatchOptions, 'minExposures' | 'saturation' | 'staleMs'>

export interface OfflineRowsOptions {
  readonly samples: SampleOptions
  readonly sets?: SampleSetOptions
  /** Source of pairs whose content gives the cut of `content-single`. @default none: as `sets` says */
  readonly contentCutFrom?: string
  readonly weighing?: OfflineWeighing
  readonly seed: number
}

/** What became of the rows of one source; plain JSON. */
export interface SourceCounts {
  readonly kind: SourceOptions['kind']
  /** Rows that can be trained on. */
  readonly rows: number
  /** Rows that name items without content; of `ids`: items that no ID embedding teaches. */
  readonly unknown: number
  /** Rows set apart for judging. */
  readonly heldOut: number
  /** Of `ids`, per kind. */
  readonly teachers?: Readonly<Record<string, TeacherCounts>>
}

export interface OfflineRows {
  readonly bySource: Readonly<Record<string, readonly TrainingRow[]>>
  readonly counts: Readonly<Record<string, SourceCounts>>
  /** Samples that can be trained on, and those without content for their target, or for all of their history. */
  readonly samples: number
  readonly dropped: number
  readonly sets: SetRows['counts']
  /** Held-out rows, by task. */
  readonly tasks: Readonly<Record<string, readonly TrainingRow[]>>
  /** ID embeddings of the items of a batch. */
  readonly teachers: (source: Pick<TrainingSource, 'entities'>, itemIds: readonly string[]) => TeacherRows
}

/** @param head - before any training; only its statistics are looked at */
export async function offlineRows(
  data: OfflineData,
  sources: readonly OfflineSource[],
  head: Head,
  { samples, sets: given, contentCutFrom, weighing = {}, seed }: OfflineRowsOptions,
): Promise<OfflineRows> {
  const { items, teachers: known } = data
  const content = (id: string): ContentVectors | undefined => items.get(id)?.vectors
  const item = (id: string): ItemContent | undefined => items.get(id)
  const { historyLength: length = sampleDefaults.historyLength, source: sampled = sampleDefaults.source } = samples
  let nearest: Promise<readonly TrainingRow[]> | undefined
  const near = (): Promise<readonly TrainingRow[]> => (nearest ??= contentPairs(head, data.warm, content))
  const cutSource = sources.find(({ name, kind }) => kind === 'pairs' && name === contentCutFrom)
  const cutRows = cutSource && (cutSource.from === 'content' ? await near() : (data.pairs.get(cutSource.name)?.trained ?? []).map(pairRow))
  const setOptions = { length, seed, ...given, ...(cutRows && { cutRows }) }
  const usable = usableRows(data.samples, content)
  const { rows: made, counts: sets } = rowsOfSets(usable.rows, item, setOptions)
  const held = usableRows(data.heldOut, content).rows
  const judged = rowsOfSets(held, item, { length, sets: ['plain'] }).rows
  const bySource: Record<string, readonly TrainingRow[]> = {}
  const counts: Record<string, SourceCounts> = {}
  const tasks: Record<string, readonly TrainingRow[]> = judged.length > 0 ? { [sampled]: judged } : {}
  const all: TeacherBatchOptions = {
    ...weighing,
    kinds: known.kinds,
    endTs: Math.min(data.cutTs, data.newestTs + 1),
    ...(known.weightBy !== undefined && { weightBy: known.weightBy }),
  }

  for (const { name, kind, set = null, from = 'topic', entities = [] } of sources) {
    if (kind === 'sequences') {
      bySource[name] = set === null ? made : made.filter(({ source }) => source === sourceOfSet(sampled, set))
      counts[name] = { kind, rows: bySource[name].length, unknown: usable.dropped, heldOut: judged.length }
    } else if (kind === 'ids') {
      const ids = [...items.keys()].sort()
      const own = teachersOfSource(all, entities)
      const batch = buildTeacherBatch(
        ids.map((targetId) => ({ targetId })),
        known,
        own,
      )
      const taught = ids.filter((_, i) => batch.weights[i]! > 0)
      bySource[name] = taught.map(idRow)
      const teachers = Object.fromEntries(own.kinds.map((one, k) => [one.name, batch.counts[k]!]))
      counts[name] = { kind, rows: taught.length, unknown: ids.length - taught.length, heldOut: 0, teachers }
    } else if (from === 'content') {
      bySource[name] = await near()
      counts[name] = { kind, rows: bySource[name].length, unknown: 0, heldOut: 0 }
    } else {
      const { trained = [], heldOut = [] } = data.pairs.get(name) ?? {}
      const found = usableRows(trained.map(pairRow), content)
      const apart = usableRows(heldOut.map(pairRow), content).rows
      bySource[name] = found.rows
      counts[name] = { kind, rows: found.rows.length, unknown: found.dropped, heldOut: apart.length }
      if (apart.length > 0) tasks[name] = apart
    }
  }
  return {
    bySource,
    counts,
    samples: usable.rows.length,
    dropped: usable.dropped,
    sets,
    tasks,
    teachers: ({ entities }, itemIds) =>
      buildTeacherBatch(
        itemIds.map((targetId) => ({ targetId })),
        known,
        teachersOfSource(all, entities),
      ),
  }
}
