/**
 * Kendall's tau of two rankings of the same things, exact, in O(n log n).
 * Invariant: a pair tied in either ranking counts on neither side; NaN is refused.
 */

import { SidestreamError } from '../../schemas/index.ts'

export interface KendallTau {
  /** Pairs that both rankings order alike. */
  readonly concordant: number
  /** Pairs that they order the other way round. */
  readonly discordant: number
  /** (concordant - discordant) / (concordant + discordant); NaN when every pair is tied. */
  readonly tau: number
}

/**
 * Kendall's tau: sorted by `a`, then by `b`, the discordant pairs are the inversions of `b`, counted by a merge sort
 * (W. R. Knight, JASA 61, 1966).
 * @param a - scores, shape [n]
 * @param b - scores of the same things, shape [n]
 * @throws SIDESTREAM_SHAPE_MISMATCH when lengths differ or a score is NaN
 */
export function kendallTau(a: Float32Array | Float64Array, b: Float32Array | Float64Array): KendallTau {
  const n = a.length
  if (b.length !== n) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `Kendall's tau needs two scores each: ${n} and ${b.length}`)
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(a[i]!) || Number.isNaN(b[i]!)) {
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `score ${i} is not a number; a ranking has no place for it`)
    }
  }
  const order = new Uint32Array(n)
  for (let i = 0; i < n; i++) order[i] = i
  order.sort((i, j) => a[i]! - a[j]! || b[i]! - b[j]!)
  const tiedInA = tiedPairs(n, (i) => a[order[i]!] === a[order[i - 1]!])
  const tiedInBoth = tiedPairs(n, (i) => a[order[i]!] === a[order[i - 1]!] && b[order[i]!] === b[order[i - 1]!])
  const values = Float64Array.from(order, (i) => b[i]!)
  const discordant = sortCounting(values)
  const tiedInB = tiedPairs(n, (i) => values[i] === values[i - 1])
  const untied = (n * (n - 1)) / 2 - tiedInA - tiedInB + tiedInBoth
  const concordant = untied - discordant
  return { concordant, discordant, tau: (concordant - discordant) / untied }
}

/** Pairs within runs of equal neighbors; `same(i)` says whether i equals i - 1. */
function tiedPairs(n: number, same: (i: number) => boolean): number {
  let pairs = 0
  let run = 0
  for (let i = 1; i < n; i++) {
    run = same(i) ? run + 1 : 0
    pairs += run
  }
  return pairs
}

/** Sorts ascending in place, bottom up; returns how many pairs stood in the wrong order. */
function sortCounting(values: Float64Array): number {
  let inversions = 0
  const spare = new Float64Array(values.length)
  for (let width = 1; width < values.length; width *= 2) {
    for (let start = 0; start < values.length; start += 2 * width) {
      inversions += merge(values, spare, start, Math.min(start + width, values.length), Math.min(start + 2 * width, values.length))
    }
  }
  return inversions
}

function merge(values: Float64Array, spare: Float64Array, start: number, middle: number, end: number): number {
  let inversions = 0
  let left = start
  let right = middle
  for (let at = start; at < end; at++) {
    if (right >= end || (left < middle && values[left]! <= values[right]!)) spare[at] = values[left++]!
    else {
      inversions += middle - left
      spare[at] = values[right++]!
    }
  }
  values.set(spare.subarray(start, end), start)
  return inversions
}
