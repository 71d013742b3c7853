/**
 * Residual k-means: every level's codebook is fitted by Lloyd's rounds on what the levels before leave of the vectors.
 * Invariant: equal items (id and vector bytes) and options give equal codebook bytes, in any order of arrival, with any
 * number of threads, resumed or not. With 39 or more distinct rows per code no code is left without rows.
 */

import { createHash } from 'node:crypto'
import { sharedFloat32, squaredNormAt } from '../compute/index.ts'
import { otherState } from './array-bytes.ts'
import { attractedTo } from './attraction.ts'
import { checkedBalance, type BalanceOptions } from './balanced.ts'
import { checkQuantizer, checkSizes, codebooksOf } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { checkDigits, fitFsq } from './fit-fsq.ts'
import { fitLevel, type LevelFit, type OnRound } from './fit-level.ts'
import { fitDefaults, roundsOf, sampleRows, settingsOf, type Fit, type FitOptions, type Rounds } from './fit-options.ts'
import { sampleOf, type FitSample } from './fit-sample.ts'
import { fitStateFromBytes, fitStateToBytes, type FitState, type FittedLevel, type PassState } from './fit-state.ts'
import { jointRounds } from './joint-rounds.ts'
import { spreadOf, unexplained } from './quality-distortion.ts'
import { ResidualRule, subtractAll } from './residual-rule.ts'
import { Crew } from './walk-pool.ts'

/** Raised with every change of what equal items and options give: the state of another build is refused, since it would end as neither. */
export const fitVersion = 4

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
  /** Made when first asked for: it hashes all rows. */
  readonly fingerprint: () => string
  readonly rule: ResidualRule
  readonly rounds: Rounds
  /** Most rounds over all rows. */
  readonly passes: number
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
  let known: string | undefined
  const fingerprint = (): string => (known ??= fingerprintOf(sample, options, rounds, mostPasses))
  const run: LevelRun = { dim, options, balance, scale: Math.sqrt(energy / rows), fingerprint, rule, rounds, passes: mostPasses }
  const before = options.resume && resumedState(options.resume, fingerprint())
  const residual = sharedFloat32(x.length)
  residual.set(x)
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
    residual.set(preparedFloat32(sample.vectors, dim, settings.normalize))
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

/** @returns shape [rows, levels] */
function rowMajor(codesByLevel: readonly Uint16Array[]): Uint16Array {
  const levels = codesByLevel.length
  const out = new Uint16Array(codesByLevel[0]!.length * levels)
  for (const [level, codes] of codesByLevel.entries()) for (let row = 0; row < codes.length; row++) out[row * levels + level] = codes[row]!
  return out
}

function tellJoint(round: number, distortion: number, levels: readonly FittedLevel[], { options, fingerprint, rounds }: LevelRun): void {
  const count = levels.length
  const state = (): Uint8Array => fitStateToBytes({ fingerprint: fingerprint(), levels, current: undefined, jointRounds: round })
  options.onProgress?.({ stage: 'joint', level: count, levels: count, round, rounds: rounds.joint, distortion, ended: false, state })
}

function tellPass(pass: PassState, distortion: number, jointRounds: number, { options, fingerprint, passes }: LevelRun): void {
  const { levels, done } = pass
  const count = levels.length
  const state = (): Uint8Array => fitStateToBytes({ fingerprint: fingerprint(), levels, current: undefined, jointRounds, passes: pass })
  options.onProgress?.({ stage: 'passes', level: count, levels: count, round: done, rounds: passes, distortion, ended: false, state })
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
      state: () => fitStateToBytes({ fingerprint: fingerprint(), ...state() }),
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
