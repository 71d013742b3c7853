/** What a residual k-means fit can be told, what it tells, and what it ends with. */

import { SidestreamError } from '../schemas/index.ts'
import type { Attraction } from './attraction.ts'
import type { BalanceOptions } from './balanced.ts'
import { encodeDefaults, type Codebooks, type EncodeSettings } from './codebooks.ts'

export interface FitOptions {
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** Seed of the sample and of the k-means++ start. */
  readonly seed: number
  /**
   * Most rounds: Lloyd's of each level, the `jointRounds` behind them among them. A level also stops when its distortion falls by less
   * than a millionth.
   * @default 25
   */
  readonly iterations?: number
  /**
   * Bring vectors to unit length first.
   * @default true
   */
  readonly normalize?: boolean
  /**
   * Rows fitted on, per code of the largest level; drawn by a hash of the item id. Higher: slower, slightly less distortion.
   * @default 256
   */
  readonly sampleRowsPerCode?: number
  /**
   * Brings what is left to unit length before every level; belongs to the encode. See `EncodeSettings`.
   * @default false
   */
  readonly normalizeResiduals?: boolean
  /**
   * Width of the beam of the encode: every level is fitted on what the beam leaves. See `EncodeSettings`.
   * @default 1
   */
  readonly beam?: number
  /**
   * Gives codes prices, so that items spread over them: more distinct IDs, more distortion. The prices of the fit are frozen and belong
   * to the encode. Left out: codes cost nothing.
   */
  readonly balance?: BalanceOptions
  /**
   * How many of the rounds are over all levels at once: every codeword moves to what the other levels leave of its rows. They end when
   * one lowers distortion by less than a ten-thousandth. None with one level, with `balance` and with `normalizeResiduals`.
   * @default three of ten `iterations`, rounded down
   */
  readonly jointRounds?: number
  /** A finite-scalar level behind the codebooks: values per digit, e.g. [5, 5, 3]. It has no codebook and cannot collapse. */
  readonly fsqDigits?: readonly number[]
  /** Pulls items that are consumed together towards one another during the fit. Encoding stays a function of the vector. */
  readonly attraction?: Attraction
  /**
   * Worker threads.
   * @default 1
   */
  readonly threads?: number
  /** Called after every round of every level, and once more at its end; then after every round over all levels and over all rows. */
  readonly onProgress?: (progress: FitProgress) => void
  /** Goes on from `FitProgress.state()` of a fit of the same items and options. */
  readonly resume?: Uint8Array
  readonly signal?: AbortSignal
}

export const fitDefaults = { iterations: 25, normalize: true, sampleRowsPerCode: 256, threads: 1 } as const

/** Share of the rounds that are over all levels. */
const jointShare = 0.3

/** Where a fit stands. */
export interface FitProgress {
  /** A level alone, all levels at once, or all levels over all rows of a source. */
  readonly stage: 'level' | 'joint' | 'passes'
  /** Level under way, 0-based, of `levels`; equal to `levels` in the rounds over all of them. */
  readonly level: number
  readonly levels: number
  /** Rounds of it that are done, of at most `rounds`. */
  readonly round: number
  readonly rounds: number
  /** Mean squared distance of the rows that this round looked at to their codewords after it; over all rows of a source: before it. */
  readonly distortion: number
  /** Whether the level is over; every level tells so once, the rounds over all levels do not. */
  readonly ended: boolean
  /** Bytes from which `resume` goes on to the same result. Made when called, and only while `onProgress` runs. */
  state(): Uint8Array
}

/** Codebooks and how they came about. */
export interface Fit {
  /** With the penalties of a balanced fit (a level that could not be balanced has none), and the level of `fsqDigits`. */
  readonly codebooks: Codebooks
  readonly settings: EncodeSettings
  /** Fraction of variance unexplained, over the rows fitted on; as `reconstruction` has it. */
  readonly fvu: number
  /** Plain JSON for the manifest (`BundleOrigin.training`). */
  readonly training: Readonly<Record<string, unknown>>
}

/** Rows of the sample at most. */
export function sampleRows({ sizes, sampleRowsPerCode = fitDefaults.sampleRowsPerCode }: FitOptions): number {
  if (!Number.isInteger(sampleRowsPerCode) || sampleRowsPerCode < 1)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `sampleRowsPerCode is a whole number from 1 on, got ${sampleRowsPerCode}`)
  return Math.max(...sizes) * sampleRowsPerCode
}

/** Most rounds of a fit. */
export interface Rounds {
  /** Of each level alone. */
  readonly apart: number
  /** Over all levels. */
  readonly joint: number
}

/**
 * Most rounds apart and over all levels. Prices are those of centroids at rest, and residuals at unit length are no sums of
 * codewords: there are none over all levels then.
 */
export function roundsOf(options: FitOptions): Rounds {
  const { sizes, balance, normalizeResiduals, iterations } = { ...fitDefaults, ...options }
  const { jointRounds: joint = Math.floor(jointShare * iterations) } = options
  if (!Number.isInteger(joint) || joint < 0)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `jointRounds is a whole number from 0 on, got ${joint}`)
  if (sizes.length === 1 || balance !== undefined || normalizeResiduals === true) return { apart: iterations, joint: 0 }
  return { apart: Math.max(1, iterations - joint), joint }
}

/** How the codebooks of a fit encode. */
export function settingsOf(options: FitOptions): EncodeSettings {
  const { normalize } = { ...fitDefaults, ...options }
  return {
    normalize,
    recheckTolerance: encodeDefaults.recheckTolerance,
    ...(options.normalizeResiduals && { normalizeResiduals: true }),
    ...(options.beam !== undefined && options.beam !== 1 && { beam: options.beam }),
  }
}
