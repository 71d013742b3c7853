/**
 * All figures of one assignment, over everything or over a slice of it.
 * Invariant: a figure whose input was not given is null, never a zero.
 */

import { prefixOrder, prefixStarts, rowsAt, type PrefixOrder } from './buckets.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { neighborHits, type Neighbors } from './neighbor-hits.ts'
import { reconstruction, type ReconstructionReport } from './quality-distortion.ts'
import { duplicatesOf, type DuplicateReport } from './quality-duplicates.ts'
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
export interface DuplicateFigures extends Omit<DuplicateReport, 'groups'> {
  /** Groups of two and more bit-identical vectors. */
  readonly duplicateGroups: number
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
  /** Of all items. */
  readonly order: PrefixOrder
}

/**
 * Figures over all items, or over `rows` of them: usage, distortion, duplicates, purity and cohesion count these rows alone; hits and
 * co-occurrence ask from them, but find among all items.
 */
export function figuresOf(assignment: Assignment, rows?: Uint32Array, mask?: Uint8Array): Figures {
  const { sizes, dim, quantizer, labels, pairs, neighbors, order: all } = assignment
  const codes = rows === undefined ? assignment.codes : rowsAt(assignment.codes, rows, sizes.length)
  const vectors = rows === undefined || assignment.vectors === undefined ? assignment.vectors : rowsAt(assignment.vectors, rows, dim)
  // Only vectors and labels ask who is in a prefix.
  const order = rows === undefined ? all : vectors === undefined && labels === undefined ? undefined : prefixOrder(codes, sizes)
  const starts = order ?? prefixStarts(codes, sizes)
  const own = rows === undefined || labels === undefined ? labels : labelsOfRows(labels, rows)
  const twins = vectors === undefined ? undefined : duplicatesOf(vectors, dim, order!)
  const quantized =
    quantizer === undefined || rows === undefined
      ? quantizer?.vectors
      : quantizer.vectors === assignment.vectors
        ? vectors
        : rowsAt(quantizer.vectors, rows, quantizer.codebooks.dim)
  return {
    usage: usageOf(codes, sizes, starts),
    uniquelyIdentifiedOfAll: share(aloneOf(all, mask), starts.items),
    distortion: quantizer === undefined ? null : reconstruction(quantized!, codes, quantizer.codebooks, quantizer.settings),
    duplicates: twins === undefined ? null : countsOf(twins),
    prefixes: sizes.map((_, level) => {
      const length = level + 1
      const cohesion = vectors === undefined ? undefined : prefixCohesion(order!, length, vectors, dim)
      const hits = neighbors === undefined ? undefined : neighborHits(all, length, neighbors, mask)
      return {
        length,
        prefixes: starts.starts[level]!.length - 1,
        purity: own === undefined ? null : prefixPurity(order!, length, own),
        cohesionPairs: cohesion?.pairs ?? null,
        cohesionMacro: cohesion?.macro ?? null,
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

function labelsOfRows({ of, count }: DenseLabels, rows: Uint32Array): DenseLabels {
  const own = Int32Array.from(rows, (row) => of[row]!)
  return { of: own, count, labelled: own.reduce((sum, label) => sum + (label < 0 ? 0 : 1), 0) }
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

function countsOf({ groups, ...twins }: DuplicateReport): DuplicateFigures {
  return { ...twins, duplicateGroups: groups.length, collidingRate: share(twins.collidingVectors, twins.distinctVectors) }
}
