/**
 * Mines hard negatives for the batches to come, with what is trained as it is (SAIL-Embedding, section 3.1.2): per source the
 * F1-optimal lambda* over a sample of its rows; per row the most similar items of a pool that stay below it. Both sides of a row
 * are those of its source's loss; of a source of ids the negatives are other items' teachers.
 * Invariant: what is mined is a function of (weights, rows, content, seed). lambda* grows with the size of its sample, so that size is
 * recorded beside it and never varies within a run, but for sources with fewer rows.
 */

import { shuffle } from '../compute/index.ts'
import type { ContentLookup, TrainingRow } from './batches.ts'
import { mineHardNegatives, miningDefaults } from './hard-negatives.ts'
import { lambdaStarOfPairs, type LambdaStar } from './lambda-star.ts'
import type { OpenSimilarity } from './ports.ts'
import type { Partners, PositivePairs } from './positive-pairs.ts'
import { rowSides, type RowSides } from './row-sides.ts'
import { encodeItemsOf } from './row-vectors.ts'
import { similarityIn } from './similarity.ts'
import type { Mining, Trainer, TrainingPlan } from './trainer.ts'

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

/** What mining looks at beside the head. */
export interface MinerInput {
  /** The same look-up that the plan trains with. */
  readonly content: ContentLookup
  readonly trainer: Pick<Trainer, 'sources' | 'historyLength' | 'pooler' | 'worker'>
  /** Those of the plan; needed by sources of ids. */
  readonly teachers?: TrainingPlan['teachers']
}

/**
 * The mining of a training plan, in the trainer's thread, which is idle while it mines.
 * @param onMined - told of every source, every time
 */
export function createMiner(
  { content, trainer, teachers }: MinerInput,
  given: MinerOptions = {},
  onMined: (report: MiningReport) => void = () => {},
): Mining {
  const options = { ...minerDefaults, ...given }
  const { worker } = trainer
  const open = similarityIn(worker)
  return {
    hardNegatives: options.perQuery,
    maskInBatch: options.maskInBatch,
    every: options.every,
    mine: async (trained, batches) => {
      const lambdas = new Map<string, number>()
      const hard: (readonly (readonly string[])[])[] = batches.map(() => [])
      const items = await encodeItemsOf(
        trained.head,
        batches.flatMap(({ rows }) => rows),
        content,
        worker,
      )
      for (const source of trainer.sources) {
        const own = [...batches.keys()].filter((at) => batches[at]!.source === source.name)
        const rows = own.flatMap((at) => batches[at]!.rows)
        const sides = rowSides({ source, trained, items, trainer, teachers })
        const partners = trained.partners.get(source.name)
        const sampled = taught(sample(distinct(rows), options.sampleRows, options.seed), sides)
        if (sampled.length === 0) continue
        const pairs = pairsOf(sampled, partners)
        const [queries, targets] = [await sides.queries(sampled), await sides.targets(pairs.targetIds)]
        const lambda = await lambdaStarOfPairs({ queries, targets, dim: items.dim }, pairs, open)
        lambdas.set(source.name, lambda.lambda)
        let counts = { dropped: 0, empty: 0 }
        if (options.perQuery > 0) {
          const found = await mineRows(rows, { sides, dim: items.dim, partners, lambda: lambda.lambda }, options, open)
          counts = found.counts
          let from = 0
          for (const at of own) hard[at] = found.hard.slice(from, (from += batches[at]!.rows.length))
        }
        onMined({ source: source.name, batches: own.length, lambda, ...counts })
      }
      return { lambda: (source) => lambdas.get(source) ?? Infinity, hard: (at) => hard[at]! }
    },
  }
}

/** Rows that teach; the others have no side to compare. */
function taught(rows: readonly TrainingRow[], sides: RowSides): TrainingRow[] {
  const teaches = sides.teaches(rows)
  return rows.filter((_, i) => teaches[i])
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

/**
 * Rows as positives: those of one user (or query item) share their targets; nobody's history is a negative, and no partner of
 * the query item.
 */
function pairsOf(rows: readonly TrainingRow[], partners: Partners | undefined): PositivePairs {
  return {
    queryIds: rows.map(({ userId }) => userId),
    targetIds: rows.map(({ targetId }) => targetId),
    excluded: (row) => {
      const { history, userId } = rows[row]!
      const own = partners?.get(userId)
      return own === undefined ? history : [...history, ...own]
    },
  }
}

async function mineRows(
  rows: readonly TrainingRow[],
  {
    sides,
    dim,
    partners,
    lambda,
  }: { readonly sides: RowSides; readonly dim: number; readonly partners: Partners | undefined; readonly lambda: number },
  { perQuery, poolItems, seed }: Required<MinerOptions>,
  open: OpenSimilarity,
): Promise<{ readonly hard: string[][]; readonly counts: { readonly dropped: number; readonly empty: number } }> {
  const targets = new Map(rows.map((row) => [row.targetId, row]))
  const poolIds = taught(sample([...targets.values()], poolItems, seed), sides).map(({ targetId }) => targetId)
  const [queries, pool] = [await sides.queries(rows), await sides.targets(poolIds)]
  const mined = await mineHardNegatives({ queries, pool, dim, pairs: pairsOf(rows, partners), poolIds, lambda }, { perQuery }, open)
  const { rows: found, dropped, empty } = mined
  const hard = rows.map((_, i) =>
    Array.from(found.subarray(i * perQuery, (i + 1) * perQuery))
      .filter((at) => at >= 0)
      .map((at) => poolIds[at]!),
  )
  return { hard, counts: { dropped, empty } }
}
