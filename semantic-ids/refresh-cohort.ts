/**
 * The items of a refresh: checked, sorted by id, with the parent's codes beside them.
 * Invariant: no later sum depends on the order in which the items came.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Bundle } from './bundle.ts'
import { requireFinite, rowsOf } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { requireDistinct, sortedOrder } from './id-order.ts'
import type { ParentCodes } from './parent-codes.ts'
import { hasSpread, spreadOf } from './quality-distortion.ts'
import { giveTwinsCodes } from './twins.ts'

/** Items as they are at the cut. */
export interface RefreshInput {
  /** Where the codebooks come from; its own parent codes play no part. */
  readonly bundle: Pick<Bundle, 'codebooks' | 'settings' | 'network'>
  /**
   * The published codes at the cut. Items that stand here only have vanished: they count nowhere. Items that came back are
   * known again if they stand here, else they are new.
   */
  readonly parents: ParentCodes
  readonly ids: readonly string[]
  /** The numbers that will be published (dequantized), row-major float32, shape [ids.length, dim]. */
  readonly vectors: Float32Array
  /** Traffic per item, shape [ids.length], at least 0; wanted when the budget has `trafficWeighted`. */
  readonly weights?: Float64Array
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
  /** Parent's codes, those of twins among them, -1 in rows without, shape [rows, parents.levels]. */
  readonly old: Int32Array
  /** Sorted fresh rows that have the parent's codes of a known one with the same vector. */
  readonly twins: Uint32Array
  /** Sorted rows that stand in the parent's table, and those that do not. */
  readonly known: Uint32Array
  readonly fresh: Uint32Array
  /** Parent's codes of the known rows. */
  readonly before: Uint16Array
  /** Traffic of the known rows. */
  readonly weights: Float64Array | undefined
}

/**
 * Checks and sorts the items.
 * @param together - whether new items with the vector of a published one take its codes
 * @throws SIDESTREAM_ITEMS_TOO_FEW, SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE, SIDESTREAM_ID_INVALID,
 * SIDESTREAM_USAGE_INVALID for traffic that is no weight
 */
export function cohortOf(
  { parents, ids, vectors, weights }: Omit<RefreshInput, 'bundle'>,
  dim: number,
  normalize: boolean,
  together = false,
): Cohort {
  const rows = rowsOf(vectors, dim)
  if (rows !== ids.length || (weights !== undefined && weights.length !== rows)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${rows} vectors of dimension ${dim} came with ${ids.length} ids and ${weights?.length ?? rows} weights`,
    )
  }
  if (rows === 0) throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', 'codebooks cannot be refreshed without items')
  if (weights?.some((weight) => !(weight >= 0 && weight < Infinity)))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'the traffic of an item is a finite number of at least 0')
  requireFinite(vectors, dim)
  const order = sortedOrder(ids)
  requireDistinct(ids, order)
  const sortedIds = Array.from(order, (row) => ids[row]!)
  const sorted = pick(vectors, order, dim)
  const old = parents.lookup(sortedIds)
  const all = Uint32Array.from(order.keys())
  const known = all.filter((row) => old[row * parents.levels]! >= 0)
  const fresh = all.filter((row) => old[row * parents.levels]! < 0)
  const before = pick(new Uint16Array(old), known, parents.levels)
  const x = preparedFloat32(sorted, dim, normalize)
  return {
    order,
    ids: sortedIds,
    vectors: sorted,
    x,
    spread: spreadOf(x, dim),
    old,
    twins: together ? giveTwinsCodes(old, parents.levels, sorted, dim) : new Uint32Array(0),
    known,
    fresh,
    before,
    weights: weights && Float64Array.from(known, (row) => weights[order[row]!]!),
  }
}

/** @throws SIDESTREAM_SHAPE_MISMATCH when published codes are not of these sizes */
export function requireSameSizes(parents: ParentCodes, sizes: readonly number[]): void {
  const largest = parents.largestCodes()
  if (parents.levels === sizes.length && largest.every((code, level) => code < sizes[level]!)) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `published codes of ${parents.levels} levels up to [${largest.join(', ')}] do not fit codebooks of [${sizes.join(', ')}]; other sizes need a re-base`,
  )
}

/** A refresh of strangers would pass as one that changed nothing. @throws SIDESTREAM_ITEMS_TOO_FEW when no item had an ID */
export function requireKnown({ known, ids }: Cohort, parents: ParentCodes): void {
  if (known.length > 0) return
  const [published] = parents.entries().next().value ?? []
  throw new SidestreamError(
    'SIDESTREAM_ITEMS_TOO_FEW',
    `none of the ${ids.length} items (such as ${ids[0]}) has a published ID${published === undefined ? '' : ` (such as that of ${published})`}: check the ids; if all are new, fit anew or declare a re-base (a new ID space)`,
  )
}

/** Codebooks would be drawn to one point, and no ceiling would see it. @throws SIDESTREAM_ITEMS_TOO_FEW when all items have one vector */
export function requireSpread({ ids, spread }: Cohort): void {
  if (ids.length === 1 || hasSpread(spread)) return
  throw new SidestreamError(
    'SIDESTREAM_ITEMS_TOO_FEW',
    `all ${ids.length} items have the same vector, but for rounding: codebooks cannot be refreshed on them; look at what made the vectors`,
  )
}

/** Some rows of a row-major array. */
export function pick<T extends Uint16Array | Float32Array>(values: T, rows: Uint32Array, width: number): T {
  const out = new (values.constructor as new (length: number) => T)(rows.length * width)
  for (const [to, row] of rows.entries()) out.set(values.subarray(row * width, (row + 1) * width), to * width)
  return out
}

/** Sorted rows back in the order of the input. */
export function inOrderOf(order: Uint32Array, codes: Uint16Array, levels: number): Uint16Array {
  const out = new Uint16Array(codes.length)
  for (const [row, to] of order.entries()) out.set(codes.subarray(row * levels, (row + 1) * levels), to * levels)
  return out
}
