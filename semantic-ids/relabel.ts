/**
 * Renames the codes of a new fit after those of an old one.
 * Invariant: only names change; every item keeps its codewords, so distortion and collisions stay as they are.
 */

import { codebooksOf, type Codebooks } from './codebooks.ts'
import { largestMatching, type PairCount } from './one-to-one.ts'

/** What renaming cannot do; stands beside every result. */
export const relabelLimit =
  'relabelling renames codes: items move only as whole codes. Codes below the first hang under other parents after a fresh fit, so nearly every whole ID still changes'

/** New names of one level. */
export interface LevelNames {
  /** `map[code]` = new name, a permutation. */
  readonly map: Uint16Array
  /** Share of the items whose code is the old one, before and after renaming. */
  readonly agreementBefore: number
  readonly agreementAfter: number
}

/**
 * The names under which most items have the old code of a level.
 * @param codes, before - codes of one level, the same items in the same order
 */
export function namesAfter(codes: ArrayLike<number>, before: ArrayLike<number>, size: number): LevelNames {
  const counts = new Map<number, number>()
  for (let row = 0; row < codes.length; row++) {
    const key = codes[row]! * size + before[row]!
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const pairs = [...counts].map(([key, count]): PairCount => ({ from: Math.floor(key / size), to: key % size, count }))
  const map = largestMatching(
    pairs.sort((a, b) => a.from - b.from || a.to - b.to),
    size,
  )
  const share = (kept: (pair: PairCount) => boolean): number =>
    codes.length === 0 ? 0 : pairs.reduce((sum, pair) => sum + (kept(pair) ? pair.count : 0), 0) / codes.length
  return { map, agreementBefore: share(({ from, to }) => from === to), agreementAfter: share(({ from, to }) => map[from] === to) }
}

/** Codebooks whose codes bear new names. @param names - by level; undefined leaves a level as it is */
export function renamed(codebooks: Codebooks, names: readonly (LevelNames | undefined)[]): Codebooks {
  const { dim, levels, penalties } = codebooks
  const moved = (values: Float32Array, width: number, map: Uint16Array): Float32Array => {
    const out = new Float32Array(values.length)
    for (const [code, name] of map.entries()) out.set(values.subarray(code * width, (code + 1) * width), name * width)
    return out
  }
  const each = <T extends Float32Array | undefined>(values: T, level: number, width: number): T =>
    values === undefined || names[level] === undefined ? values : (moved(values, width, names[level].map) as T)
  return codebooksOf(
    dim,
    levels.map((words, level) => each(words, level, dim)),
    { ...codebooks, ...(penalties && { penalties: penalties.map((costs, level) => each(costs, level, 1)) }) },
  )
}
