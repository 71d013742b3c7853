/**
 * Mines hard negatives for the batches to come, with the head as it is (SAIL-Embedding, section 3.1.2): per source the
 * F1-optimal lambda* over a sample of its rows; per row the most similar items of a pool that stay below it.
 * Invariant: what is mined is a function of (head, rows, content, seed). lambda* grows with the size of its sample, so that size is
 * recorded beside it and never varies within a run, but for sources with fewer rows.
 */

import { shuffle, type ComputeWorker } from '../compute/index.ts'
import type { ContentLookup, TrainingRow } from './batches.ts'
import { mineHardNegatives, miningDefaults } from './hard-negatives.ts'
import { lambdaStarOfPairs, type LambdaStar } from './lambda-star.ts'
import type { OpenSimilarity } from './ports.ts'
import { encodeItemsOf, rowVectors, type ItemVectors } from './row-vectors.ts'
import { similarityIn } from './similarity.ts'
import type { SourceRows } from './step-order.ts'
import type { Mining } from './trainer.ts'

export interface MinerOptions {
  /** Hard negatives of a row, m; 0 mines lambda* only. @default 4 */
  readonly perQuery?: number
  /** Whether in-batch negatives at or above lambda* are left out as well. @default true */
  readonly maskInBatch?: boolean
  /** Steps between two minings. Higher: cheaper, from an older head. @default 1000 */
  readonly every?: number
  /** Rows whose cosines give lambda*. Not comparable between sizes. @default 2048 */
  readonly sampleRows?: number
  /** Items that negatives are chosen from, drawn from the targets of the coming rows. Higher: harder negatives, linear cost. @default 2048 */
  readonly poolItems?: number
  /** @default 0 */
  readonly seed?: number
}

export const minerDefaults: Readonly<Required<MinerOptions>> = {
  perQuery: miningDefaults.perQuery,
  maskInBatch: true,
  every: 1000,
  sampleRows: 2048,
  poolItems: 2048,
  seed: 0,
}

/** What one mining found, for the record. */
export interface MiningReport {
  readonly source: string
  /** Steps until the next one. */
  readonly batches: number
  readonly lambda: LambdaStar
  /** Pool items at or above lambda*, summed over rows: taken for false negatives. */
  readonly dropped: number
  /** Places for a hard negative that stayed empty. */
  readonly empty: number
}

/** Random streams of the samples; shuffles of rows use those below 0x8000_0000. */
const sampleStream = 0xffff_0000

/**
 * The mining of a training plan.
 * @param content - the same look-up that the plan trains with
 * @param historyLength - the trainer's
 * @param worker - the trainer's thread, idle while it mines
 * @param onMined - told of every source, every time
 */
export function createMiner(
  content: ContentLookup,
  historyLength: number,
  worker: ComputeWorker,
  given: MinerOptions = {},
  onMined: (report: MiningReport) => void = () => {},
): Mining {
  const options = { ...minerDefaults, ...given }
  const open = similarityIn(worker)
  return {
    hardNegatives: options.perQuery,
    maskInBatch: options.maskInBatch,
    every: options.every,
    mine: async (head, batches) => {
      const lambdas = new Map<string, number>()
      const hard: (readonly (readonly string[])[])[] = batches.map(() => [])
      const items = await encodeItemsOf(
        head,
        batches.flatMap(({ rows }) => rows),
        content,
        worker,
      )
      for (const source of new Set(batches.map((batch) => batch.source))) {
        const own = [...batches.keys()].filter((at) => batches[at]!.source === source && hasHistory(batches[at]!))
        const rows = own.flatMap((at) => batches[at]!.rows)
        if (rows.length === 0) continue
        const lambda = await lambdaOf(sample(distinct(rows), options.sampleRows, options.seed), items, historyLength, open)
        lambdas.set(source, lambda.lambda)
        let counts = { dropped: 0, empty: 0 }
        if (options.perQuery > 0) {
          const found = await mineRows(rows, items, historyLength, lambda.lambda, options, open)
          counts = found.counts
          let from = 0
          for (const at of own) hard[at] = found.hard.slice(from, (from += batches[at]!.rows.length))
        }
        onMined({ source, batches: own.length, lambda, ...counts })
      }
      return { lambda: (source) => lambdas.get(source) ?? Infinity, hard: (at) => hard[at]! }
    },
  }
}

function hasHistory({ rows }: SourceRows): boolean {
  return rows.some(({ history }) => history.length > 0)
}

function distinct<T>(rows: readonly T[]): T[] {
  return [...new Set(rows)]
}

/** At most `count` of them, seeded, in their own order. */
function sample<T>(all: readonly T[], count: number, seed: number): T[] {
  if (all.length <= count) return [...all]
  const places = shuffle(Uint32Array.from(all.keys()), seed, sampleStream).slice(0, count).sort()
  return Array.from(places, (at) => all[at]!)
}

function lambdaOf(rows: readonly TrainingRow[], items: ItemVectors, historyLength: number, open: OpenSimilarity): Promise<LambdaStar> {
  return lambdaStarOfPairs(rowVectors(rows, items, historyLength), pairsOf(rows), open)
}

/** Rows as positives: those of one user (or query item) share their targets; nobody's history is a negative. */
function pairsOf(rows: readonly TrainingRow[]): {
  readonly queryIds: string[]
  readonly targetIds: string[]
  readonly excluded: (row: number) => readonly string[]
} {
  return {
    queryIds: rows.map(({ userId }) => userId),
    targetIds: rows.map(({ targetId }) => targetId),
    excluded: (row) => rows[row]!.history,
  }
}

async function mineRows(
  rows: readonly TrainingRow[],
  items: ItemVectors,
  historyLength: number,
  lambda: number,
  { perQuery, poolItems, seed }: Required<MinerOptions>,
  open: OpenSimilarity,
): Promise<{ readonly hard: string[][]; readonly counts: { readonly dropped: number; readonly empty: number } }> {
  const poolIds = sample(distinct(rows.map(({ targetId }) => targetId)), poolItems, seed)
  const { dim } = items
  const pool = new Float32Array(poolIds.length * dim)
  for (const [p, id] of poolIds.entries()) {
    const from = items.places.get(id)! * dim
    pool.set(items.vectors.subarray(from, from + dim), p * dim)
  }
  const { queries } = rowVectors(rows, items, historyLength)
  const {
    rows: found,
    dropped,
    empty,
  } = await mineHardNegatives({ queries, pool, dim, pairs: pairsOf(rows), poolIds, lambda }, { perQuery }, open)
  const hard = rows.map((_, i) =>
    Array.from(found.subarray(i * perQuery, (i + 1) * perQuery))
      .filter((at) => at >= 0)
      .map((at) => poolIds[at]!),
  )
  return { hard, counts: { dropped, empty } }
}
