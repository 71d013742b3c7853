/**
 * Rounds over all levels at once, behind a fit level by level: all rows are encoded, every codeword moves to the mean of what the other
 * levels leave of its rows, those behind it among them. A level fitted alone knows nothing of what comes after it.
 * Invariants: distortion never rises from round to round (a round that lowers it too little is dropped and ends them), and no level ends
 * with more codes without rows than it had. A round follows from the codebooks before it alone, so rounds can go on from them.
 */

import { codebooksOf } from './codebooks.ts'
import { distanceToId } from './distances.ts'
import type { FittedLevel } from './fit-state.ts'
import { CodeSums } from './refit.ts'
import type { ResidualRule } from './residual-rule.ts'

/** A round that lowers distortion by less than this share ends them. */
const leastGain = 1e-4
/** How often codes that a round left without rows are revived before it is given up. */
const mostRevivals = 3

/**
 * Codebooks with the codes that they give; rows are added in their order. Sums are made anew for every round: kept ones would carry the
 * rounding of all before, and rounds could not go on from codebooks alone.
 */
class Encoded {
  readonly words: readonly Float32Array[]
  /** Row-major, shape [rows, levels]. */
  readonly codes: Uint16Array
  /** Squared distance of every row to the sum of its codewords. */
  readonly distances: Float64Array
  readonly sums: CodeSums
  readonly #x: Float32Array
  readonly #residual: Float64Array

  constructor(x: Float32Array, dim: number, words: readonly Float32Array[]) {
    const rows = x.length / dim
    this.words = words
    this.codes = new Uint16Array(rows * words.length)
    this.distances = new Float64Array(rows)
    this.sums = new CodeSums(x, codebooksOf(dim, words))
    this.#x = x
    this.#residual = new Float64Array(dim)
  }

  /** @param codes - of the rows from row `first` on, row-major, shape [n, levels] */
  add(codes: Uint16Array, first: number): void {
    const levels = this.words.length
    const residual = this.#residual
    this.codes.set(codes, first * levels)
    this.sums.assign(codes, first)
    for (let row = first, at = 0; at < codes.length; row++, at += levels)
      this.distances[row] = distanceToId(this.#x, row * residual.length, codes, at, this.words, residual)
  }

  /** Sum of squared distances. */
  get left(): number {
    return this.distances.reduce((sum, distance) => sum + distance, 0)
  }

  /** Codes without rows, by level. */
  get dead(): number[] {
    return this.sums.counts.map((level) => level.reduce((dead, count) => dead + (count === 0 ? 1 : 0), 0))
  }
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
 * @param x - vectors as the quantizer sees them, row-major float32, shape [rows, dim]
 * @param levels - plain ones, by residuals as they are
 * @returns levels of least distortion, their codes (row-major, shape [rows, levels]), and the rounds that led to them
 */
export async function jointRounds(
  x: Float32Array,
  levels: readonly FittedLevel[],
  { dim, codes, rounds, done, rule, onRound, signal }: JointOptions,
): Promise<{ levels: FittedLevel[]; codes: Uint16Array; rounds: number }> {
  const withWords = (words: readonly Float32Array[]): FittedLevel[] => levels.map((level, at) => ({ ...level, codebook: words[at]! }))
  const encode = async (words: readonly Float32Array[]): Promise<Encoded> => {
    const encoded = new Encoded(x, dim, words)
    await rule.allCodesOf(x, withWords(words), (codes, first) => encoded.add(codes, first))
    return encoded
  }
  const fittedAs = ({ words, dead }: Encoded): FittedLevel[] => withWords(words).map((level, at) => ({ ...level, dead: dead[at]! }))
  const first = levels.map(({ codebook }) => codebook)
  let best = new Encoded(x, dim, first)
  if (codes === undefined) best = await encode(first)
  else best.add(codes, 0)
  let left = best.left
  let round = done
  while (round < rounds && left > 0) {
    signal?.throwIfAborted()
    const next = await oneRound(x, dim, best, encode)
    // Dropped, not kept as the last one: rounds that go on from the state before meet it again and end as these do.
    if (next === undefined || left - next.left <= leastGain * left) break
    best = next
    left = next.left
    round++
    onRound(round, left / (x.length / dim), fittedAs(best))
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
  const dead = before.dead
  let next = await encode(before.sums.refitJointly(codebooksOf(dim, before.words)).levels)
  for (let revival = 0; revival <= mostRevivals; revival++) {
    if (next.dead.every((now, level) => now <= dead[level]!)) return next
    next = await encode(withRevived(x, dim, next))
  }
  return undefined
}

/** Every code without rows stands where the levels before leave the worst row of its level's fullest code, which so takes it. */
function withRevived(x: Float32Array, dim: number, { words, codes, distances, sums }: Encoded): readonly Float32Array[] {
  const levels = words.length
  return words.map((book, level) => {
    const counts = sums.counts[level]!
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
