/**
 * The head: the small network from content vectors to the published embedding. This file holds what it is made of
 * (shape, statistics, parameters); `head-graph.ts` says what it computes, `head-encoder.ts` runs it.
 * Invariants: the distilled part of a fresh head is the half-whitened content on its first axes, so training starts from
 * content geometry; spec, statistics and parameters together decide every published byte.
 */

import { fillNormal, zeros, type Tensor } from '../compute/index.ts'
import { blockLayout, SidestreamError, type VectorLayout } from '../schemas/index.ts'
import type { Modality, ModalityStatistics } from './statistics.ts'

export interface HeadOptions {
  /** The content vectors it reads, in a fixed order. */
  readonly modalities: readonly Modality[]
  /**
   * Dims d of the distilled part. Higher: more room for collaboration, more bytes.
   * @default 128
   */
  readonly dims?: number
  /**
   * Width of the GELU branch.
   * @default 256
   */
  readonly hidden?: number
  /**
   * Dims of the distilled part that short views keep; each is trained. Ends with `dims`.
   * @default 32, 64, 128, as far as they fit, and `dims`
   */
  readonly prefixes?: readonly number[]
  /**
   * Dims of the content part, split evenly over the modalities. At most what the modalities have together.
   * @default dims
   */
  readonly contentDims?: number
  /**
   * Share of the content part in a cosine of two published vectors, 0 (no content part) to below 1. Without it cold items
   * fall below their raw vectors.
   * @default 0.5
   */
  readonly contentShare?: number
  /**
   * Seed of the random start of the GELU branch.
   * @default 0
   */
  readonly seed?: number
}

/** Options with every default resolved. */
export type HeadSpec = Required<HeadOptions>

export const headDefaults = { dims: 128, hidden: 256, prefixes: [32, 64, 128], contentShare: 0.5, seed: 0 } as const

/** How much the GELU branch adds to the linear map. */
export const branchScale = 0.1

/**
 * Standard deviations of the start of U and V. A row of input has unit length, so U's is the spread of what enters GELU:
 * too small and the branch starts linear (with 0.06 cold popularity AUC is .007 lower on globo-news), too large and it starts as noise.
 */
const branchStart = { U: 0.25, V: 0.02 } as const

/** A head that can encode. `parameters` are named as `parameterShapes` lists them. */
export interface Head {
  readonly spec: HeadSpec
  /** In the order of `spec.modalities`. */
  readonly statistics: readonly ModalityStatistics[]
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>
}

/**
 * Fills in the defaults and checks what was given.
 * @throws SIDESTREAM_USAGE_INVALID
 */
export function headSpec(options: HeadOptions): HeadSpec {
  const { modalities, dims = headDefaults.dims, hidden = headDefaults.hidden } = options
  const { contentShare = headDefaults.contentShare, seed = headDefaults.seed } = options
  if (modalities.length === 0) throw invalid('a head needs at least one modality')
  if (new Set(modalities.map(({ name }) => name)).size < modalities.length) throw invalid('modality names must differ')
  for (const { name, dim } of modalities) requireWhole(`dim of ${name}`, dim)
  requireWhole('dims', dims)
  requireWhole('hidden', hidden)
  if (!(contentShare >= 0 && contentShare < 1)) throw invalid(`contentShare must be in [0, 1), not ${contentShare}`)
  const fitting = (options.prefixes ?? headDefaults.prefixes).filter((prefix) => options.prefixes !== undefined || prefix < dims)
  const prefixes = fitting.at(-1) === dims ? fitting : [...fitting, dims]
  const most = modalities.reduce((sum, { dim }) => sum + dim, 0)
  const contentDims = contentShare === 0 ? 0 : Math.min(options.contentDims ?? dims, most)
  const spec: HeadSpec = { modalities, dims, hidden, prefixes, contentDims, contentShare: contentDims === 0 ? 0 : contentShare, seed }
  headLayout(spec)
  return spec
}

/** Where the parts stand in the published vector. */
export function headLayout({ dims, contentDims, prefixes }: HeadSpec): VectorLayout {
  return blockLayout({ dims, contentDims, prefixes })
}

/** One column of the content part: a component of one modality's half-whitened vector. */
export interface ContentColumn {
  /** Index into `spec.modalities`. */
  readonly modality: number
  /** PCA axis of that modality. */
  readonly component: number
}

/**
 * What each column of the content part shows, shape [contentDims]. Columns go round the modalities, strongest axes
 * first, so that every Matryoshka block holds its even share of each; a modality that has no more axes is passed over.
 */
export function contentColumns({ modalities, contentDims }: HeadSpec): ContentColumn[] {
  const columns: ContentColumn[] = []
  for (let component = 0; columns.length < contentDims; component++) {
    for (const [modality, { dim }] of modalities.entries()) {
      if (component < dim && columns.length < contentDims) columns.push({ modality, component })
    }
  }
  return columns
}

/** Name and shape of every parameter. `P`, `U`, `V` per modality; with two or more modalities `fusion.W` and `fusion.b`. */
export function parameterShapes({ modalities, dims, hidden }: HeadSpec): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>()
  for (const { name, dim } of modalities) {
    shapes.set(`${name}.P`, [dim, dims]).set(`${name}.U`, [dim, hidden]).set(`${name}.V`, [hidden, dims])
  }
  const all = modalities.length * dims
  if (modalities.length > 1) shapes.set('fusion.W', [all, all]).set('fusion.b', [all])
  return shapes
}

/**
 * A head before any training: P = [I 0], U and V small and seeded, W = b = 0.
 * @throws SIDESTREAM_SHAPE_MISMATCH when the statistics are not of the spec's modalities
 */
export function createHead(options: HeadOptions, statistics: readonly ModalityStatistics[]): Head {
  const spec = headSpec(options)
  const parameters = new Map<string, Tensor<'float32'>>()
  for (const [name, shape] of parameterShapes(spec)) {
    const kind = name.slice(name.lastIndexOf('.') + 1)
    if (kind === 'P') parameters.set(name, identity(shape[0]!, shape[1]!))
    else if (kind === 'U') parameters.set(name, random(shape, branchStart.U, spec.seed, parameters.size))
    else if (kind === 'V') parameters.set(name, random(shape, branchStart.V, spec.seed, parameters.size))
    else parameters.set(name, zeros('float32', shape))
  }
  return requireHead({ spec, statistics, parameters })
}

/**
 * Checks that the parts of a head fit each other.
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function requireHead(head: Head): Head {
  const { spec, statistics, parameters } = head
  for (const [m, { name, dim }] of spec.modalities.entries()) {
    const found = statistics[m]
    if (found?.name !== name || found.dim !== dim) {
      throw mismatch(`statistics ${m} must be of ${name} with ${dim} dims, found ${found ? `${found.name} with ${found.dim}` : 'none'}`)
    }
  }
  for (const [name, shape] of parameterShapes(spec)) {
    const found = parameters.get(name)?.dims.join(', ')
    if (found !== shape.join(', '))
      throw mismatch(`parameter ${name} must have shape [${shape.join(', ')}], found ${found ? `[${found}]` : 'none'}`)
  }
  return head
}

function identity(rows: number, columns: number): Tensor<'float32'> {
  const out = zeros('float32', [rows, columns])
  for (let i = 0; i < Math.min(rows, columns); i++) out.data[i * columns + i] = 1
  return out
}

function random(dims: readonly number[], sd: number, seed: number, stream: number): Tensor<'float32'> {
  const out = zeros('float32', dims)
  fillNormal(out.data, seed, stream)
  for (let i = 0; i < out.data.length; i++) out.data[i]! *= sd
  return out
}

function requireWhole(what: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) throw invalid(`${what} must be a whole number >= 1, not ${value}`)
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}

function mismatch(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', message)
}
