/** What `sid fit` may be asked for, and what of it excludes each other. */

import { SidestreamError } from '../schemas/index.ts'
import type { CollisionReport, RqVaeOptions, SourceFitOptions } from '../semantic-ids/index.ts'
import type { ItemTable } from './sid-items.ts'
import type { VectorFile } from './sid-vectors.ts'

export interface SidFitFiles extends VectorFile {
  /** Directory of the bundle; nothing may stand there. */
  readonly out: string
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** @default 'rq-kmeans' */
  readonly method?: SidFitMethod
  /** @default 1 */
  readonly seed?: number
  /** Most rounds of residual k-means. @default 25 */
  readonly iterations?: number
  /** How many of them are over all levels. @default three of ten */
  readonly jointRounds?: number
  /** Rows fitted on, per code of the largest level. @default 256 */
  readonly sampleRowsPerCode?: number
  /** Rounds over all levels and all rows behind those over the sample; each reads the file once, and one reading judges the last. @default 0 */
  readonly passes?: number
  /** Items consumed together, which attract each other in the fit; the vectors are held for it. @default none */
  readonly attract?: ItemTable
  /** How far an item moves toward the mean of its partners. @default 0.25 */
  readonly attractWeight?: number
  /** Of an RQ-VAE. @default rqVaeDefaults */
  readonly rqVae?: SidRqVaeOptions
  /** Vectors at unit length. @default true */
  readonly normalize?: boolean
  /** @default false */
  readonly normalizeResiduals?: boolean
  /** @default 1 */
  readonly beam?: number
  /** Gives codes prices, so that items spread over them. @default false */
  readonly balanced?: boolean
  /** How near to equal the shares are, see `BalanceOptions`. @default 0.05 */
  readonly epsilonShare?: number
  /** Values per digit of a finite-scalar last level. @default no such level */
  readonly fsqDigits?: readonly number[]
  /** Most items of one ID; the vectors are held for it. @default no bound */
  readonly capacity?: number
  /** Whether identical vectors take one place of the capacity, and move as one. @default 'together' */
  readonly duplicates?: SidDuplicates
  /** Numbers the items of each ID, in a column of `item_to_sid.parquet`. @default false */
  readonly suffix?: boolean
  /** @default 1 */
  readonly threads?: number
  /** Goes on from the state that an interrupted fit left; without one `onNote` says so, and the fit begins anew. @default false */
  readonly resume?: boolean
  readonly onProgress?: (progress: SidFitProgress) => void
  /** What the caller may not have meant, before the work begins. */
  readonly onNote?: (note: string) => void
  readonly signal?: AbortSignal
}

export const sidFitMethods = ['rq-kmeans', 'rq-vae'] as const
export type SidFitMethod = (typeof sidFitMethods)[number]

export type SidCollisions = CollisionReport
export const sidDuplicates = ['together', 'split'] as const
export type SidDuplicates = (typeof sidDuplicates)[number]

export const sidEstimators = ['straight-through', 'rotation'] as const
export const sidCodebookUpdates = ['gradient', 'ema'] as const

export type SidRqVaeOptions = Pick<
  RqVaeOptions,
  'hidden' | 'latentDim' | 'epochs' | 'batch' | 'learningRate' | 'commitment' | 'estimator' | 'codebooks'
>

export const sidFitDefaults = { method: 'rq-kmeans', seed: 1, threads: 1, attractWeight: 0.25 } as const

/** @param share - of this phase that is done, up to 1 @param note - where it stands */
export interface SidFitProgress {
  readonly phase: 'read' | 'fit' | 'pass' | 'encode'
  readonly share: number
  readonly note: string
}

/** Options of residual k-means as the library has them. */
export function levelOptions(files: SidFitFiles): SourceFitOptions {
  const { sizes, balanced, epsilonShare, signal } = files
  const { seed, threads } = { ...sidFitDefaults, ...files }
  const names = [
    'iterations',
    'jointRounds',
    'sampleRowsPerCode',
    'passes',
    'normalize',
    'normalizeResiduals',
    'beam',
    'fsqDigits',
  ] as const
  const given = Object.fromEntries(names.flatMap((name) => (files[name] === undefined ? [] : [[name, files[name]]])))
  return {
    ...given,
    ...{ sizes, seed, threads },
    ...(balanced === true && { balance: epsilonShare === undefined ? {} : { epsilonShare } }),
    ...(signal && { signal }),
  }
}

/** @throws SIDESTREAM_USAGE_INVALID */
export function requireCompatible(files: SidFitFiles): void {
  const { method, passes, normalize, normalizeResiduals, beam, balanced, epsilonShare, fsqDigits, capacity, duplicates } = files
  const { iterations, jointRounds, sampleRowsPerCode, attract, attractWeight, rqVae } = files
  const refuse = (what: string): never => {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', what)
  }
  if (method === 'rq-vae') {
    const given = {
      ...{ iterations, jointRounds, sampleRowsPerCode, passes, attract, raw: normalize === false },
      ...{ normalizeResiduals, beam, balanced, fsq: fsqDigits },
    }
    const foreign = Object.entries(given).flatMap(([name, value]) => (value === undefined || value === false ? [] : [name]))
    if (foreign.length > 0) refuse(`an RQ-VAE learns its own space and takes no ${foreign.join(', ')}: leave that out, or fit by rq-kmeans`)
  } else if (rqVae !== undefined && Object.keys(rqVae).length > 0)
    refuse(`${Object.keys(rqVae).join(', ')} belong to rq-vae: leave that out, or fit by rq-vae; residual k-means takes iterations`)
  if (duplicates !== undefined && capacity === undefined) refuse('duplicates take places of a capacity: give a capacity, or leave them out')
  if (epsilonShare !== undefined && balanced !== true) refuse('an epsilon share belongs to a balanced fit: ask for one, or leave it out')
  if (attractWeight !== undefined && attract === undefined) refuse('a weight of attraction needs a table of pairs')
  if (attract !== undefined && (passes ?? 0) > 0)
    refuse('passes read vectors as the file has them, not as pairs pull them: leave out one of the two')
  if (normalizeResiduals === true && (beam ?? 1) > 1)
    refuse('unit residuals exclude a beam: their errors do not add up; leave one of the two out')
}
