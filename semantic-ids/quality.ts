/**
 * Exact quality figures of an assignment: how codes are used, what they leave unexplained, which items are duplicates.
 * Invariant: pure functions of their arguments; logarithms are natural; every figure is defined in docs by one formula.
 */

import { identicalRows, prefixGroups } from './buckets.ts'
import { rowsOf, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { prepared } from './encode.ts'

/** How one level's codes are used. */
export interface LevelUsage {
  /** Codes with at least one item. */
  readonly used: number
  /** used / size. */
  readonly coverage: number
  /** Codes without an item. */
  readonly dead: number
  /** - sum p ln p over the level's codes. */
  readonly entropy: number
  /** exp(entropy): how many equally used codes would carry as much. */
  readonly perplexity: number
  /** Share of items in the most used code. */
  readonly headShare: number
  /** Items per code. */
  readonly histogram: readonly number[]
}

/** How whole IDs are used. A bucket is the set of items that share one. */
export interface UsageReport {
  readonly items: number
  /** Distinct semantic IDs. */
  readonly distinct: number
  /** distinct / items. */
  readonly uniqueRate: number
  /** Items alone in their bucket / items. */
  readonly uniquelyIdentified: number
  readonly maxBucket: number
  /** 99th percentile of occupied bucket sizes, nearest rank. */
  readonly p99Bucket: number
  /** Inequality of occupied bucket sizes, 0 = all equal. */
  readonly gini: number
  readonly entropy: number
  /** entropy / ln(product of sizes). */
  readonly entropyRatioCapacity: number
  /** entropy / ln(min(items, product of sizes)). */
  readonly entropyRatioAttainable: number
  readonly levels: readonly LevelUsage[]
}

/**
 * Usage of IDs and codes. All rates are 0 without items; an entropy ratio is 1 where only one value is possible.
 * @param codes - row-major, shape [items, levels]
 */
export function usage(codes: Uint16Array, sizes: readonly number[]): UsageReport {
  const levels = sizes.length
  const items = rowsOf(codes, levels)
  const buckets = prefixGroups(codes, levels).at(-1)!.counts
  const ascending = buckets.slice().sort()
  const distinct = ascending.length
  const entropy = entropyOf(buckets, items)
  let alone = 0
  let weighted = 0
  for (let i = 0; i < distinct; i++) {
    if (ascending[i] === 1) alone++
    weighted += (i + 1) * ascending[i]!
  }
  const logCapacity = sizes.reduce((sum, size) => sum + Math.log(size), 0)
  return {
    items,
    distinct,
    uniqueRate: share(distinct, items),
    uniquelyIdentified: share(alone, items),
    maxBucket: ascending[distinct - 1] ?? 0,
    p99Bucket: ascending[Math.ceil(0.99 * distinct) - 1] ?? 0,
    gini: items === 0 ? 0 : (2 * weighted) / (distinct * items) - (distinct + 1) / distinct,
    entropy,
    entropyRatioCapacity: logCapacity > 0 ? entropy / logCapacity : 1,
    entropyRatioAttainable: attainable(entropy, Math.min(Math.log(items), logCapacity)),
    levels: sizes.map((size, level) => levelUsage(codes, level, levels, size, items)),
  }
}

function attainable(entropy: number, most: number): number {
  return most > 0 ? entropy / most : 1
}

function levelUsage(codes: Uint16Array, level: number, levels: number, size: number, items: number): LevelUsage {
  const histogram = new Int32Array(size)
  for (let at = level; at < codes.length; at += levels) histogram[codes[at]!] = histogram[codes[at]!]! + 1
  let used = 0
  let most = 0
  for (const count of histogram) {
    if (count > 0) used++
    if (count > most) most = count
  }
  const entropy = entropyOf(histogram, items)
  return {
    used,
    coverage: used / size,
    dead: size - used,
    entropy,
    perplexity: Math.exp(entropy),
    headShare: share(most, items),
    histogram: Array.from(histogram),
  }
}

function entropyOf(counts: Int32Array, total: number): number {
  let entropy = 0
  for (const count of counts) if (count > 0) entropy -= (count / total) * Math.log(count / total)
  return entropy
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}

/** What the codes leave unexplained. */
export interface ReconstructionReport {
  /** Mean squared l2 distance to the decoded vector. */
  readonly distortion: number
  /** distortion / dim. */
  readonly meanSquaredError: number
  /** Sum of squared distances / sum of squared distances to the mean; 0 where all vectors are equal and met. */
  readonly fvu: number
  readonly meanCosine: number
  /** After each level: mean norm of what is left. */
  readonly residualNorms: readonly number[]
  /** After each level: fraction of variance unexplained so far; the last one is `fvu`. */
  readonly residualEnergy: readonly number[]
}

/**
 * Distortion of an assignment, of the vectors as the quantizer sees them (unit length if `normalize`).
 * @param vectors - row-major float32, shape [rows, dim]
 * @param codes - row-major, shape [rows, levels]
 */
export function reconstruction(
  vectors: Float32Array,
  codes: Uint16Array,
  codebooks: Codebooks,
  settings: Pick<EncodeSettings, 'normalize'>,
): ReconstructionReport {
  const { dim, sizes, levels } = codebooks
  const x = prepared(vectors, dim, settings.normalize)
  const rows = x.length / dim
  const { variance, energy } = spreadOf(x, dim)
  const squares = new Float64Array(sizes.length)
  const norms = new Float64Array(sizes.length)
  let cosines = 0
  for (let row = 0; row < rows; row++) {
    const at = row * dim
    let xx = 0
    for (let j = 0; j < dim; j++) xx += x[at + j]! * x[at + j]!
    for (let level = 0; level < sizes.length; level++) {
      const left = subtractCodeword(x, at, levels[level]!, codes[row * sizes.length + level]! * dim, dim)
      squares[level] = squares[level]! + left
      norms[level] = norms[level]! + Math.sqrt(left)
    }
    cosines += cosineFromResidual(vectors, row, x, at, dim, xx, settings.normalize)
  }
  const distortion = share(squares.at(-1)!, rows)
  return {
    distortion,
    meanSquaredError: distortion / dim,
    fvu: unexplained(squares.at(-1)!, variance, energy),
    meanCosine: share(cosines, rows),
    residualNorms: Array.from(norms, (sum) => share(sum, rows)),
    residualEnergy: Array.from(squares, (sum) => unexplained(sum, variance, energy)),
  }
}

/** Takes the codeword away in place; the squared norm of what is left. */
function subtractCodeword(x: Float64Array, at: number, codebook: Float32Array, from: number, dim: number): number {
  let sum = 0
  for (let j = 0; j < dim; j++) {
    const left = x[at + j]! - codebook[from + j]!
    x[at + j] = left
    sum += left * left
  }
  return sum
}

/** Cosine of the vector and its decoded form, which is the vector less the residual now standing in `x`. */
function cosineFromResidual(
  vectors: Float32Array,
  row: number,
  x: Float64Array,
  at: number,
  dim: number,
  xx: number,
  normalize: boolean,
): number {
  let length = 1
  if (normalize) {
    let squared = 0
    for (let j = 0; j < dim; j++) squared += vectors[row * dim + j]! * vectors[row * dim + j]!
    length = squared === 0 ? 1 : Math.sqrt(squared)
  }
  let xy = 0
  let yy = 0
  for (let j = 0; j < dim; j++) {
    const original = vectors[row * dim + j]! / length
    const decoded = original - x[at + j]!
    xy += original * decoded
    yy += decoded * decoded
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy)
}

/**
 * Spread of vectors around their mean.
 * @param x - row-major, shape [rows, dim]
 * @returns `variance` = sum of squared distances to the mean, `energy` = sum of squared norms
 */
export function spreadOf(x: Float64Array | Float32Array, dim: number): { variance: number; energy: number } {
  const rows = x.length / dim
  const mean = new Float64Array(dim)
  for (let at = 0; at < x.length; at += dim) for (let j = 0; j < dim; j++) mean[j] = mean[j]! + x[at + j]!
  for (let j = 0; j < dim; j++) mean[j] = mean[j]! / rows
  let variance = 0
  let energy = 0
  for (let at = 0; at < x.length; at += dim) {
    for (let j = 0; j < dim; j++) {
      const value = x[at + j]!
      const difference = value - mean[j]!
      variance += difference * difference
      energy += value * value
    }
  }
  return { variance, energy }
}

/** Share of the energy below which a spread is rounding, not variance (float32 codewords are met to 6e-8). */
const noSpread = 1e-12

/** FVU that stays defined where all vectors are equal: 0 when they are met, else Infinity. */
export function unexplained(squaredError: number, variance: number, energy: number): number {
  if (variance > noSpread * energy) return squaredError / variance
  return squaredError <= noSpread * energy ? 0 : Infinity
}

/** Bit-identical vectors, told apart from collisions of distinct ones. */
export interface DuplicateReport {
  readonly distinctVectors: number
  /** Rows beyond the first of their group. */
  readonly duplicateRows: number
  /** Row numbers of every group of two or more. */
  readonly groups: readonly (readonly number[])[]
  /** Distinct vectors that share an ID with another distinct vector. */
  readonly collidingVectors: number
  /** Distinct IDs / distinct vectors. */
  readonly uniqueRateOverDistinct: number
}

/**
 * Duplicates and genuine collisions.
 * @param vectors - row-major float32, shape [rows, dim]
 * @param codes - row-major, shape [rows, levels]
 */
export function duplicates(vectors: Float32Array, codes: Uint16Array, dim: number, levels: number): DuplicateReport {
  const same = identicalRows(vectors, dim)
  const buckets = prefixGroups(codes, levels).at(-1)!
  const distinctVectors = same.counts.length
  const bucketOfVector = new Int32Array(distinctVectors)
  const members = new Map<number, number[]>()
  for (let row = 0; row < same.of.length; row++) {
    const group = same.of[row]!
    bucketOfVector[group] = buckets.of[row]!
    if (same.counts[group]! < 2) continue
    const rows = members.get(group)
    if (rows === undefined) members.set(group, [row])
    else rows.push(row)
  }
  const vectorsInBucket = new Int32Array(buckets.counts.length)
  for (const bucket of bucketOfVector) vectorsInBucket[bucket] = vectorsInBucket[bucket]! + 1
  let collidingVectors = 0
  for (const count of vectorsInBucket) if (count > 1) collidingVectors += count
  return {
    distinctVectors,
    duplicateRows: same.of.length - distinctVectors,
    groups: [...members.values()],
    collidingVectors,
    uniqueRateOverDistinct: share(buckets.counts.length, distinctVectors),
  }
}
