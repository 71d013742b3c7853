/**
 * Residual k-means: every level's codebook is fitted by Lloyd's rounds on what the levels before leave of the vectors.
 * Invariant: equal items (id and vector bytes) and options give equal codebook bytes, in any order of arrival, with any
 * number of threads. With 39 or more distinct rows per code no code is left without rows.
 */

import { createHash } from 'node:crypto'
import { hashUnit } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { CodebookWalk } from './codebook-walk.ts'
import { checkSizes, codebooksOf, encodeDefaults, requireFinite, rowsOf, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { fitLevel } from './fit-level.ts'
import { requireDistinct, sortedOrder } from './parent-codes.ts'
import { spreadOf, unexplained } from './quality.ts'
import { Crew } from './walk-pool.ts'

export interface FitOptions {
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** Seed of the sample and of the k-means++ start. */
  readonly seed: number
  /**
   * Most Lloyd rounds per level; a level also stops when its distortion falls by less than a millionth.
   * @default 25
   */
  readonly iterations?: number
  /**
   * Bring vectors to unit length first.
   * @default true
   */
  readonly normalize?: boolean
  /**
   * Rows fitted on, per code of the largest level; drawn by a hash of the item id. Higher: slower, slightly less distortion.
   * @default 256
   */
  readonly sampleRowsPerCode?: number
  /**
   * Worker threads.
   * @default 1
   */
  readonly threads?: number
  readonly signal?: AbortSignal
}

export const fitDefaults = { iterations: 25, normalize: true, sampleRowsPerCode: 256, threads: 1 } as const

/** Codebooks and how they came about. */
export interface Fit {
  readonly codebooks: Codebooks
  readonly settings: EncodeSettings
  /** Fraction of variance unexplained, over the rows fitted on. */
  readonly fvu: number
  /** Plain JSON for the manifest (`BundleOrigin.training`). */
  readonly training: Readonly<Record<string, unknown>>
}

/**
 * Fits codebooks.
 * Fewer rows than codes are allowed: spare codes get codewords close to used ones and no rows; the counts stand in `training`.
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @throws SIDESTREAM_ITEMS_TOO_FEW without any row; SIDESTREAM_SHAPE_MISMATCH; SIDESTREAM_VECTOR_NOT_FINITE; SIDESTREAM_ID_INVALID for an id that came twice
 */
export async function fitCodebooks(vectors: Float32Array, ids: readonly string[], dim: number, options: FitOptions): Promise<Fit> {
  const crew = new Crew(options.threads ?? fitDefaults.threads)
  try {
    return await fitWithCrew(vectors, ids, dim, options, crew)
  } finally {
    await crew.close()
  }
}

/** `fitCodebooks` in threads that the caller owns. */
export async function fitWithCrew(
  vectors: Float32Array,
  ids: readonly string[],
  dim: number,
  options: FitOptions,
  crew: Crew,
): Promise<Fit> {
  const { sizes, seed, signal } = options
  const { iterations, normalize, sampleRowsPerCode } = { ...fitDefaults, ...options }
  checkSizes(sizes)
  const rows = rowsOf(vectors, dim)
  if (rows !== ids.length) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${rows} vectors came with ${ids.length} ids`)
  if (rows === 0)
    throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', 'codebooks cannot be fitted without items; wait for content or import some')
  requireFinite(vectors, dim)
  const sorted = sortedOrder(ids)
  requireDistinct(ids, sorted)
  const sample = sampleOrder(ids, seed, Math.max(...sizes) * sampleRowsPerCode)
  const residual = preparedFloat32(take(vectors, sample, dim), dim, normalize)
  const { variance, energy } = spreadOf(residual, dim)
  const levels: Float32Array[] = []
  const records: Record<string, unknown>[] = []
  const walks = new Map<number, CodebookWalk>()
  for (const [level, size] of sizes.entries()) {
    let walk = walks.get(size)
    if (walk === undefined) walks.set(size, (walk = await CodebookWalk.create([size], dim, false, false, crew)))
    const fitted = await fitLevel(residual, dim, size, { level, seed, iterations, scale: Math.sqrt(energy / sample.length), walk, signal })
    levels.push(fitted.codebook)
    records.push({ size, iterations: fitted.iterations, dead: fitted.dead })
    subtractCodewords(residual, dim, fitted.codebook, fitted.codes)
  }
  let left = 0
  for (let at = 0; at < residual.length; at++) left += residual[at]! * residual[at]!
  const fvu = unexplained(left, variance, energy)
  return {
    codebooks: codebooksOf(dim, levels),
    settings: { normalize, recheckTolerance: encodeDefaults.recheckTolerance },
    fvu,
    training: {
      algorithm: 'residual-kmeans',
      generator: 'philox4x32-10',
      init: 'k-means++',
      seed,
      iterations,
      rows,
      sampleRows: sample.length,
      sampleRule: 'smallest hashUnit(seed, item id)',
      itemsSha256: itemsHash(ids, sorted),
      fvu,
      levels: records,
    },
  }
}

/** Rows by hash of their id, the first `most` of them. */
function sampleOrder(ids: readonly string[], seed: number, most: number): Uint32Array {
  const keys = Float64Array.from(ids, (id) => hashUnit(seed, id))
  const order = Uint32Array.from(ids, (_, row) => row)
  order.sort((a, b) => keys[a]! - keys[b]! || (ids[a]! < ids[b]! ? -1 : 1))
  return order.slice(0, most)
}

function take(vectors: Float32Array, order: Uint32Array, dim: number): Float32Array {
  const out = new Float32Array(order.length * dim)
  for (let row = 0; row < order.length; row++) out.set(vectors.subarray(order[row]! * dim, (order[row]! + 1) * dim), row * dim)
  return out
}

function subtractCodewords(residual: Float32Array, dim: number, codebook: Float32Array, codes: Uint16Array): void {
  for (let row = 0; row < codes.length; row++) {
    const from = codes[row]! * dim
    const at = row * dim
    for (let j = 0; j < dim; j++) residual[at + j] = residual[at + j]! - codebook[from + j]!
  }
}

/** SHA-256 of the ids, sorted, one a line. */
function itemsHash(ids: readonly string[], sorted: Uint32Array): string {
  const hash = createHash('sha256')
  for (const row of sorted) hash.update(`${ids[row]}\n`)
  return hash.digest('hex')
}
