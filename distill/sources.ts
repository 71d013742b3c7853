/**
 * Training sources: named sets of rows, each with losses and a temperature of its own (SAIL-Embedding, sections 3.1 and 3.2).
 * Invariant: a step takes all of its rows from one source, so in-batch negatives are of one kind (stochastic specialization).
 */

import { SidestreamError } from '../schemas/index.ts'
import type { TeacherEntity } from './id-losses.ts'
import { lossWeightDefaults, type LossWeights } from './pair-losses.ts'

/** What the rows of a source are: a history and its target; two items that belong together; an item and its ID embeddings. */
export type SourceKind = 'sequences' | 'pairs' | 'ids'

/** The modality by which a pair's query looks for its target's: a name, or `fused` for the whole distilled part. */
export interface ModalityPattern {
  readonly query: string
  readonly target: string
}

/** In a pattern: the vector fused of all modalities that the item has. */
export const fusedSide = 'fused'

export interface SourceOptions {
  /** Appears in metrics, reports and the names of the source's own parameters. */
  readonly name: string
  readonly kind: SourceKind
  /**
   * Temperature of the contrastive loss. Lower: warm items gain, cold ones lose.
   * @default the trainer's; 0.1 for `ids`
   */
  readonly tau?: number
  /** `learned`: trained too, from `tau`, within [0.01, 1]. @default the trainer's */
  readonly tauMode?: 'fixed' | 'learned'
  /** Of `pairs`. */
  readonly losses?: Partial<LossWeights>
  /** Whether `pairs` have scores, which then train by CoSENT too. @default false */
  readonly scored?: boolean
  /**
   * Of scored pairs: the least score of a pair that contrast pulls together; others train their order alone. Null: a score above the
   * median of its batch, or the best one where half of the batch has it.
   * @default null
   */
  readonly positiveFrom?: number | null
  /** Of scored pairs: temperature of CoSENT, where a learned one begins; cosines of graded pairs lie close together. @default 0.05 */
  readonly cosentTau?: number
  /** Of `pairs`: further contrasts, each of one modality of the query against another of the target. @default none */
  readonly patterns?: readonly ModalityPattern[]
  /** Of `sequences`: how a history becomes one vector. @default 'mean' */
  readonly pooler?: 'mean' | 'transformer'
  /** Of `sequences`: whether rows are kept apart when the target of one stands in the history of the other. @default true */
  readonly maskHistory?: boolean
  /** Chance that a step leaves out a modality of an item that has more than one; never all of them. @default 0 */
  readonly modalityDropout?: number
  /** Of `ids`: the kinds of ID embeddings that teach, in a fixed order. */
  readonly entities?: readonly TeacherEntity[]
}

/** What a stage changes in the loss of a source. */
export interface SourceOverride {
  /** Temperature of the contrastive loss, fixed; a learned one waits where it was. @default the source's */
  readonly tau?: number
  /** Of `pairs`. @default the source's, part by part */
  readonly losses?: Partial<LossWeights>
}

/** Options with every default resolved. */
export interface TrainingSource {
  readonly name: string
  readonly kind: SourceKind
  readonly tau: number
  readonly tauMode: 'fixed' | 'learned'
  readonly losses: LossWeights
  readonly scored: boolean
  readonly positiveFrom: number | null
  readonly cosentTau: number
  readonly patterns: readonly ModalityPattern[]
  readonly pooler: 'mean' | 'transformer'
  readonly maskHistory: boolean
  readonly modalityDropout: number
  readonly entities: readonly TeacherEntity[]
}

/** Temperature of ID-to-item distillation. */
const idsTau = 0.1
const cosentTauDefault = 0.05

/**
 * Fills in the defaults and checks what was given.
 * @throws SIDESTREAM_USAGE_INVALID
 */
export function trainingSources(
  given: readonly SourceOptions[],
  defaults: { readonly tau: number; readonly tauMode: 'fixed' | 'learned' },
): TrainingSource[] {
  if (given.length === 0) throw invalid('training needs at least one source')
  const sources = given.map((source): TrainingSource => {
    const { name, kind, scored = false, positiveFrom = null, pooler = 'mean', entities = [] } = source
    const { cosentTau = cosentTauDefault, maskHistory = true, modalityDropout = 0, patterns = [] } = source
    const { tau = kind === 'ids' ? idsTau : defaults.tau, tauMode = defaults.tauMode } = source
    if (!/^[A-Za-z0-9_./-]{1,64}$/.test(name)) throw invalid(`source name ${JSON.stringify(name)} must be 1 to 64 of A-Z a-z 0-9 _ . / -`)
    if (!(tau > 0 && Number.isFinite(tau))) throw invalid(`tau of source ${name} must be above 0, not ${tau}`)
    if (kind === 'ids' && entities.length === 0) throw invalid(`source ${name} needs at least one kind of ID embedding`)
    if (kind !== 'ids' && entities.length > 0) throw invalid(`source ${name} is of ${kind}: only a source of ids has ID embeddings`)
    if (kind !== 'pairs' && scored) throw invalid(`source ${name} is of ${kind}: only pairs have scores`)
    if (!scored && positiveFrom !== null) throw invalid(`source ${name} has no scores for positiveFrom`)
    if (!(modalityDropout >= 0 && modalityDropout < 1))
      throw invalid(`modalityDropout of source ${name} must be from 0 to below 1, not ${modalityDropout}`)
    if (kind !== 'pairs' && patterns.length > 0) throw invalid(`source ${name} is of ${kind}: only pairs have patterns`)
    if (kind !== 'sequences' && pooler !== 'mean') throw invalid(`source ${name} is of ${kind}: only sequences are pooled`)
    return {
      name,
      kind,
      tau,
      tauMode,
      losses: { ...lossWeightDefaults, ...source.losses },
      scored,
      positiveFrom,
      cosentTau,
      patterns,
      pooler,
      maskHistory,
      modalityDropout,
      entities,
    }
  })
  const names = sources.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw invalid(`two sources are named ${twice}`)
  return sources
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
