/**
 * Rounds over all levels at once, behind a fit level by level: all rows are encoded, every codeword moves to the mean of what the other
 * levels leave of its rows, those behind it among them. A level fitted alone knows nothing of what comes after it.
 * Invariants: distortion never rises from round to round (a round that lowers it too little is dropped and ends them), and no level ends
 * with more codes without rows than it had. A round follows from the codebooks before it alone, so rounds can go on from them.
 */

import { codebooksOf } from './codebooks.ts'
import { distancesToIds } from './distances.ts'
import { roundForExactSums } from './exact-sums.ts'
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
  /** Squared distance of every row to the sum of its codewords, and their sum. */
  readonly distances: Float64Array
  readonly left: number
  /** Rows of each code, by level. */
  readonly counts: readonly Int32Array[]
}

export interface JointOptions {
  readonly dim: number
  /** Of the rows by `levels`, row-major, shape [rows, levels]; found anew where they are not known. */
  readonly codes?: Uint16Array | undefined
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
 * @param x - vectors as the quantizer sees them, row-major float32, shape [rows, dim], best in shared memory; may be rounded for exact sums
 * @param levels - plain ones, by residuals as they are
 * @returns levels of least distortion, their codes (row-major, shape [rows, levels]), and the rounds that led to them
 */
export async function jointRounds(
  x: Float32Array,
  levels: readonly FittedLevel[],
  { dim, codes, rounds, done, rule, onRound, signal }: JointOptions,
): Promise<{ levels: FittedLevel[]; codes: Uint16Array; rounds: number }> {
  const withWords = (words: readonly Float32Array[]): FittedLevel[] => levels.map((level, at) => ({ ...level, codebook: words[at]! }))
  const fittedAs = ({ words, counts }: Encoded): FittedLevel[] =>
    withWords(words).map((level, at) => ({ ...level, dead: deadOf(counts[at]!) }))
  const first = levels.map(({ codebook }) => codebook)
  // Exact sums carry no rounding of the rounds before, so they are kept and rounds can yet go on from codebooks alone. Others are made anew.
  const exact = roundForExactSums(x, x.length / dim)
  let sums = new CodeSums(x, codebooksOf(dim, first))
  const encode = async (words: readonly Float32Array[], known?: Uint16Array): Promise<Encoded> => {
    const distances = new Float64Array(x.length / dim)
    if (!exact) sums = new CodeSums(x, codebooksOf(dim, words))
    const add = (own: Uint16Array, row: number): void => {
      sums.assign(own, row)
      distancesToIds(x, dim, own, words, distances.subarray(row, row + own.length / words.length), row)
    }
    if (known !== undefined) add(known, 0)
    const all = known ?? (await rule.allCodesOf(x, withWords(words), add))
    const left = distances.reduce((sum, distance) => sum + distance, 0)
    return { words, codes: all, distances, left, counts: sums.counts.map((counts) => counts.slice()) }
  }
  let best = await encode(first, codes)
  let round = done
  while (round < rounds && best.left > 0) {
    signal?.throwIfAborted()
    const next = await oneRound(x, dim, best, sums.refitJointly(codebooksOf(dim, best.words)).levels, encode)
    // Dropped, not kept as the last one: rounds that go on from the state before meet it again and end as these do.
    if (next === undefined || best.left - next.left <= leastGain * best.left) break
    best = next
    round++
    onRound(round, best.left / (x.length / dim), fittedAs(best))
  }
  return { levels: fittedAs(best), codes: best.codes, rounds: round }
}

function deadOf(counts: Int32Array): number {
  return counts.reduce((dead, count) => dead + (count === 0 ? 1 : 0), 0)
}

/** @param words - where the codewords go. @returns undefined where codes stay without rows that had some */
async function oneRound(
  x: Float32Array,
  dim: number,
  before: Encoded,
  words: readonly Float32Array[],
  encode: (words: readonly Float32Array[]) => Promise<Encoded>,
): Promise<Encoded | undefined> {
  const dead = before.counts.map(deadOf)
  let next = await encode(words)
  for (let revival = 0; revival <= mostRevivals; revival++) {
    if (next.counts.every((now, level) => deadOf(now) <= dead[level]!)) return next
    next = await encode(withRevived(x, dim, next))
  }
  return undefined
}

/** Every code without rows stands where the levels before leave the worst row of its level's fullest code, which so takes it. */
function withRevived(x: Float32Array, dim: number, { words, codes, distances, counts: countsBy }: Encoded): readonly Float32Array[] {
  const levels = words.length
  return words.map((book, level) => {
    const counts = countsBy[level]!
    const now = counts.slice()
    if (!now.includes(0)) return book
    const out = book.slice()
    const taken = new Uint8Array(distances.length)
    for (const [code, count] of counts.entries()) {
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
