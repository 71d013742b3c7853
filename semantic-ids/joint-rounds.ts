/**
 * Rounds over all levels at once, behind a fit level by level: all rows are encoded, every codeword moves to the mean of what the other
 * levels leave of its rows, those behind it among them. A level fitted alone knows nothing of what comes after it.
 * Invariants: distortion never rises from round to round (a round that lowers it too little is dropped and ends them), and no level ends
 * with more codes without rows than it had. A round follows from the codebooks before it alone, so rounds can go on from them.
 */

import { codebooksOf } from './codebooks.ts'
import type { FittedLevel } from './fit-state.ts'
import { CodeSums } from './refit.ts'
import type { ResidualRule } from './residual-rule.ts'

/** A round that lowers distortion by less than this share ends them. */
const leastGain = 1e-4
/** How often codes that a round left without rows are revived before it is given up. */
const mostRevivals = 3

/** Codebooks with the codes that they give. */
interface Encoded {
  readonly words: readonly Float32Array[]
  /** Row-major, shape [rows, levels]. */
  readonly codes: Uint16Array
  /** Sum of squared distances. */
  readonly left: number
  /** Rows per code, by level. */
  readonly counts: readonly Int32Array[]
  readonly dead: readonly number[]
}

export interface JointOptions {
  readonly dim: number
  /** Rounds at most, those of before among them. */
  readonly rounds: number
  /** Rounds that the levels have behind them. */
  readonly done: number
  readonly rule: ResidualRule
  /** Called after every round that lowered distortion. */
  readonly onRound: (round: number, distortion: number, levels: readonly FittedLevel[]) => void
  readonly signal: AbortSignal | undefined
}

/**
 * Runs the rounds.
 * @param x - vectors as the quantizer sees them, row-major float32, shape [rows, dim]
 * @param levels - plain ones, by residuals as they are
 * @returns levels of least distortion, their codes (row-major, shape [rows, levels]), and the rounds that led to them
 */
export async function jointRounds(
  x: Float32Array,
  levels: readonly FittedLevel[],
  { dim, rounds, done, rule, onRound, signal }: JointOptions,
): Promise<{ levels: FittedLevel[]; codes: Uint16Array; rounds: number }> {
  const encode = async (words: readonly Float32Array[]): Promise<Encoded> => {
    const codes = await rule.allCodesOf(
      x,
      levels.map((level, at) => ({ ...level, codebook: words[at]! })),
    )
    return encodedAs(x, dim, words, codes)
  }
  const fittedAs = ({ words, dead }: Encoded): FittedLevel[] =>
    levels.map((level, at) => ({ ...level, codebook: words[at]!, dead: dead[at]! }))
  let best = await encode(levels.map(({ codebook }) => codebook))
  let round = done
  while (round < rounds && best.left > 0) {
    signal?.throwIfAborted()
    const next = await oneRound(x, dim, best, encode)
    // Dropped, not kept as the last one: rounds that go on from the state before meet it again and end as these do.
    if (next === undefined || best.left - next.left <= leastGain * best.left) break
    best = next
    round++
    onRound(round, best.left / (x.length / dim), fittedAs(best))
  }
  return { levels: fittedAs(best), codes: best.codes, rounds: round }
}

/** Undefined where codes stay without rows that had some. */
async function oneRound(
  x: Float32Array,
  dim: number,
  before: Encoded,
  encode: (words: readonly Float32Array[]) => Promise<Encoded>,
): Promise<Encoded | undefined> {
  let next = await encode(refitted(x, dim, before.words, before.codes))
  for (let revival = 0; revival <= mostRevivals; revival++) {
    if (next.dead.every((dead, level) => dead <= before.dead[level]!)) return next
    next = await encode(withRevived(x, dim, next))
  }
  return undefined
}

function refitted(x: Float32Array, dim: number, words: readonly Float32Array[], codes: Uint16Array): readonly Float32Array[] {
  const codebooks = codebooksOf(dim, words)
  // Sums anew: kept ones would carry the rounding of every round before, and rounds could not go on from codebooks alone.
  const sums = new CodeSums(x, codebooks)
  sums.assign(codes)
  return sums.refitJointly(codebooks).levels
}

/** Every code without rows stands where the levels before leave the worst row of its level's fullest code, which so takes it. */
function withRevived(x: Float32Array, dim: number, { words, codes, counts }: Encoded): readonly Float32Array[] {
  const distances = distancesOf(x, dim, words, codes)
  const levels = words.length
  return words.map((book, level) => {
    const now = counts[level]!.slice()
    if (!now.includes(0)) return book
    const out = book.slice()
    const taken = new Uint8Array(distances.length)
    for (const [code, count] of counts[level]!.entries()) {
      if (count > 0) continue
      const fullest = now.reduce((most, other, at) => (other > now[most]! ? at : most), 0)
      if (now[fullest]! < 2) break
      let worst = -1
      for (let row = 0; row < distances.length; row++)
        if (codes[row * levels + level] === fullest && taken[row] === 0 && (worst < 0 || distances[row]! > distances[worst]!)) worst = row
      taken[worst] = 1
      now[fullest]!--
      now[code] = 1
      for (let j = 0; j < dim; j++) {
        let value = x[worst * dim + j]!
        for (let before = 0; before < level; before++) value -= words[before]![codes[worst * levels + before]! * dim + j]!
        out[code * dim + j] = value
      }
    }
    return out
  })
}

function encodedAs(x: Float32Array, dim: number, words: readonly Float32Array[], codes: Uint16Array): Encoded {
  const counts = words.map((level) => new Int32Array(level.length / dim))
  for (let at = 0; at < codes.length; at++) counts[at % words.length]![codes[at]!]!++
  const left = distancesOf(x, dim, words, codes).reduce((sum, distance) => sum + distance, 0)
  return { words, codes, left, counts, dead: counts.map((level) => level.reduce((dead, count) => dead + (count === 0 ? 1 : 0), 0)) }
}

/** Squared distance of every row to the sum of its codewords. */
function distancesOf(x: Float32Array, dim: number, words: readonly Float32Array[], codes: Uint16Array): Float64Array {
  const distances = new Float64Array(x.length / dim)
  const residual = new Float64Array(dim)
  for (let row = 0; row < distances.length; row++) {
    for (let j = 0; j < dim; j++) residual[j] = x[row * dim + j]!
    for (const [level, book] of words.entries()) {
      const from = codes[row * words.length + level]! * dim
      for (let j = 0; j < dim; j++) residual[j] = residual[j]! - book[from + j]!
    }
    let sum = 0
    for (let j = 0; j < dim; j++) sum += residual[j]! * residual[j]!
    distances[row] = sum
  }
  return distances
}
