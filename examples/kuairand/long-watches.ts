/**
 * Item vectors of KuaiRand-Pure before and after a refresh: the strongest axes of who watched what to the end, from the histories up to
 * 24 April 2022, and from these and the six days that follow.
 * Invariant: items, axes and start of the iteration hang on the files and the seed alone.
 */
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { createGunzip } from 'node:zlib'
import { parse } from 'csv-parse'
import { normalizeRows } from '../../compute/index.ts'
import { coClickVectors } from '../co-click-vectors.ts'

export const longWatchDim = 64

/** Items watched long by each user. */
export interface LongWatches {
  readonly before: ReadonlyMap<string, ReadonlySet<string>>
  readonly after: ReadonlyMap<string, ReadonlySet<string>>
}

/** The same items before and after, row-major float32, shape [ids.length, longWatchDim], centered, unit length. */
export interface MovedVectors {
  readonly ids: readonly string[]
  readonly before: Float32Array
  readonly after: Float32Array
}

/** Reads the folder's `user_history_upto_20220424.csv.gz` and `impressions_val.csv.gz`. */
export async function loadLongWatches(dir: string): Promise<LongWatches> {
  const before = new Map<string, Set<string>>()
  for await (const row of rowsOf(join(dir, 'user_history_upto_20220424.csv.gz'))) {
    const items = row['long_watch_seq']!.split(' ').filter((id) => id !== '')
    if (items.length > 0) before.set(row['user_id']!, new Set(items))
  }
  const after = new Map([...before].map(([user, items]) => [user, new Set(items)]))
  for await (const { user_id: user, video_id: item, long_view: long } of rowsOf(join(dir, 'impressions_val.csv.gz')))
    if (long === '1') after.set(user!, (after.get(user!) ?? new Set<string>()).add(item!))
  return { before, after }
}

/** @param seed - of the iterations' starts; both spaces start apart, as two runs of a trainer would */
export function longWatchVectors({ before, after }: LongWatches, seed: number): MovedVectors {
  const [old, now] = [before, after].map((watches, at) =>
    coClickVectors(
      [...watches.values()].map((items) => [...items]),
      longWatchDim,
      2 * seed + at,
    ),
  )
  const ids = [...old!.vectors.keys()].sort()
  return { ids, before: centeredRows(old!.vectors, ids), after: centeredRows(now!.vectors, ids) }
}

function centeredRows(vectors: ReadonlyMap<string, Float32Array>, ids: readonly string[]): Float32Array {
  const out = new Float32Array(ids.length * longWatchDim)
  const mean = new Float64Array(longWatchDim)
  for (const id of ids) vectors.get(id)!.forEach((value, j) => (mean[j]! += value / ids.length))
  for (const [row, id] of ids.entries()) vectors.get(id)!.forEach((value, j) => (out[row * longWatchDim + j] = value - mean[j]!))
  normalizeRows(out, longWatchDim)
  return out
}

function rowsOf(file: string): AsyncIterable<Record<string, string>> {
  return createReadStream(file)
    .pipe(createGunzip())
    .pipe(parse({ columns: true }))
}
