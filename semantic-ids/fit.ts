/**
 * Residual k-means: every level's codebook is fitted by Lloyd's rounds on what the levels before leave of the vectors.
 * Invariant: equal items (id and vector bytes) and options give equal codebook bytes, in any order of arrival, with any
 * number of threads, resumed or not. With 39 or more distinct rows per code no code is left without rows.
 */

import { createHash } from 'node:crypto'
import { SidestreamError } from '../schemas/index.ts'
import { otherState } from './array-bytes.ts'
import { attractedTo, type Attraction } from './attraction.ts'
import { checkedBalance, type BalanceOptions } from './balanced.ts'
import { checkQuantizer, checkSizes, codebooksOf, encodeDefaults, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { checkDigits, fitFsq } from './fit-fsq.ts'
import { fitLevel, type LevelFit, type OnRound } from './fit-level.ts'
import { sampleOf, type FitSample } from './fit-sample.ts'
import { fitStateFromBytes, fitStateToBytes, type FitState, type FittedLevel, type PassState } from './fit-state.ts'
import { jointRounds } from './joint-rounds.ts'
import { spreadOf, unexplained } from './quality-distortion.ts'
import { ResidualRule, subtractAll } from './residual-rule.ts'
import { Crew } from './walk-pool.ts'

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

/** Raised with every change of what equal items and options give: the state of another build is refused, since it would end as neither. */
export const fitVersion = 3

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
  /** Mean squared distance of the rows to their codewords after this round; over all rows of a source: before it. */
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

/**
 * Fits codebooks.
 * Fewer rows than codes are allowed: spare codes get codewords close to used ones and no rows; the counts stand in `training`.
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @throws SIDESTREAM_ITEMS_TOO_FEW without any row; SIDESTREAM_SHAPE_MISMATCH; SIDESTREAM_VECTOR_NOT_FINITE; SIDESTREAM_ID_INVALID for
 *   an id that came twice; SIDESTREAM_ARTIFACT_CORRUPT for a `resume` that is broken, SIDESTREAM_USAGE_INVALID for one of another fit
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

/** Rounds over all rows behind those over the sample. */
export interface Refinement {
  readonly passes: number
  /** @returns the levels, and the rounds that counted */
  refine(
    levels: readonly FittedLevel[],
    rule: ResidualRule,
    resume: PassState | undefined,
    onPass: (state: PassState, distortion: number) => void,
  ): Promise<{ levels: FittedLevel[]; passes: number }>
}

interface LevelRun {
  readonly dim: number
  readonly options: FitOptions
  readonly balance: Required<BalanceOptions> | undefined
  readonly scale: number
  readonly fingerprint: string
  readonly rule: ResidualRule
  readonly rounds: Rounds
  /** Most rounds over all rows. */
  readonly passes: number
}

/** Most rounds of a fit. */
interface Rounds {
  /** Of each level alone. */
  readonly apart: number
  /** Over all levels. */
  readonly joint: number
}

/** Fits on a sample that was drawn before. */
export async function fitSample(sample: FitSample, dim: number, options: FitOptions, crew: Crew, refinement?: Refinement): Promise<Fit> {
  const { sizes, fsqDigits } = options
  const settings = settingsOf(options)
  const balance = options.balance && checkedBalance(options.balance)
  checkQuantizer({ codebooks: { dim, sizes, levels: [] }, settings })
  if (fsqDigits !== undefined) checkDigits(fsqDigits, dim)
  const x = preparedFloat32(sample.vectors, dim, settings.normalize)
  const { variance, energy } = spreadOf(x, dim)
  const rows = x.length / dim
  const rule = new ResidualRule(dim, settings, crew)
  const rounds = roundsOf(options)
  const mostPasses = refinement?.passes ?? 0
  const fingerprint = fingerprintOf(sample, options, rounds, mostPasses)
  const run: LevelRun = { dim, options, balance, scale: Math.sqrt(energy / rows), fingerprint, rule, rounds, passes: mostPasses }
  const before = options.resume && resumedState(options.resume, fingerprint)
  const residual = x === sample.vectors || rule.ownResiduals ? x.slice() : x
  const lengths = new Float64Array(rows).fill(1)
  let levels: FittedLevel[] = []
  const codesByLevel: Uint16Array[] = []
  let jointDone = before?.jointRounds ?? 0
  // Levels that rounds over all of them have moved do not say what they were fitted on: there is nothing to walk through again.
  if (before?.jointRounds !== undefined || before?.passes !== undefined) levels = [...before.levels]
  else
    for (const level of sizes.keys()) {
      rule.ready(residual, lengths)
      const { codes, ...fitted } = await nextLevel(residual, level, levels, before, run)
      levels.push(fitted)
      codesByLevel.push(codes)
      await rule.leave(x, residual, levels, codes)
    }
  if (rounds.joint > 0 && before?.passes === undefined) {
    residual.set(preparedFloat32(sample.vectors, dim, settings.normalize))
    const joint = await jointRounds(residual, levels, {
      dim,
      // By beam the codes of a level may have been given up since.
      codes: rule.ownResiduals || codesByLevel.length < levels.length ? undefined : rowMajor(codesByLevel),
      rounds: rounds.joint,
      done: jointDone,
      rule,
      onRound: (round, distortion, moved) => tellJoint(round, distortion, moved, run),
      signal: options.signal,
    })
    levels = joint.levels
    jointDone = joint.rounds
    subtractAll(residual, dim, levels, joint.codes)
  }
  let passes: number | undefined
  if (refinement !== undefined) {
    const passed = await refinement.refine(levels, rule, before?.passes, (state, distortion) => tellPass(state, distortion, jointDone, run))
    levels = passed.levels
    passes = passed.passes
    residual.set(preparedFloat32(sample.vectors, dim, settings.normalize))
    lengths.fill(1)
    for (const at of levels.keys()) {
      rule.ready(residual, lengths)
      await rule.leave(x, residual, levels.slice(0, at + 1), await rule.codesOf(residual, levels[at]!))
    }
  }
  let left = 0
  for (let row = 0; row < rows; row++) left += lengths[row]! ** 2 * squaredNormAt(residual, row * dim, dim)
  const fvu = unexplained(left, variance, energy)
  rule.ready(residual)
  const fsq = fsqDigits && fitFsq(residual, dim, fsqDigits)
  const words = levels.map(({ codebook }) => codebook)
  const penalties = levels.map((level) => level.penalties)
  return {
    codebooks: codebooksOf(dim, words, { penalties, ...(fsq && { fsq }) }),
    settings,
    fvu,
    training: {
      ...trainingOf(sample, rows, dim, levels, { ...options, ...(balance && { balance }), jointRounds: jointDone }, fvu),
      ...(passes !== undefined && { passes }),
    },
  }
}

function squaredNormAt(values: Float32Array, at: number, dim: number): number {
  let sum = 0
  for (let j = at; j < at + dim; j++) sum += values[j]! * values[j]!
  return sum
}

/** @returns shape [rows, levels] */
function rowMajor(codesByLevel: readonly Uint16Array[]): Uint16Array {
  const levels = codesByLevel.length
  const out = new Uint16Array(codesByLevel[0]!.length * levels)
  for (const [level, codes] of codesByLevel.entries()) for (let row = 0; row < codes.length; row++) out[row * levels + level] = codes[row]!
  return out
}

/**
 * Most rounds apart and over all levels. Prices are those of centroids at rest, and residuals at unit length are no sums of
 * codewords: there are none over all levels then.
 */
function roundsOf(options: FitOptions): Rounds {
  const { sizes, balance, normalizeResiduals, iterations } = { ...fitDefaults, ...options }
  const { jointRounds: joint = Math.floor(jointShare * iterations) } = options
  if (!Number.isInteger(joint) || joint < 0)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `jointRounds is a whole number from 0 on, got ${joint}`)
  if (sizes.length === 1 || balance !== undefined || normalizeResiduals === true) return { apart: iterations, joint: 0 }
  return { apart: Math.max(1, iterations - joint), joint }
}

function tellJoint(round: number, distortion: number, levels: readonly FittedLevel[], { options, fingerprint, rounds }: LevelRun): void {
  const count = levels.length
  const state = (): Uint8Array => fitStateToBytes({ fingerprint, levels, current: undefined, jointRounds: round })
  options.onProgress?.({ stage: 'joint', level: count, levels: count, round, rounds: rounds.joint, distortion, ended: false, state })
}

function tellPass(pass: PassState, distortion: number, jointRounds: number, { options, fingerprint, passes }: LevelRun): void {
  const { levels, done } = pass
  const count = levels.length
  const state = (): Uint8Array => fitStateToBytes({ fingerprint, levels, current: undefined, jointRounds, passes: pass })
  options.onProgress?.({ stage: 'passes', level: count, levels: count, round: done, rounds: passes, distortion, ended: false, state })
}

function settingsOf(options: FitOptions): EncodeSettings {
  const { normalize } = { ...fitDefaults, ...options }
  return {
    normalize,
    recheckTolerance: encodeDefaults.recheckTolerance,
    ...(options.normalizeResiduals && { normalizeResiduals: true }),
    ...(options.beam !== undefined && options.beam !== 1 && { beam: options.beam }),
  }
}

/** Plain JSON for the manifest. */
function trainingOf(
  sample: FitSample,
  sampleRows: number,
  dim: number,
  levels: readonly FittedLevel[],
  { seed, iterations = fitDefaults.iterations, jointRounds: joint, balance, fsqDigits, attraction }: FitOptions,
  fvu: number,
): Record<string, unknown> {
  return {
    algorithm: 'residual-kmeans',
    version: fitVersion,
    generator: 'philox4x32-10',
    init: 'k-means++',
    seed,
    iterations,
    jointRounds: joint,
    rows: sample.rows,
    sampleRows,
    sampleRule: 'smallest hashUnit(seed, item id)',
    ...sample.items,
    ...(balance && { balance }),
    ...(fsqDigits && { fsq: { digits: fsqDigits, projection: 'principal axes of the residual, scaled for the largest entropy' } }),
    ...(attraction && { attraction: { weight: attraction.weight, pairs: attraction.pairs.length } }),
    sampleFvu: fvu,
    levels: levels.map(({ codebook, iterations: rounds, dead }) => ({ size: codebook.length / dim, iterations: rounds, dead })),
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
  const { dim, options, rule } = run
  const size = options.sizes[level]!
  const done = before?.levels[level]
  if (done !== undefined) return { ...done, codes: await rule.codesOf(residual, done) }
  const resume = before?.levels.length === level ? before.current : undefined
  const { seed, signal, onProgress } = options
  const { balance, scale, fingerprint, rounds } = run
  const iterations = rounds.apart
  const tell = (round: number, distortion: number, state: () => Pick<FitState, 'levels' | 'current'>, ended = false): void =>
    onProgress?.({
      stage: 'level',
      level,
      levels: options.sizes.length,
      round,
      rounds: iterations,
      distortion,
      ended,
      state: () => fitStateToBytes({ fingerprint, ...state() }),
    })
  const onRound: OnRound = (round, distortion, current) => tell(round, distortion, () => ({ levels, current: current() }))
  const fitted = await fitLevel(residual, dim, size, { level, seed, iterations, balance, scale, rule, resume, onRound, signal })
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

/** Names the rows and all options that decide the result; the number of threads does not. */
function fingerprintOf({ vectors }: FitSample, options: FitOptions, rounds: Rounds, passes: number): string {
  const { sizes, seed, balance } = options
  const hash = createHash('sha256').update(
    JSON.stringify({ version: fitVersion, sizes, seed, balance, rounds, passes, ...settingsOf(options) }),
  )
  return hash.update(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength)).digest('hex')
}

function resumedState(bytes: Uint8Array, fingerprint: string): FitState {
  const state = fitStateFromBytes(bytes)
  if (state.fingerprint === fingerprint) return state
  throw otherState()
}
