/**
 * Residual k-means: every level's codebook is fitted by Lloyd's rounds on what the levels before leave of the vectors.
 * Invariant: equal items (id and vector bytes) and options give equal codebook bytes, in any order of arrival, with any
 * number of threads, resumed or not. With 39 or more distinct rows per code no code is left without rows.
 */

import { createHash } from 'node:crypto'
import { SidestreamError } from '../schemas/index.ts'
import { attractedTo, type Attraction } from './attraction.ts'
import { checkedBalance, penalizedCodes, type BalanceOptions } from './balanced.ts'
import { CodebookWalk } from './codebook-walk.ts'
import { checkSizes, codebooksOf, encodeDefaults, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { checkDigits, fitFsq, type FsqProjection } from './fit-fsq.ts'
import { fitLevel, type LevelFit, type OnRound } from './fit-level.ts'
import { sampleOf, type FitSample } from './fit-sample.ts'
import { fitStateFromBytes, fitStateToBytes, type FitState, type FittedLevel } from './fit-state.ts'
import { spreadOf, unexplained } from './quality-distortion.ts'
import { Crew } from './walk-pool.ts'

export interface FitOptions {
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** Seed of the sample and of the k-means++ start. */
  readonly seed: number
  /**
   * Most Lloyd rounds per level; a level also stops when its distortion falls by less than a millionth.
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
   * Gives codes prices, so that items spread over them: more distinct IDs, more distortion. The prices of the fit are frozen and belong
   * to the encode. Left out: codes cost nothing.
   */
  readonly balance?: BalanceOptions
  /** A finite-scalar level behind the codebooks: values per digit, e.g. [5, 5, 3]. It has no codebook and cannot collapse. */
  readonly fsqDigits?: readonly number[]
  /** Pulls items that are consumed together towards one another during the fit. Encoding stays a function of the vector. */
  readonly attraction?: Attraction
  /**
   * Worker threads.
   * @default 1
   */
  readonly threads?: number
  /** Called after every round of every level, and once more at its end. */
  readonly onProgress?: (progress: FitProgress) => void
  /** Goes on from `FitProgress.state()` of a fit of the same items and options. */
  readonly resume?: Uint8Array
  readonly signal?: AbortSignal
}

export const fitDefaults = { iterations: 25, normalize: true, sampleRowsPerCode: 256, threads: 1 } as const

/** Where a fit stands. */
export interface FitProgress {
  /** Level under way, 0-based, of `levels`. */
  readonly level: number
  readonly levels: number
  /** Rounds of it that are done, of at most `rounds`. */
  readonly round: number
  readonly rounds: number
  /** Mean squared distance of the rows to their codewords after this round. */
  readonly distortion: number
  /** Whether the level is over; every level tells so once. */
  readonly ended: boolean
  /** Bytes from which `resume` goes on to the same result. Made when called, and only while `onProgress` runs. */
  state(): Uint8Array
}

/** Codebooks and how they came about. */
export interface Fit {
  readonly codebooks: Codebooks
  readonly settings: EncodeSettings
  /** Of a balanced fit: what each code costs beside its squared distance, one per level; undefined where a level could not be balanced. */
  readonly penalties?: readonly (Float32Array | undefined)[]
  /** Of a fit with `fsqDigits`. */
  readonly fsq?: FsqProjection
  /** Fraction of variance unexplained, over the rows fitted on. */
  readonly fvu: number
  /** Plain JSON for the manifest (`BundleOrigin.training`). */
  readonly training: Readonly<Record<string, unknown>>
}

/**
 * Fits codebooks.
 * Fewer rows than codes are allowed: spare codes get codewords close to used ones and no rows; the counts stand in `training`.
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @throws SIDESTREAM_ITEMS_TOO_FEW without any row; SIDESTREAM_SHAPE_MISMATCH; SIDESTREAM_VECTOR_NOT_FINITE; SIDESTREAM_ID_INVALID for
 *   an id that came twice; SIDESTREAM_ARTIFACT_CORRUPT for a `resume` that is broken or of another fit
 */
export async function fitCodebooks(vectors: Float32Array, ids: readonly string[], dim: number, options: FitOptions): Promise<Fit> {
  const crew = new Crew(options.threads ?? fitDefaults.threads)
  try {
    return await fitWithCrew(vectors, ids, dim, options, crew)
  } finally {
    await crew.close()
  }
}

/** `fitCodebooks` in threads that the caller owns. */
export async function fitWithCrew(
  vectors: Float32Array,
  ids: readonly string[],
  dim: number,
  options: FitOptions,
  crew: Crew,
): Promise<Fit> {
  const { sizes, seed, attraction } = options
  const { normalize } = { ...fitDefaults, ...options }
  checkSizes(sizes)
  if (attraction === undefined) return fitSample(sampleOf(vectors, ids, dim, seed, sampleRows(options)), dim, options, crew)
  const pulled = attractedTo(vectors, ids, dim, normalize, attraction)
  return fitSample(sampleOf(pulled, ids, dim, seed, sampleRows(options)), dim, options, crew)
}

/** Rows of the sample at most. */
export function sampleRows({ sizes, sampleRowsPerCode = fitDefaults.sampleRowsPerCode }: FitOptions): number {
  if (!Number.isInteger(sampleRowsPerCode) || sampleRowsPerCode < 1)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `sampleRowsPerCode is a whole number from 1 on, got ${sampleRowsPerCode}`)
  return Math.max(...sizes) * sampleRowsPerCode
}

/** Codes of rows of residuals, row-major float32, shape [n, dim], under the encode rule of a level. */
export type LevelCodes = (rows: Float32Array, level: FittedLevel) => Promise<Uint16Array>

/** Rounds over all rows after those over the sample; the sample's codes are taken again. */
export interface Refinement {
  readonly passes: number
  refine(level: FittedLevel, before: readonly FittedLevel[], codesOf: LevelCodes): Promise<FittedLevel>
}

interface LevelRun {
  readonly dim: number
  readonly options: FitOptions
  readonly balance: Required<BalanceOptions> | undefined
  readonly scale: number
  readonly fingerprint: string
  readonly crew: Crew
  /** By number of codes. */
  readonly walks: Map<number, CodebookWalk>
  readonly refinement: Refinement | undefined
}

/** Fits on a sample that was drawn before. */
export async function fitSample(sample: FitSample, dim: number, options: FitOptions, crew: Crew, refinement?: Refinement): Promise<Fit> {
  const { sizes, seed, fsqDigits, attraction } = options
  const { iterations, normalize } = { ...fitDefaults, ...options }
  const balance = options.balance && checkedBalance(options.balance)
  if (fsqDigits !== undefined) checkDigits(fsqDigits, dim)
  const residual = preparedFloat32(sample.vectors, dim, normalize)
  const { variance, energy } = spreadOf(residual, dim)
  const rows = residual.length / dim
  const fingerprint = fingerprintOf(sample, options, refinement?.passes ?? 0)
  const run: LevelRun = { dim, options, balance, scale: Math.sqrt(energy / rows), fingerprint, crew, walks: new Map(), refinement }
  const before = options.resume && resumedState(options.resume, fingerprint)
  const levels: FittedLevel[] = []
  for (const level of sizes.keys()) {
    const { codes, ...fitted } = await nextLevel(residual, level, levels, before, run)
    levels.push(fitted)
    subtractCodewords(residual, dim, fitted.codebook, codes)
  }
  const fsq = fsqDigits && fitFsq(residual, dim, fsqDigits)
  let left = 0
  for (let at = 0; at < residual.length; at++) left += residual[at]! * residual[at]!
  const fvu = unexplained(left, variance, energy)
  return {
    codebooks: codebooksOf(
      dim,
      levels.map(({ codebook }) => codebook),
    ),
    settings: { normalize, recheckTolerance: encodeDefaults.recheckTolerance },
    ...(balance && { penalties: levels.map(({ penalties }) => penalties) }),
    ...(fsq && { fsq }),
    fvu,
    training: {
      algorithm: 'residual-kmeans',
      generator: 'philox4x32-10',
      init: 'k-means++',
      seed,
      iterations,
      rows: sample.rows,
      sampleRows: rows,
      sampleRule: 'smallest hashUnit(seed, item id)',
      ...sample.items,
      ...(balance && { balance }),
      ...(fsq && { fsq: { digits: fsqDigits, projection: 'principal axes of the residual, scaled for the largest entropy' } }),
      ...(attraction && { attraction: { weight: attraction.weight, pairs: attraction.pairs.length } }),
      fvu,
      levels: levels.map(({ codebook, iterations: rounds, dead }) => ({ size: codebook.length / dim, iterations: rounds, dead })),
    },
  }
}

/** The next level and its codes of the rows: from the state of before, or fitted. */
async function nextLevel(
  residual: Float32Array,
  level: number,
  levels: readonly FittedLevel[],
  before: FitState | undefined,
  run: LevelRun,
): Promise<LevelFit> {
  const { dim, options, refinement } = run
  const size = options.sizes[level]!
  const walk = await walkOf(size, dim, run)
  const done = before?.levels[level]
  if (done !== undefined) return { ...done, codes: await codesOf(residual, done, run) }
  const resume = before?.levels.length === level ? before.current : undefined
  const { iterations } = { ...fitDefaults, ...options }
  const { seed, signal, onProgress } = options
  const { balance, scale, fingerprint } = run
  const tell = (round: number, distortion: number, state: () => Pick<FitState, 'levels' | 'current'>, ended = false): void =>
    onProgress?.({
      level,
      levels: options.sizes.length,
      round,
      rounds: iterations,
      distortion,
      ended,
      state: () => fitStateToBytes({ fingerprint, ...state() }),
    })
  const onRound: OnRound = (round, distortion, current) => tell(round, distortion, () => ({ levels, current: current() }))
  let fitted = await fitLevel(residual, dim, size, { level, seed, iterations, balance, scale, walk, resume, onRound, signal })
  if (refinement !== undefined) {
    const refined = await refinement.refine(fitted, levels, (rows, of) => codesOf(rows, of, run))
    fitted = { ...refined, codes: await codesOf(residual, refined, run) }
  }
  if (onProgress)
    tell(fitted.iterations, meanSquaredDistance(residual, dim, fitted), () => ({ levels: [...levels, fitted], current: undefined }), true)
  return fitted
}

function meanSquaredDistance(rows: Float32Array, dim: number, { codebook, codes }: { codebook: Float32Array; codes: Uint16Array }): number {
  let sum = 0
  for (let row = 0; row < codes.length; row++) {
    const from = codes[row]! * dim
    for (let j = 0; j < dim; j++) sum += (rows[row * dim + j]! - codebook[from + j]!) ** 2
  }
  return sum / codes.length
}

async function walkOf(size: number, dim: number, { crew, walks }: LevelRun): Promise<CodebookWalk> {
  let walk = walks.get(size)
  if (walk === undefined) walks.set(size, (walk = await CodebookWalk.create([size], dim, false, false, crew)))
  return walk
}

async function codesOf(rows: Float32Array, { codebook, penalties }: FittedLevel, run: LevelRun): Promise<Uint16Array> {
  const { dim } = run
  if (penalties !== undefined) return penalizedCodes(rows, dim, codebook, penalties)
  const walk = await walkOf(codebook.length / dim, dim, run)
  return walk.run(rows, codebooksOf(dim, [codebook]), { normalize: false, recheckTolerance: encodeDefaults.recheckTolerance })
}

/** Takes each row's codeword off it, in place. */
export function subtractCodewords(residual: Float32Array, dim: number, codebook: Float32Array, codes: Uint16Array): void {
  for (let row = 0; row < codes.length; row++) {
    const from = codes[row]! * dim
    const at = row * dim
    for (let j = 0; j < dim; j++) residual[at + j] = residual[at + j]! - codebook[from + j]!
  }
}

/** Names the rows and all options that decide the result; the number of threads does not. */
function fingerprintOf({ vectors }: FitSample, options: FitOptions, passes: number): string {
  const { sizes, seed, balance, iterations, normalize } = { ...fitDefaults, ...options }
  const hash = createHash('sha256').update(JSON.stringify({ sizes, seed, balance, iterations, normalize, passes }))
  return hash.update(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength)).digest('hex')
}

function resumedState(bytes: Uint8Array, fingerprint: string): FitState {
  const state = fitStateFromBytes(bytes)
  if (state.fingerprint === fingerprint) return state
  throw new SidestreamError(
    'SIDESTREAM_ARTIFACT_CORRUPT',
    'the state to go on from is of a fit of other items or options; give the same ones, or start anew without it',
  )
}
