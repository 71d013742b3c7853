/** What a demo run found out: everything the page and the summary show, as plain JSON (`report.json`). */

import type { LevelShare, PipelineJudgement } from '../../pipeline/index.ts'

/** Ranking quality of one vector set on the judged window; null where there was no event. */
export interface QualityRow {
  /** Such as `raw content`, `version 1`, `version 2`. */
  readonly name: string
  readonly allPop: number | null
  readonly allRecall10: number | null
  readonly warmPop: number | null
  readonly warmRecall10: number | null
  readonly coldPop: number | null
  readonly coldRecall10: number | null
}

export interface VersionFacts {
  readonly version: number
  readonly reason: string
  readonly items: number
  /** From the decision to live, milliseconds. */
  readonly buildMs: number
  /** Share of variance that the codes leave unexplained. */
  readonly fvu: number
  /** Distinct semantic IDs / items. */
  readonly uniqueRate: number
  readonly levels: readonly LevelShare[]
  /** SHA-256 of the rows: equal runs have equal digests. */
  readonly digest: string
}

export interface DemoReport {
  readonly title: string
  /** `generated world` or the recipe's title. */
  readonly source: string
  readonly seed: number
  /** Wall time of the whole run, seconds. */
  readonly seconds: number
  readonly counts: {
    readonly interactions: number
    readonly contents: number
    readonly idEmbeddings: number
    readonly samples: number
    readonly deadLetters: number
    readonly late: number
  }
  /** Event time covered, milliseconds since epoch. */
  readonly from: number
  readonly until: number
  /** Loss of every training step on a batch that is large enough to be set beside others, in order. */
  readonly losses: readonly number[]
  /** Training steps on smaller batches. */
  readonly smallSteps: number
  /** Trained rounds. */
  readonly rounds: readonly { readonly round: number; readonly rows: number; readonly loss: number | null }[]
  readonly versions: readonly VersionFacts[]
  /** The guard's word on the candidate; null when nothing was judged. */
  readonly judgement: PipelineJudgement | null
  /** Raw content and each version, on the same events. */
  readonly quality: readonly QualityRow[]
  /** From log append to readable in the live version. */
  readonly freshness: {
    readonly count: number
    readonly p50Ms: number
    readonly p99Ms: number
    readonly maxMs: number
    /** Half-open bins. */
    readonly bins: readonly { readonly fromMs: number; readonly toMs: number; readonly count: number }[]
  }
  /** What changed from version 1 to version 2 among the items that both hold. */
  readonly change: {
    readonly items: number
    readonly churn: number
    readonly churnFirstCode: number
    readonly churnBudget: number
    /** Mean cosine of each item's two vectors, the new ones turned onto the old ones block by block; and of the vectors as they are. */
    readonly meanCosine: number | null
    readonly meanPlainCosine: number | null
    /** The former item by item: counts in ascending bins over [-1, 1]. */
    readonly cosineBins: readonly { readonly from: number; readonly to: number; readonly count: number }[]
  }
  /** Moves of the live pointer, oldest first. */
  readonly history: readonly { readonly seq: number; readonly version: number; readonly action: string }[]
  /** A few items as a reader sees them, nearest neighbors by published vector. */
  readonly examples: readonly {
    readonly item: string
    readonly cold: boolean
    readonly sid: readonly number[]
    readonly labels: readonly string[]
    readonly neighbors: readonly { readonly item: string; readonly cosine: number; readonly labels: readonly string[] }[]
  }[]
}
