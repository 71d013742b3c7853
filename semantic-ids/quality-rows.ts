/**
 * The figures of a report as a tidy table: one row per figure, level, prefix and slice.
 * Invariant: a figure has one name for ever; names are only ever added.
 */

import type { ChurnReport } from './churn.ts'
import type { Figures } from './quality-figures.ts'
import type { PerSlice, Slice } from './quality-slices.ts'

export type QualityScope = 'id' | 'level' | 'prefix' | 'churn'

/** One figure. */
export interface QualityRow {
  /** What a gate calls it: `uniqueRate`, `level1.dead`, `prefix2.purity`, `churn.full`, `tail.prefix2.hitRecall`. */
  readonly figure: string
  /** What it is about: whole IDs, one level's codes, prefixes of one length, or what changed. */
  readonly scope: QualityScope
  /** 1 for the first; null where it is not about one level. */
  readonly level: number | null
  /** Codes of the prefix; null where it is not about prefixes of one length. */
  readonly prefix: number | null
  readonly slice: Slice
  readonly metric: string
  /** Null where nothing stands behind it. */
  readonly value: number | null
  /** The same over the items that before and after both hold: `value` where those are all. Null without an assignment before. */
  readonly shared: number | null
  /** Of the assignment before, over the items of `shared`; null without one. */
  readonly before: number | null
  /** shared - before. */
  readonly delta: number | null
  /** Items, queries or pairs behind `value`. */
  readonly support: number
  /** Which way is better; null where neither is. */
  readonly better: 'higher' | 'lower' | null
}

type Better = QualityRow['better']

interface Metric<T> {
  readonly better: Better
  /** Undefined: its input was not given, and there is no row. */
  readonly of: (figures: Figures, one: T) => number | null | undefined
  readonly support?: (figures: Figures, one: T) => number | null | undefined
}

const idMetrics: Readonly<Record<string, Metric<undefined>>> = {
  items: { better: null, of: ({ usage }) => usage.items },
  distinct: { better: null, of: ({ usage }) => usage.distinct },
  uniqueRate: { better: 'higher', of: ({ usage }) => usage.uniqueRate },
  uniformUniqueRate: { better: null, of: ({ usage }) => usage.uniformUniqueRate },
  uniquelyIdentified: { better: 'higher', of: ({ usage }) => usage.uniquelyIdentified },
  uniquelyIdentifiedOfAll: { better: 'higher', of: (figures) => figures.uniquelyIdentifiedOfAll },
  maxBucket: { better: 'lower', of: ({ usage }) => usage.maxBucket },
  p99Bucket: { better: 'lower', of: ({ usage }) => usage.p99Bucket },
  gini: { better: 'lower', of: ({ usage }) => usage.gini },
  entropy: { better: 'higher', of: ({ usage }) => usage.entropy },
  entropyRatioCapacity: { better: 'higher', of: ({ usage }) => usage.entropyRatioCapacity },
  entropyRatioAttainable: { better: 'higher', of: ({ usage }) => usage.entropyRatioAttainable },
  distortion: { better: 'lower', of: ({ distortion }) => distortion?.distortion },
  meanSquaredError: { better: 'lower', of: ({ distortion }) => distortion?.meanSquaredError },
  fvu: { better: 'lower', of: ({ distortion }) => distortion?.fvu },
  meanCosine: { better: 'higher', of: ({ distortion }) => distortion?.meanCosine },
  distinctVectors: { better: null, of: ({ duplicates }) => duplicates?.distinctVectors },
  duplicateRows: { better: null, of: ({ duplicates }) => duplicates?.duplicateRows },
  duplicateGroups: { better: null, of: ({ duplicates }) => duplicates?.duplicateGroups },
  collidingVectors: { better: 'lower', of: ({ duplicates }) => duplicates?.collidingVectors },
  collidingRate: { better: 'lower', of: ({ duplicates }) => duplicates?.collidingRate },
  uniqueRateOverDistinct: { better: 'higher', of: ({ duplicates }) => duplicates?.uniqueRateOverDistinct },
}

/** `one` = the level, from 0. */
const levelMetrics: Readonly<Record<string, Metric<number>>> = {
  used: { better: 'higher', of: ({ usage }, level) => usage.levels[level]!.used },
  coverage: { better: 'higher', of: ({ usage }, level) => usage.levels[level]!.coverage },
  dead: { better: 'lower', of: ({ usage }, level) => usage.levels[level]!.dead },
  entropy: { better: 'higher', of: ({ usage }, level) => usage.levels[level]!.entropy },
  perplexity: { better: 'higher', of: ({ usage }, level) => usage.levels[level]!.perplexity },
  headShare: { better: 'lower', of: ({ usage }, level) => usage.levels[level]!.headShare },
  residualNorm: { better: 'lower', of: ({ distortion }, level) => distortion?.residualNorms[level] },
  residualEnergy: { better: 'lower', of: ({ distortion }, level) => distortion?.residualEnergy[level] },
}

/** `one` = the index of the length. */
const prefixMetrics: Readonly<Record<string, Metric<number>>> = {
  prefixes: { better: null, of: ({ prefixes }, at) => prefixes[at]!.prefixes },
  purity: {
    better: 'higher',
    of: ({ prefixes, labelled }, at) => (labelled === null ? undefined : prefixes[at]!.purity),
    support: ({ labelled }) => labelled,
  },
  cohesionPairs: {
    better: 'higher',
    of: ({ prefixes, duplicates }, at) => (duplicates === null ? undefined : prefixes[at]!.cohesionPairs),
  },
  cohesionMacro: {
    better: 'higher',
    of: ({ prefixes, duplicates }, at) => (duplicates === null ? undefined : prefixes[at]!.cohesionMacro),
  },
  hitPrecision: {
    better: 'higher',
    of: ({ prefixes }, at) => (prefixes[at]!.queries === null ? undefined : prefixes[at]!.hitPrecision),
    support: ({ prefixes }, at) => prefixes[at]!.queriesWithNeighbors,
  },
  hitRecall: {
    better: 'higher',
    of: ({ prefixes }, at) => (prefixes[at]!.queries === null ? undefined : prefixes[at]!.hitRecall),
    support: ({ prefixes }, at) => prefixes[at]!.queries,
  },
  queriesWithNeighbors: {
    better: null,
    of: ({ prefixes }, at) => prefixes[at]!.queriesWithNeighbors ?? undefined,
    support: ({ prefixes }, at) => prefixes[at]!.queries,
  },
  coOccurrenceRecall: {
    better: 'higher',
    of: ({ prefixes, pairs }, at) => (pairs === null ? undefined : prefixes[at]!.coOccurrenceRecall),
    support: ({ pairs }) => pairs,
  },
}

/** What is laid out as rows. */
interface Measured {
  readonly after: PerSlice<Figures>
  readonly shared: PerSlice<Figures> | null
  readonly before: PerSlice<Figures> | null
  readonly churn: PerSlice<ChurnReport> | null
}

/** All figures of a report, slice by slice: whole IDs, levels, prefixes, churn. */
export function qualityRows(levelCount: number, { after, shared, before, churn }: Measured): QualityRow[] {
  const slices = Object.keys(after) as Slice[]
  const levels = Array.from({ length: levelCount }, (_, level) => level)
  return slices.flatMap((slice) => {
    const own = { slice, after: after[slice]!, shared: (shared ?? after)[slice] ?? null, before: before?.[slice] ?? null }
    return [
      ...rowsOf(idMetrics, own, { scope: 'id', level: null, prefix: null }, undefined),
      ...levels.flatMap((level) => rowsOf(levelMetrics, own, { scope: 'level', level: level + 1, prefix: null }, level)),
      ...levels.flatMap((level) => rowsOf(prefixMetrics, own, { scope: 'prefix', level: null, prefix: level + 1 }, level)),
      ...(churn?.[slice] === undefined ? [] : churnRows(churn[slice], slice)),
    ]
  })
}

interface Sides {
  readonly slice: Slice
  readonly after: Figures
  readonly shared: Figures | null
  readonly before: Figures | null
}

type Place = Pick<QualityRow, 'scope' | 'level' | 'prefix'>

function rowsOf<T>(
  metrics: Readonly<Record<string, Metric<T>>>,
  { slice, after, shared, before }: Sides,
  place: Place,
  one: T,
): QualityRow[] {
  return Object.entries(metrics).flatMap(([metric, { better, of, support }]) => {
    const value = of(after, one)
    if (value === undefined) return []
    const old = before === null ? null : (of(before, one) ?? null)
    const held = before === null || shared === null ? null : (of(shared, one) ?? null)
    return {
      figure: `${sliceText(slice)}${placeText(place)}${metric}`,
      ...place,
      slice,
      metric,
      value,
      shared: held,
      before: old,
      delta: held === null || old === null ? null : difference(held, old),
      support: support?.(after, one) ?? after.usage.items,
      better,
    }
  })
}

/** Two infinities do not differ. */
function difference(value: number, before: number): number {
  return value === before ? 0 : value - before
}

function sliceText(slice: Slice): string {
  return slice === 'all' ? '' : `${slice}.`
}

function placeText({ level, prefix }: Place): string {
  return level !== null ? `level${level}.` : prefix !== null ? `prefix${prefix}.` : ''
}

function churnRows(
  { items, full, firstCode, prefix, perLevel, trafficWeighted, meanCommonPrefix }: ChurnReport,
  slice: Slice,
): QualityRow[] {
  const row = (metric: string, value: number, better: Better, at: { level?: number; prefix?: number } = {}): QualityRow => ({
    figure: `${sliceText(slice)}churn.${metric}${at.level ?? at.prefix ?? ''}`,
    scope: 'churn',
    level: at.level ?? null,
    prefix: at.prefix ?? null,
    slice,
    metric,
    value,
    shared: null,
    before: null,
    delta: null,
    support: items,
    better,
  })
  return [
    row('full', full, 'lower'),
    row('firstCode', firstCode, 'lower'),
    ...(trafficWeighted === undefined ? [] : [row('trafficWeighted', trafficWeighted, 'lower')]),
    row('meanCommonPrefix', meanCommonPrefix, 'higher'),
    ...prefix.map((value, at) => row('prefix', value, 'lower', { prefix: at + 1 })),
    ...perLevel.map((value, at) => row('level', value, 'lower', { level: at + 1 })),
  ]
}
