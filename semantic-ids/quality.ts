/**
 * The quality report of an assignment: every figure, per level, prefix and popularity slice; before and delta over the items that both hold.
 * Invariant: exact, and independent of the order of items when ids are given; what was sampled is said. Plain JSON.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkCodes, checkRows, identicalRows, prefixOrder, rowsAt } from './buckets.ts'
import { churn, type ChurnReport } from './churn.ts'
import { requireFinite, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { firstCodeMoves, type FirstCodeMove } from './id-space.ts'
import { inputDimOf, throughNetwork, type Network } from './network.ts'
import { findNeighbors, neighborDefaults, type NeighborOptions, type Neighbors } from './neighbor-hits.ts'
import type { OrderedIds } from './id-order.ts'
import { cohortHash, cohortOf, inputAt, sharedRows, sideAt } from './quality-cohorts.ts'
import { figuresOf, type Assignment, type Figures } from './quality-figures.ts'
import { checkPairs, denseLabels, type DenseLabels, type ItemLabels } from './quality-prefixes.ts'
import { qualityRows, type QualityRow } from './quality-rows.ts'
import {
  maskOfSlice,
  rowsOfSlice,
  sliceDefaults,
  sliceNames,
  slicesByTraffic,
  type PerSlice,
  type SliceName,
  type SliceOptions,
} from './quality-slices.ts'

/** Codes with the vectors and codebooks they came from. */
export interface AssignmentInput {
  /** Row-major, shape [items, sizes.length]. */
  readonly codes: Uint16Array
  /** Codes per level. */
  readonly sizes: readonly number[]
  /** One per item, each once. Without them rows are taken to be in one order everywhere. */
  readonly ids?: readonly string[]
  /** Rows in the order of their ids, as `sortedOrder` gives it, where that is known and each id stands once: it is not sorted again. */
  readonly idOrder?: Uint32Array
  /** Published vectors, row-major float32, shape [items, dim]: for duplicates, cohesion and neighbors. */
  readonly vectors?: Float32Array
  /** Dimension of `vectors`. @default that of the codebooks */
  readonly dim?: number
  /** With `vectors` or `quantized`: for distortion. */
  readonly codebooks?: Codebooks
  readonly settings?: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>
  /** What vectors pass before the walk; distortion is that of what it makes of them. */
  readonly network?: Network
  /** What entered the walk where that is not `vectors`, shape [items, codebooks.dim]. @default what the network makes of `vectors` */
  readonly quantized?: Float32Array
}

export interface QualityInput extends AssignmentInput {
  /** One category per item. */
  readonly labels?: ItemLabels
  /** Co-occurring items as row numbers, shape [n, 2]. */
  readonly pairs?: ArrayLike<number>
  /** At least 0, shape [items]: for the slices and traffic-weighted churn. */
  readonly traffic?: Float64Array
  /**
   * What it is compared with, of the same sizes. Without ids on both sides the items are the same ones in the same order. Vectors and
   * codebooks that are left out here are those of `after`: the same embeddings under other codes.
   */
  readonly before?: Omit<AssignmentInput, 'sizes'> & { readonly sizes?: readonly number[] }
}

export interface QualityOptions {
  /** `false` leaves neighbors out, the one part whose cost grows with queries x items. */
  readonly neighbors?: Partial<NeighborOptions> | false
  readonly slices?: Partial<SliceOptions>
  /** Least share of the items before, and of those after, that stand on both sides. 1: the same items. @default 1 */
  readonly minShared?: number
}

/** Everything that was measured. Keys are stable; they are only ever added. */
export interface QualityReport {
  readonly kind: 'semantic-id-report'
  readonly format: 1
  readonly cohort: {
    readonly items: number
    readonly sizes: readonly number[]
    /** SHA-256 of the sorted ids, each with a line feed behind it; null without ids. */
    readonly idsSha256: string | null
  }
  readonly method: {
    /** Queries below `of` are a sample; the neighbors of each are exact all the same. */
    readonly neighbors: { readonly k: number; readonly queries: number; readonly of: number; readonly seed: number } | null
    readonly slices: (SliceOptions & { readonly items: Readonly<Record<SliceName, number>> }) | null
  }
  /** The items that before and after both hold, and how many stand on one side only; null without an assignment before. */
  readonly compared: {
    readonly items: number
    readonly onlyAfter: number
    readonly onlyBefore: number
    readonly idsSha256: string | null
  } | null
  /** Over all items. */
  readonly after: PerSlice<Figures>
  /** The same over the items compared, sliced by their own traffic; null where those are all items. */
  readonly shared: PerSlice<Figures> | null
  /** `before`, `churn` and `moves` are over the items compared. */
  readonly before: PerSlice<Figures> | null
  readonly churn: PerSlice<ChurnReport> | null
  /** The commonest changes of the first code; null without an assignment before. */
  readonly moves: readonly FirstCodeMove[] | null
  /** Every figure as one row, with before and delta: the tidy table. */
  readonly figures: readonly QualityRow[]
}

/**
 * Measures an assignment, beside another if there is one: `after` is over all its items, what is compared over those that both hold.
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes or sizes differ, too few items are shared, or a code is outside its level;
 *   SIDESTREAM_VECTOR_NOT_FINITE; SIDESTREAM_ID_INVALID for an id that stands twice; SIDESTREAM_USAGE_INVALID for bad options
 */
export async function qualityReport(input: QualityInput, options: QualityOptions = {}): Promise<QualityReport> {
  const { sizes, ids } = input
  const items = checkCodes(input.codes, sizes)
  const cohort = ids === undefined ? undefined : cohortOf(ids, items, input.idOrder)
  const { before, ...alone } = input
  if (before?.sizes !== undefined) checkSameSizes(before.sizes, sizes, 'the assignment before')
  if (before?.ids === undefined || cohort === undefined) return measured(input, options, cohort)
  const earlier = cohortOf(before.ids, checkCodes(before.codes, sizes), before.idOrder)
  const { minShared = 1 } = options
  if (!(minShared >= 0 && minShared <= 1))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `minShared must be a share from 0 to 1, not ${minShared}`)
  const rows = sharedRows(cohort, earlier, minShared)
  const { ids: _, idOrder: __, ...codesBefore } = before
  const own = sideAt(codesBefore, rows.before, sizes.length)
  const onlyBefore = earlier.ids.length - rows.before.length
  if (rows.after.length === items) {
    const report = await measured({ ...alone, before: own }, options, cohort)
    return { ...report, compared: { ...report.compared!, onlyBefore } }
  }
  const all = await measured(alone, options, cohort)
  const part = inputAt(alone, rows.after)
  const beside = await measured({ ...part, before: own }, options, cohortOf(part.ids!, rows.after.length))
  const report = {
    ...beside,
    cohort: all.cohort,
    method: all.method,
    compared: { ...beside.compared!, onlyAfter: items - rows.after.length, onlyBefore },
    after: all.after,
    shared: beside.after,
  }
  return { ...report, figures: qualityRows(sizes.length, report) }
}

/** @param cohort - of the ids, which those before have in the same order */
async function measured(input: QualityInput, options: QualityOptions, cohort: OrderedIds | undefined): Promise<QualityReport> {
  const { sizes, traffic } = input
  const items = checkCodes(input.codes, sizes)
  const idsSha256 = cohort === undefined ? null : cohortHash(cohort)
  const shared = {
    labels: input.labels === undefined ? undefined : denseLabels(input.labels, items),
    pairs: input.pairs,
  }
  if (input.pairs !== undefined) checkPairs(input.pairs, items)
  if (traffic !== undefined) checkRows(traffic, 1, items)
  const slices = traffic === undefined ? undefined : slicesByTraffic(traffic, options.slices)
  const earlier = input.before === undefined ? undefined : completed(input, items, input.before)
  const after = await assignmentOf(input, shared, options, cohort)
  const before =
    earlier === undefined
      ? undefined
      : await assignmentOf(earlier, shared, options, cohort, earlier.vectors === input.vectors ? after : undefined)
  const report = {
    kind: 'semantic-id-report',
    format: 1,
    cohort: { items, sizes: [...sizes], idsSha256 },
    method: { neighbors: neighborMethod(after.neighbors, items, options), slices: sliceMethod(slices, options) },
    compared: earlier === undefined ? null : { items, onlyAfter: 0, onlyBefore: 0, idsSha256 },
    after: scopes(after, slices),
    shared: null,
    before: before === undefined ? null : scopes(before, slices),
    moves: earlier === undefined ? null : firstCodeMoves(earlier.codes, input.codes, sizes.length),
    churn: earlier === undefined ? null : churnScopes(earlier.codes, input.codes, sizes.length, traffic, slices),
  } as const
  return { ...report, figures: qualityRows(sizes.length, report) }
}

/** @param twin - of the same vectors */
async function assignmentOf(
  {
    codes,
    sizes,
    vectors,
    codebooks,
    settings,
    network,
    dim = network === undefined ? (codebooks?.dim ?? 0) : inputDimOf(network),
    ...given
  }: AssignmentInput,
  shared: { readonly labels: DenseLabels | undefined; readonly pairs: ArrayLike<number> | undefined },
  options: QualityOptions,
  cohort: OrderedIds | undefined,
  twin?: Assignment,
): Promise<Assignment> {
  const items = checkCodes(codes, sizes)
  if (vectors !== undefined) {
    checkRows(vectors, dim, items)
    requireFinite(vectors, dim)
  }
  const quantized = given.quantized ?? (network === undefined || vectors === undefined ? vectors : throughNetwork(network, vectors))
  const quantizer =
    codebooks === undefined || quantized === undefined
      ? undefined
      : { vectors: quantized, codebooks, settings: settings ?? { normalize: true } }
  if (quantizer !== undefined) {
    checkRows(quantizer.vectors, quantizer.codebooks.dim, items)
    if (quantized !== vectors) requireFinite(quantizer.vectors, quantizer.codebooks.dim)
    checkSameSizes(quantizer.codebooks.sizes, sizes, 'the codebooks')
  }
  const neighbors =
    twin?.neighbors ??
    (vectors === undefined || options.neighbors === false ? undefined : await findNeighbors(vectors, dim, options.neighbors, cohort))
  const same = twin?.same ?? (vectors && identicalRows(vectors, dim))
  return { codes, sizes, vectors, dim, quantizer, ...shared, neighbors, same, order: prefixOrder(codes, sizes) }
}

/** The assignment before, with what it has from that after. */
function completed(after: AssignmentInput, items: number, before: NonNullable<QualityInput['before']>): AssignmentInput {
  const { vectors, quantized } = before
  const { sizes } = after
  const count = checkCodes(before.codes, sizes)
  if (count !== items) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `before and after must hold the same items: ${count} items before, ${items} after; give the ids of both`,
    )
  }
  return {
    ...before,
    sizes,
    ...(vectors === undefined && after.vectors !== undefined && { vectors: after.vectors }),
    ...(before.dim === undefined && after.dim !== undefined && { dim: after.dim }),
    ...(before.codebooks === undefined && after.codebooks !== undefined && { codebooks: after.codebooks }),
    ...(before.network === undefined && before.codebooks === undefined && after.network !== undefined && { network: after.network }),
    ...(before.settings === undefined && after.settings !== undefined && { settings: after.settings }),
    ...(quantized === undefined && vectors === undefined && after.quantized !== undefined && { quantized: after.quantized }),
  }
}

function checkSameSizes(given: readonly number[], sizes: readonly number[], what: string): void {
  if (given.length === sizes.length && given.every((size, level) => size === sizes[level])) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `${what} has levels of [${given.join(', ')}], the codes have [${sizes.join(', ')}]; only equal sizes can be compared`,
  )
}

function scopes(assignment: Assignment, slices: Uint8Array | undefined): PerSlice<Figures> {
  const all = figuresOf(assignment)
  if (slices === undefined) return { all }
  const own = sliceNames.map(
    (name, slice) => [name, figuresOf(assignment, { rows: rowsOfSlice(slices, slice), mask: maskOfSlice(slices, slice) })] as const,
  )
  return { all, ...Object.fromEntries(own) }
}

function churnScopes(
  before: Uint16Array,
  after: Uint16Array,
  levels: number,
  traffic: Float64Array | undefined,
  slices: Uint8Array | undefined,
): PerSlice<ChurnReport> {
  const all = churn(before, after, levels, traffic)
  if (slices === undefined) return { all }
  const own = sliceNames.map((name, slice) => {
    const rows = rowsOfSlice(slices, slice)
    const weights = traffic && rowsAt(traffic, rows, 1)
    return [name, churn(rowsAt(before, rows, levels), rowsAt(after, rows, levels), levels, weights)] as const
  })
  return { all, ...Object.fromEntries(own) }
}

function neighborMethod(
  neighbors: Neighbors | undefined,
  items: number,
  { neighbors: options }: QualityOptions,
): QualityReport['method']['neighbors'] {
  if (neighbors === undefined) return null
  const seed = (options === false ? undefined : options?.seed) ?? neighborDefaults.seed
  return { k: neighbors.k, queries: neighbors.queries.length, of: items, seed }
}

function sliceMethod(slices: Uint8Array | undefined, { slices: options }: QualityOptions): QualityReport['method']['slices'] {
  if (slices === undefined) return null
  const items = { head: 0, torso: 0, tail: 0 }
  for (const slice of slices) items[sliceNames[slice]!]++
  return { ...sliceDefaults, ...options, items }
}
