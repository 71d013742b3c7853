/**
 * The quality report of an assignment: every figure, per level, prefix and popularity slice, before, after and delta over one cohort.
 * Invariant: exact, and independent of the order of items when ids are given; what was sampled is said. Plain JSON.
 */

import { createHash } from 'node:crypto'
import { SidestreamError } from '../schemas/index.ts'
import { checkCodes, checkRows, prefixOrder, rowsAt } from './buckets.ts'
import { churn, type ChurnReport } from './churn.ts'
import { requireFinite, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { firstCodeMoves, type FirstCodeMove } from './id-space.ts'
import { inputDimOf, throughNetwork, type Network } from './network.ts'
import { findNeighbors, neighborDefaults, type NeighborOptions, type Neighbors } from './neighbor-hits.ts'
import { requireDistinct, sortedOrder } from './parent-codes.ts'
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
   * What it is compared with, over the same items and sizes. Vectors and codebooks that are left out here are those of `after`: the same
   * embeddings under other codes.
   */
  readonly before?: Omit<AssignmentInput, 'sizes'> & { readonly sizes?: readonly number[] }
}

export interface QualityOptions {
  /** `false` leaves neighbors out, the one part whose cost grows with queries x items. */
  readonly neighbors?: Partial<NeighborOptions> | false
  readonly slices?: Partial<SliceOptions>
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
  readonly after: PerSlice<Figures>
  readonly before: PerSlice<Figures> | null
  readonly churn: PerSlice<ChurnReport> | null
  /** The commonest changes of the first code; null without an assignment before. */
  readonly moves: readonly FirstCodeMove[] | null
  /** Every figure as one row, with before and delta: the tidy table. */
  readonly figures: readonly QualityRow[]
}

/**
 * Measures an assignment, beside another of the same items if there is one.
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes, cohorts or sizes differ, or a code is outside its level;
 *   SIDESTREAM_VECTOR_NOT_FINITE; SIDESTREAM_ID_INVALID for an id that stands twice; SIDESTREAM_USAGE_INVALID for bad options
 */
export async function qualityReport(input: QualityInput, options: QualityOptions = {}): Promise<QualityReport> {
  const { sizes, traffic } = input
  const items = checkCodes(input.codes, sizes)
  const idsSha256 = input.ids === undefined ? null : idsHash(input.ids, items)
  const shared = {
    labels: input.labels === undefined ? undefined : denseLabels(input.labels, items),
    pairs: input.pairs,
  }
  if (input.pairs !== undefined) checkPairs(input.pairs, items)
  if (traffic !== undefined) checkRows(traffic, 1, items)
  const slices = traffic === undefined ? undefined : slicesByTraffic(traffic, options.slices)
  const aligned = input.before === undefined ? undefined : alignedBefore(input, items, input.before)
  const after = await assignmentOf(input, shared, options)
  const before =
    aligned === undefined
      ? undefined
      : await assignmentOf(aligned, shared, options, aligned.vectors === input.vectors ? after.neighbors : undefined)
  const report = {
    kind: 'semantic-id-report',
    format: 1,
    cohort: { items, sizes: [...sizes], idsSha256 },
    method: { neighbors: neighborMethod(after.neighbors, items, options), slices: sliceMethod(slices, options) },
    after: scopes(after, slices),
    before: before === undefined ? null : scopes(before, slices),
    moves: aligned === undefined ? null : firstCodeMoves(aligned.codes, input.codes, sizes.length),
    churn: aligned === undefined ? null : churnScopes(aligned.codes, input.codes, sizes.length, traffic, slices),
  } as const
  return { ...report, figures: qualityRows(sizes.length, report) }
}

async function assignmentOf(
  {
    codes,
    sizes,
    ids,
    vectors,
    codebooks,
    settings,
    network,
    dim = network === undefined ? (codebooks?.dim ?? 0) : inputDimOf(network),
    ...given
  }: AssignmentInput,
  shared: { readonly labels: DenseLabels | undefined; readonly pairs: ArrayLike<number> | undefined },
  options: QualityOptions,
  neighbors?: Neighbors,
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
  const found =
    neighbors ??
    (vectors === undefined || options.neighbors === false ? undefined : await findNeighbors(vectors, dim, options.neighbors, ids))
  return { codes, sizes, vectors, dim, quantizer, ...shared, neighbors: found, order: prefixOrder(codes, sizes) }
}

/** The assignment before, its rows in the order of those after. */
function alignedBefore(after: AssignmentInput, items: number, before: NonNullable<QualityInput['before']>): AssignmentInput {
  const { sizes = after.sizes, codes, ids, vectors, quantized } = before
  checkSameSizes(sizes, after.sizes, 'the assignment before')
  const count = checkCodes(codes, sizes)
  if (ids !== undefined) idsHash(ids, count)
  const inherited = {
    ...(vectors === undefined && after.vectors !== undefined && { vectors: after.vectors }),
    ...(before.dim === undefined && after.dim !== undefined && { dim: after.dim }),
    ...(before.codebooks === undefined && after.codebooks !== undefined && { codebooks: after.codebooks }),
    ...(before.network === undefined && before.codebooks === undefined && after.network !== undefined && { network: after.network }),
    ...(before.settings === undefined && after.settings !== undefined && { settings: after.settings }),
    ...(quantized === undefined && vectors === undefined && after.quantized !== undefined && { quantized: after.quantized }),
  }
  if (ids === undefined || after.ids === undefined) {
    if (count !== items) throw otherCohort(`${count} items before, ${items} after`)
    return { ...before, ...inherited, sizes }
  }
  const rowOf = new Map(ids.map((id, row) => [id, row]))
  const missing = after.ids.find((id) => !rowOf.has(id))
  if (missing !== undefined || count !== items) {
    throw otherCohort(
      `${count} items before, ${items} after${missing === undefined ? '' : `; before lacks ${JSON.stringify(missing)}, for one`}`,
    )
  }
  const rows = Uint32Array.from(after.ids, (id) => rowOf.get(id)!)
  return {
    ...before,
    ...inherited,
    sizes,
    ids: after.ids,
    codes: rowsAt(codes, rows, sizes.length),
    ...(vectors !== undefined && { vectors: rowsAt(vectors, rows, vectors.length / Math.max(1, count)) }),
    ...(quantized !== undefined && { quantized: rowsAt(quantized, rows, quantized.length / Math.max(1, count)) }),
  }
}

function otherCohort(what: string): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `before and after must hold the same items: ${what}; leave out what stands on one side only`,
  )
}

function checkSameSizes(given: readonly number[], sizes: readonly number[], what: string): void {
  if (given.length === sizes.length && given.every((size, level) => size === sizes[level])) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `${what} has levels of [${given.join(', ')}], the codes have [${sizes.join(', ')}]; only equal sizes can be compared`,
  )
}

/** @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_ID_INVALID */
function idsHash(ids: readonly string[], items: number): string {
  if (ids.length !== items) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${items} rows of codes came with ${ids.length} ids`)
  const order = sortedOrder(ids)
  requireDistinct(ids, order)
  const hash = createHash('sha256')
  for (const row of order) hash.update(`${ids[row]}\n`)
  return hash.digest('hex')
}

function scopes(assignment: Assignment, slices: Uint8Array | undefined): PerSlice<Figures> {
  const all = figuresOf(assignment)
  if (slices === undefined) return { all }
  const own = sliceNames.map(
    (name, slice) => [name, figuresOf(assignment, rowsOfSlice(slices, slice), maskOfSlice(slices, slice))] as const,
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
