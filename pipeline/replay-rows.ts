/**
 * Rows of earlier rounds that are trained again beside a round's own: in-batch negatives then come from the whole replay
 * window, not from one round alone (docs/decisions/0005).
 * Invariant: the choice is a function of (seed, round, rows kept); rows have the same chance whatever their partition.
 */

import { hashUnit } from '../compute/index.ts'
import type { RoundRow } from '../distill/index.ts'
import type { Codec, DistillSample } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { rowKeysFrom } from './samples-state.ts'

export interface ReplayOptions {
  readonly round: number
  readonly seed: number
  /** How many earlier rounds may be drawn from. */
  readonly rounds: number
  /** Rows wanted in all. */
  readonly count: number
}

/**
 * Draws `count` rows, evenly over the earlier rounds that have any. Keys are hashes, so rows that follow one another from a
 * seeded start are a random draw, and nothing else needs to be read.
 */
export function replayRows(state: State, codec: Codec, { round, seed, rounds, count }: ReplayOptions): RoundRow[] {
  const earlier: number[] = []
  for (let k = round - 1; k >= Math.max(0, round - rounds); k--) if (!rowKeysFrom(state, k, '').next().done) earlier.push(k)
  const rows: RoundRow[] = []
  for (const [i, k] of earlier.entries()) {
    const wanted = Math.floor(((i + 1) * count) / earlier.length) - Math.floor((i * count) / earlier.length)
    const start = Math.floor(hashUnit(seed, `replay/${round}/${k}`) * 0xffff_ffff)
      .toString(16)
      .padStart(8, '0')
    rows.push(...draw(state, codec, k, start, wanted))
  }
  return rows
}

/** Up to `wanted` rows with a history from key `start` on, going round once. */
function draw(state: State, codec: Codec, round: number, start: string, wanted: number): RoundRow[] {
  const rows: RoundRow[] = []
  for (const [from, until] of [
    [start, undefined],
    ['', start],
  ] as const) {
    for (const [key, value] of rowKeysFrom(state, round, from)) {
      if (rows.length >= wanted) return rows
      if (until !== undefined && key >= until) break
      const sample = codec.decode('distill-samples', value) as DistillSample
      if (sample.history.length > 0) rows.push({ key, sample, waited: true })
    }
  }
  return rows
}
