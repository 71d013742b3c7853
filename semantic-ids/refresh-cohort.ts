/**
 * The items of a refresh: checked, sorted by id, with the parent's codes beside them.
 * Invariant: no later sum depends on the order in which the items came.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Bundle } from './bundle.ts'
import { requireFinite, rowsOf } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { requireDistinct, sortedOrder, type ParentCodes } from './parent-codes.ts'
import { spreadOf } from './quality-distortion.ts'

/** Items as they are at the cut. */
export interface RefreshInput {
  /** Where the codebooks come from; its own parent codes play no part. */
  readonly bundle: Pick<Bundle, 'codebooks' | 'settings'>
  /** The published codes at the cut; items that stand here only have vanished. */
  readonly parents: ParentCodes
  readonly ids: readonly string[]
  /** The numbers that will be published (dequantized), row-major float32, shape [ids.length, dim]. */
  readonly vectors: Float32Array
  /** Traffic per item, shape [ids.length]; wanted when the budget has `trafficWeighted`. */
  readonly weights?: Float64Array
}

/** Most churn among the items that had an ID; shares, 0 to 1. */
export interface ChurnBudget {
  /** Any code differs. */
  readonly full: number
  /** The first code differs. @default no bound */
  readonly firstCode?: number
  /** Any code differs, weighted by traffic. @default no bound */
  readonly trafficWeighted?: number
}

/** The items sorted by id, so that no sum depends on their order of arrival. */
export interface Cohort {
  /** Sorted row to row of the input. */
  readonly order: Uint32Array
  readonly ids: readonly string[]
  readonly vectors: Float32Array
  /** As the quantizer sees them. */
  readonly x: Float32Array
  readonly spread: { readonly variance: number; readonly energy: number }
  /** Parent's codes, -1 in rows without. */
  readonly old: Int32Array
  /** Sorted rows that have parent's codes. */
  readonly known: Uint32Array
  /** Parent's codes of the known rows. */
  readonly before: Uint16Array
  /** Traffic of the known rows. */
  readonly weights: Float64Array | undefined
}

/** Checks and sorts the items. @throws see `refreshCodebooks` */
export function cohortOf({ bundle, parents, ids, vectors, weights }: RefreshInput, budget: ChurnBudget): Cohort {
  const { dim, sizes } = bundle.codebooks
  const rows = rowsOf(vectors, dim)
  if (rows !== ids.length || (weights !== undefined && weights.length !== rows)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${rows} vectors of dimension ${dim} came with ${ids.length} ids and ${weights?.length ?? rows} weights`,
    )
  }
  if (rows === 0) throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', 'codebooks cannot be refreshed without items')
  for (const [name, share] of Object.entries(budget)) {
    if (!(share >= 0 && share <= 1))
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `churn budget ${name} must be a share of 0 to 1, got ${share}`)
  }
  if (budget.trafficWeighted !== undefined && weights === undefined) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'a traffic-weighted churn budget needs a weight per item')
  }
  const largest = parents.largestCodes()
  if (parents.levels !== sizes.length || largest.some((code, level) => code >= sizes[level]!)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `published codes of ${parents.levels} levels up to [${largest.join(', ')}] do not fit codebooks of [${sizes.join(', ')}]; other sizes need a re-base`,
    )
  }
  requireFinite(vectors, dim)
  const order = sortedOrder(ids)
  requireDistinct(ids, order)
  const sortedIds = Array.from(order, (row) => ids[row]!)
  const sorted = new Float32Array(vectors.length)
  for (const [row, from] of order.entries()) sorted.set(vectors.subarray(from * dim, (from + 1) * dim), row * dim)
  const old = parents.lookup(sortedIds)
  const known = Uint32Array.from(order.keys()).filter((row) => old[row * sizes.length]! >= 0)
  const x = preparedFloat32(sorted, dim, bundle.settings.normalize)
  return {
    order,
    ids: sortedIds,
    vectors: sorted,
    x,
    spread: spreadOf(x, dim),
    old,
    known,
    before: pick(new Uint16Array(old), known, sizes.length),
    weights: weights && Float64Array.from(known, (row) => weights[order[row]!]!),
  }
}

/** Some rows of a row-major array. */
export function pick<T extends Uint16Array | Float32Array>(values: T, rows: Uint32Array, width: number): T {
  const out = new (values.constructor as new (length: number) => T)(rows.length * width)
  for (const [to, row] of rows.entries()) out.set(values.subarray(row * width, (row + 1) * width), to * width)
  return out
}
