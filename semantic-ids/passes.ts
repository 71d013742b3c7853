/**
 * Rounds over all rows of a source, behind a fit on a sample: each reads the source once, encodes its rows through all levels and moves
 * every codeword to the mean of what the other levels leave of its rows. One more reading says what the last round was worth.
 * Invariants: memory is that of sums (levels x codes x dim), of counts of pairs of codes and of one batch. Sums are float64 and taken row
 * by row, so neither batches nor threads change a bit. What comes back leaves no more of the rows, and no more codes without rows, than
 * what went in: a round that would is dropped.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { FittedLevel, PassState } from './fit-state.ts'
import type { ResidualRule } from './residual-rule.ts'
import { SourceSums } from './source-sums.ts'

/** Rounds end when one lowers distortion by less than this share. */
const leastGain = 1e-4
/** Most counts of pairs of codes, of four bytes. */
const mostPairs = 2 ** 28

export interface PassOptions {
  readonly dim: number
  /** Rounds at most. */
  readonly passes: number
  readonly rule: ResidualRule
  /** Vectors as the quantizer sees them, row-major float32 batches [n, dim], all of them anew at every call. */
  readonly open: () => AsyncIterable<Float32Array>
  readonly resume: PassState | undefined
  /** Called when a reading has moved codewords. @param distortion - mean over all rows, before the move */
  readonly onPass: (state: PassState, distortion: number) => void
}

/**
 * Runs the rounds.
 * @returns levels of least distortion over all rows, and the rounds that led to them
 */
export async function passesOver(levels: readonly FittedLevel[], options: PassOptions): Promise<{ levels: FittedLevel[]; passes: number }> {
  const { dim, passes, rule, open, resume, onPass } = options
  let next = resume?.levels ?? levels
  let done = resume?.done ?? 0
  let best = resume?.best
  for (;;) {
    const read = new SourceSums(next, dim, rule)
    for await (const x of open()) await read.add(x)
    const measured = { levels: withDead(next, read.dead()), left: read.left, passes: done }
    const revives = best !== undefined && measured.levels.some(({ dead }, level) => dead > best!.levels[level]!.dead)
    const gain = best === undefined ? Infinity : (best.left - read.left) / best.left
    if (!revives && (best === undefined || gain > 0)) best = measured
    if (done === passes || (!revives && !(gain > leastGain))) return { levels: [...best!.levels], passes: best!.passes }
    next = read.moved()
    done++
    onPass({ levels: next, done, best: best! }, read.left / read.rows)
  }
}

function withDead(levels: readonly FittedLevel[], dead: readonly number[]): FittedLevel[] {
  return levels.map((level, at) => ({ ...level, dead: dead[at]! }))
}

/** @throws SIDESTREAM_SHAPE_MISMATCH for levels of more pairs of codes than memory should hold */
export function checkPairs(sizes: readonly number[]): void {
  const pairs = sizes.reduce((sum, size, at) => sizes.slice(at + 1).reduce((all, other) => all + size * other, sum), 0)
  if (pairs <= mostPairs) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `passes count ${pairs} pairs of codes of levels ${sizes.join(' x ')}, more than ${mostPairs}; give fewer codes, or leave passes out`,
  )
}
