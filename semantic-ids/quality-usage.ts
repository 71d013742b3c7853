/**
 * How codes and whole IDs are used.
 * Invariant: exact; logarithms are natural; every figure is defined in docs/reference/semantic-id-report.md by one formula.
 */

import { checkCodes, prefixStarts, type PrefixStarts } from './buckets.ts'

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
  /** The unique rate that hashing as many items evenly into all possible IDs would give: (C / N)(1 - exp(-N / C)). */
  readonly uniformUniqueRate: number
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
  /** Distinct prefixes of 1, 2, … codes. */
  readonly prefixes: readonly number[]
  /** How many buckets hold how many items: [size, buckets], ascending. */
  readonly bucketSizes: readonly (readonly [size: number, buckets: number])[]
  readonly levels: readonly LevelUsage[]
}

/**
 * Usage of IDs and codes. All rates are 0 without items; an entropy ratio is 1 where only one value is possible.
 * @param codes - row-major, shape [items, levels]
 * @throws SIDESTREAM_SHAPE_MISMATCH for a code outside its level
 */
export function usage(codes: Uint16Array, sizes: readonly number[]): UsageReport {
  checkCodes(codes, sizes)
  return usageOf(codes, sizes, prefixStarts(codes, sizes))
}

/** `usage` of codes that were checked and whose prefixes are known. */
export function usageOf(codes: Uint16Array, sizes: readonly number[], { items, starts }: PrefixStarts): UsageReport {
  const bucketSizes = countSizes(starts.at(-1)!)
  const distinct = starts.at(-1)!.length - 1
  let entropy = 0
  let weighted = 0
  let p99Bucket = 0
  let rank = 0
  for (const [size, buckets] of bucketSizes) {
    entropy -= buckets * (size / items) * Math.log(size / items)
    weighted += size * (buckets * rank + (buckets * (buckets + 1)) / 2)
    rank += buckets
    if (p99Bucket === 0 && rank >= Math.ceil(0.99 * distinct)) p99Bucket = size
  }
  const logCapacity = sizes.reduce((sum, size) => sum + Math.log(size), 0)
  return {
    items,
    distinct,
    uniqueRate: share(distinct, items),
    uniformUniqueRate: uniformUniqueRate(items, sizes),
    uniquelyIdentified: share(bucketSizes[0]?.[0] === 1 ? bucketSizes[0][1] : 0, items),
    maxBucket: bucketSizes.at(-1)?.[0] ?? 0,
    p99Bucket,
    gini: items === 0 ? 0 : (2 * weighted) / (distinct * items) - (distinct + 1) / distinct,
    entropy,
    entropyRatioCapacity: logCapacity > 0 ? entropy / logCapacity : 1,
    entropyRatioAttainable: attainable(entropy, Math.min(Math.log(items), logCapacity)),
    prefixes: starts.map((own) => own.length - 1),
    bucketSizes,
    levels: sizes.map((size, level) => levelUsage(codes, level, sizes.length, size, items)),
  }
}

/** [size, groups of that size], ascending. @param starts - where groups begin and the last one ends */
function countSizes(starts: Uint32Array): [number, number][] {
  // Nearly all groups are small: those are counted without a look-up.
  const small = new Uint32Array(1024)
  const counts = new Map<number, number>()
  for (let group = 0; group + 1 < starts.length; group++) {
    const size = starts[group + 1]! - starts[group]!
    if (size < small.length) small[size]!++
    else counts.set(size, (counts.get(size) ?? 0) + 1)
  }
  const large = [...counts].sort(([a], [b]) => a - b)
  return [...[...small.entries()].filter(([, count]) => count > 0), ...large]
}

/** (C / N)(1 - exp(-N / C)) with C the product of the sizes, which may be larger than any number of JavaScript's. */
function uniformUniqueRate(items: number, sizes: readonly number[]): number {
  if (items === 0) return 0
  const load = sizes.reduce((rest, size) => rest / size, items)
  return load < Number.MIN_VALUE ? 1 : -Math.expm1(-load) / load
}

function attainable(entropy: number, most: number): number {
  return most > 0 ? entropy / most : 1
}

function levelUsage(codes: Uint16Array, level: number, levels: number, size: number, items: number): LevelUsage {
  const histogram = new Int32Array(size)
  for (let at = level; at < codes.length; at += levels) histogram[codes[at]!]!++
  let used = 0
  let most = 0
  let entropy = 0
  for (const count of histogram) {
    if (count === 0) continue
    used++
    if (count > most) most = count
    entropy -= (count / items) * Math.log(count / items)
  }
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

/** part / whole, 0 of nothing. */
export function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}
