/**
 * How many items changed their semantic ID between two assignments of the same items.
 * Invariant: both assignments hold the same rows in the same order; different cohorts are refused, never intersected here.
 */

import { SidestreamError } from '../schemas/index.ts'
import { rowsOf } from './codebooks.ts'

/** Shares of items, 0 to 1. */
export interface ChurnReport {
  readonly items: number
  /** Any code differs. */
  readonly full: number
  /** The first code differs. */
  readonly firstCode: number
  /** `prefix[l]`: any of the first l + 1 codes differs. */
  readonly prefix: readonly number[]
  /** `perLevel[l]`: code l + 1 differs, whatever the others do. */
  readonly perLevel: readonly number[]
  /** Weight of changed items / weight of all; there only when weights were given. */
  readonly trafficWeighted?: number
  /** Mean number of leading codes that are still the same. */
  readonly meanCommonPrefix: number
}

/**
 * Churn between two assignments.
 * @param before, after - row-major, shape [rows, levels]
 * @param weights - traffic of each row, shape [rows]
 * @throws SIDESTREAM_SHAPE_MISMATCH when the cohorts differ in size
 */
export function churn(before: ArrayLike<number>, after: ArrayLike<number>, levels: number, weights?: Float64Array): ChurnReport {
  const rows = rowsOf(before, levels)
  if (after.length !== before.length || (weights !== undefined && weights.length !== rows)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `churn compares the same items: ${before.length} codes before, ${after.length} after, ${weights?.length ?? rows} weights`,
    )
  }
  const prefix = new Float64Array(levels)
  const perLevel = new Float64Array(levels)
  let common = 0
  let changedWeight = 0
  let allWeight = 0
  for (let row = 0; row < rows; row++) {
    let same = true
    for (let level = 0; level < levels; level++) {
      const differs = before[row * levels + level] !== after[row * levels + level]
      if (differs) perLevel[level] = perLevel[level]! + 1
      same = same && !differs
      if (same) common++
      else prefix[level] = prefix[level]! + 1
    }
    const weight = weights?.[row] ?? 0
    allWeight += weight
    if (!same) changedWeight += weight
  }
  const share = (count: number): number => (rows === 0 ? 0 : count / rows)
  return {
    items: rows,
    full: share(prefix[levels - 1]!),
    firstCode: share(prefix[0]!),
    prefix: Array.from(prefix, share),
    perLevel: Array.from(perLevel, share),
    ...(weights === undefined ? {} : { trafficWeighted: allWeight === 0 ? 0 : changedWeight / allWeight }),
    meanCommonPrefix: share(common),
  }
}
