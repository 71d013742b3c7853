/** How a refresh serves the items that had no ID before, apart from all others: a good mean over all items can hide them. */

import { cosineNeighbors, hashUnit } from '../compute/index.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { decode } from './encode.ts'
import { reconstruction } from './quality-distortion.ts'
import { pick, type Cohort } from './refresh-cohort.ts'

/** What to look up of neighbors. */
export interface RecallOptions {
  /** Nearest items by cosine of the vectors that should be near by cosine of the decoded IDs, too. */
  readonly k: number
  /** Most items that are asked of either kind, drawn by a hash of their id. @default 1000, fewer (100 at least) beyond 2^23 numbers */
  readonly queries?: number
}

/** Multiplications that asking about one kind of items may take by default. */
const products = 2 ** 33

/** Figures of the new items, those of the known ones beside them. */
export interface NewItems {
  readonly items: number
  /** Mean squared error. */
  readonly distortion: number
  /** Of the items that had an ID; null without any. */
  readonly knownDistortion: number | null
  /** Share of the k nearest by vector that are among the k nearest by decoded ID; null where it was not asked. */
  readonly recall: {
    readonly k: number
    /** Items asked: new ones, and known ones. */
    readonly queries: number
    readonly knownQueries: number
    readonly recall: number
    readonly knownRecall: number | null
  } | null
}

/** @returns undefined without new items */
export async function judgeNewItems(
  cohort: Cohort,
  codes: Uint16Array,
  codebooks: Codebooks,
  settings: EncodeSettings,
  recall: RecallOptions | undefined,
  { seed, threads }: { readonly seed: number; readonly threads: number },
): Promise<NewItems | undefined> {
  const { vectors, fresh, known, ids } = cohort
  if (fresh.length === 0) return undefined
  const levels = codebooks.sizes.length
  const error = (rows: Uint32Array): number =>
    reconstruction(pick(vectors, rows, codebooks.dim), pick(codes, rows, levels), codebooks, settings).distortion
  const found = { items: fresh.length, distortion: error(fresh), knownDistortion: known.length === 0 ? null : error(known) }
  if (recall === undefined) return { ...found, recall: null }
  const { k, queries = Math.max(100, Math.min(1000, Math.floor(products / cohort.x.length))) } = recall
  const decoded = decode(codes, codebooks)
  const share = async (rows: Uint32Array): Promise<number> => {
    const truth = await cosineNeighbors(cohort.x, codebooks.dim, rows, { k, threads })
    const near = await cosineNeighbors(decoded, codebooks.dim, rows, { k, threads })
    return overlap(truth, near, k)
  }
  const [asked, others] = [drawn(fresh, ids, queries, seed), drawn(known, ids, queries, seed)]
  const knownRecall = others.length === 0 ? null : await share(others)
  return { ...found, recall: { k, queries: asked.length, knownQueries: others.length, recall: await share(asked), knownRecall } }
}

/** Share of the neighbors in `truth` that stand in `near`, row by row of k. */
function overlap(truth: Int32Array, near: Int32Array, k: number): number {
  let [hits, wanted] = [0, 0]
  for (let at = 0; at < truth.length; at += k) {
    const found = new Set(near.subarray(at, at + k))
    for (const row of truth.subarray(at, at + k)) {
      if (row < 0) continue
      wanted++
      if (found.has(row)) hits++
    }
  }
  return wanted === 0 ? 1 : hits / wanted
}

/** All rows, or those with the lowest hash of their id. */
function drawn(rows: Uint32Array, ids: readonly string[], most: number, seed: number): Uint32Array {
  if (rows.length <= most) return rows
  const hashes = new Map(Array.from(rows, (row) => [row, hashUnit(seed, ids[row]!)]))
  return rows
    .slice()
    .sort((a, b) => hashes.get(a)! - hashes.get(b)! || a - b)
    .slice(0, most)
}
