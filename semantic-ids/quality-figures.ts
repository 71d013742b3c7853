/**
 * All figures of one assignment, over everything or over a slice of it.
 * Invariant: a figure whose input was not given is null, never a zero.
 */

import { orderAmong, rowsAt, type Groups, type PrefixOrder } from './buckets.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { neighborHits, type Neighbors } from './neighbor-hits.ts'
import { reconstruction, type ReconstructionReport } from './quality-distortion.ts'
import { duplicateCounts, type DuplicateCounts } from './quality-duplicates.ts'
import { coOccurrenceRecall, prefixCohesion, prefixPurity, type DenseLabels } from './quality-prefixes.ts'
import { share, usageOf, type UsageReport } from './quality-usage.ts'

/** Figures of the prefixes of one length. Each is null where its input was not given or nothing stands behind it. */
export interface PrefixFigures {
  /** Codes of the prefix. */
  readonly length: number
  /** Distinct prefixes. */
  readonly prefixes: number
  /** Share of labelled items with the commonest label of their prefix. */
  readonly purity: number | null
  /** Mean cosine over pairs of items that share the prefix. */
  readonly cohesionPairs: number | null
  /** Mean over prefixes of the mean cosine inside. */
  readonly cohesionMacro: number | null
  /** Share of the others in the prefix that are among the k nearest. */
  readonly hitPrecision: number | null
  /** Share of the k nearest that are in the prefix. */
  readonly hitRecall: number | null
  readonly queries: number | null
  /** Queries behind `hitPrecision`. */
  readonly queriesWithNeighbors: number | null
  /** Share of co-occurring pairs with the same prefix. */
  readonly coOccurrenceRecall: number | null
}

/** Duplicates and genuine collisions as counts. */
export interface DuplicateFigures extends DuplicateCounts {
  /** collidingVectors / distinctVectors. */
  readonly collidingRate: number
}

export interface Figures {
  readonly usage: UsageReport
  /** Items alone in their bucket when all items are counted, not those of the slice only / items. */
  readonly uniquelyIdentifiedOfAll: number
  readonly distortion: ReconstructionReport | null
  readonly duplicates: DuplicateFigures | null
  readonly prefixes: readonly PrefixFigures[]
  /** Items with a label; null without labels. */
  readonly labelled: number | null
  /** Co-occurring pairs that were counted; null without pairs. */
  readonly pairs: number | null
}

/** One assignment with what it is judged by. */
export interface Assignment {
  readonly codes: Uint16Array
  readonly sizes: readonly number[]
  readonly vectors: Float32Array | undefined
  readonly dim: number
  /** What entered the walk, and the codebooks that it walked. */
  readonly quantizer:
    | {
        readonly vectors: Float32Array
        readonly codebooks: Codebooks
        readonly settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>
      }
    | undefined
  readonly labels: DenseLabels | undefined
  readonly pairs: ArrayLike<number> | undefined
  readonly neighbors: Neighbors | undefined
  /** Groups of equal vectors; there where vectors are. */
  readonly same: Groups | undefined
  /** Of all items. */
  readonly order: PrefixOrder
}

/** Some of the items. */
export interface SomeRows {
  /** Ascending. */
  readonly rows: Uint32Array
  /** 1 for each of them, shape [items]. */
  readonly mask: Uint8Array
}

/**
 * Figures over all items, or over `some` of them: usage, distortion, duplicates, purity and cohesion count these rows alone; hits and
 * co-occurrence ask from them, but find among all items.
 */
export function figuresOf(assignment: Assignment, some?: SomeRows): Figures {
  const { sizes, dim, vectors, quantizer, labels, pairs, neighbors, same, order: all } = assignment
  const { rows, mask } = some ?? {}
  const codes = rows === undefined ? assignment.codes : rowsAt(assignment.codes, rows, sizes.length)
  const order = some === undefined ? all : orderAmong(all, some.mask)
  const own = rows === undefined || labels === undefined ? labels : { ...labels, labelled: labelledAmong(labels, rows) }
  const twins = same === undefined ? undefined : duplicateCounts(same, order)
  const cohesion = vectors === undefined ? undefined : prefixCohesion(order, vectors, dim)
  return {
    usage: usageOf(codes, sizes, order),
    uniquelyIdentifiedOfAll: share(aloneOf(all, mask), order.items),
    distortion:
      quantizer === undefined ? null : reconstruction(quantizer.vectors, assignment.codes, quantizer.codebooks, quantizer.settings, rows),
    duplicates: twins === undefined ? null : { ...twins, collidingRate: share(twins.collidingVectors, twins.distinctVectors) },
    prefixes: sizes.map((_, level) => {
      const length = level + 1
      const hits = neighbors === undefined ? undefined : neighborHits(all, length, neighbors, mask)
      return {
        length,
        prefixes: order.starts[level]!.length - 1,
        purity: own === undefined ? null : prefixPurity(order, length, own),
        cohesionPairs: cohesion?.[level]!.pairs ?? null,
        cohesionMacro: cohesion?.[level]!.macro ?? null,
        hitPrecision: hits?.precision ?? null,
        hitRecall: hits?.recall ?? null,
        queries: hits?.queries ?? null,
        queriesWithNeighbors: hits?.queriesWithNeighbors ?? null,
        coOccurrenceRecall: pairs === undefined ? null : coOccurrenceRecall(all, length, pairs, mask),
      }
    }),
    labelled: own?.labelled ?? null,
    pairs: pairs === undefined ? null : countPairs(pairs, mask),
  }
}

function labelledAmong({ of }: DenseLabels, rows: Uint32Array): number {
  let count = 0
  for (const row of rows) if (of[row]! >= 0) count++
  return count
}

/** Items alone in their bucket, of those of the mask. */
function aloneOf({ order, starts }: PrefixOrder, mask?: Uint8Array): number {
  const bounds = starts.at(-1)!
  let alone = 0
  for (let bucket = 0; bucket + 1 < bounds.length; bucket++) {
    if (bounds[bucket + 1]! - bounds[bucket]! === 1 && (mask === undefined || mask[order[bounds[bucket]!]!] === 1)) alone++
  }
  return alone
}

function countPairs(pairs: ArrayLike<number>, mask?: Uint8Array): number {
  if (mask === undefined) return pairs.length / 2
  let count = 0
  for (let at = 0; at < pairs.length; at += 2) count += mask[pairs[at]!]!
  return count
}
