/**
 * `sid refresh`: a bundle renewed for moved vectors within a churn budget, or a declared re-base.
 * Invariants: a refusal leaves no bundle; the codes of a refresh are those that its bundle encodes; a re-base has an ID space of its own.
 */

import { basename, resolve } from 'node:path'
import { SidestreamError } from '../schemas/index.ts'
import {
  bundleOf,
  collisionDefaults,
  ParentCodes,
  rebaseCodebooks,
  refreshCodebooks,
  refreshDefaults,
  relabelLimit,
  usage,
  vectorDimOf,
  withVanished,
} from '../semantic-ids/index.ts'
import type {
  Bundle,
  ChurnBudget,
  ChurnReport,
  CollisionOptions,
  CollisionReport,
  CurvePoint,
  NewItems,
  RefreshProgress,
  RememberedCodes,
} from '../semantic-ids/index.ts'
import { readBundleDirectory, requireFree, writeBundleDirectory } from './bundle-directory.ts'
import { fitStands, itemBatches, spaceName } from './sid-bundle.ts'
import { itemTraffic, readItemCodes } from './sid-items.ts'
import type { ItemCodes, ItemTable } from './sid-items.ts'
import { readSuffixes, suffixCount, suffixesOf } from './sid-suffixes.ts'
import type { PublishedSuffixes } from './sid-suffixes.ts'
import { allVectors } from './sid-vectors.ts'
import type { HeldVectors, OnRows, VectorFile } from './sid-vectors.ts'

export interface SidRefreshFiles extends VectorFile {
  /** Directory of the bundle to renew. */
  readonly bundle: string
  /**
   * Published codes: a `codes` file or the directory of a bundle. Items that they lack are looked up among those that `bundle` remembers.
   * @default those of `bundle`
   */
  readonly codes?: string
  /** Directory of the new bundle; nothing may stand there. */
  readonly out: string
  /** How much may change, or a new ID space in which everything may. */
  readonly plan: SidRefreshPlan
  readonly traffic?: ItemTable
  /**
   * Numbers the items of each ID; who keeps a published ID keeps the number that stands beside it in `codes` (`item_to_sid.parquet` or a column
   * `suffix`). true: also where none stand there, anew then.
   * @default whether `bundle` or `codes` have numbers
   */
  readonly suffix?: boolean
  /** Most items of one ID; null: no bound. @default that of `bundle` */
  readonly capacity?: number | null
  /** Refused when less than this share of the published items is in the file. @default 0.5 */
  readonly minShared?: number
  /** @default those of `bundle` */
  readonly duplicates?: CollisionOptions['duplicates']
  /** @default 1 */
  readonly seed?: number
  /** @default 1 */
  readonly threads?: number
  readonly onProgress?: (progress: SidRefreshProgress) => void
  readonly signal?: AbortSignal
}

export type SidRefreshPlan =
  | {
      readonly kind: 'refresh'
      readonly budget: ChurnBudget
      /** Most distortion relative to a free fit. @default 1.25 */
      readonly ceiling?: number
      /** Vectors of then: codebooks are first rotated to where the items are now. */
      readonly rotateFrom?: VectorFile
      /** Ends of the blocks that are rotated apart, the last one the dimension. @default one block */
      readonly rotateBlocks?: readonly number[]
    }
  | { readonly kind: 're-base'; readonly relabel: 'none' | 'first' | 'all' }

/** @param share - of this phase that is done, up to 1 @param note - where it stands */
export interface SidRefreshProgress {
  readonly phase: 'read' | 'search' | 'fit'
  readonly share: number
  readonly note: string
}

export const sidRefreshDefaults = { seed: 1, minShared: 0.5, ceiling: refreshDefaults.ceiling } as const

/** One switching cost that was tried; `delta: null` never leaves an old code. */
export type SidCurvePoint = Omit<CurvePoint, 'delta'> & { readonly delta: number | null }

/** What came of it; the bundle's `metrics.json`. */
export interface SidRefreshed {
  readonly kind: SidRefreshPlan['kind']
  readonly idSpace: string
  readonly items: {
    readonly known: number
    /** Of the known ones: those that were away. */
    readonly returned: number
    readonly fresh: number
    /** Away: a refresh remembers their IDs, a re-base nobody's. */
    readonly vanished: number
    /** Away for so long that their ID is given up. */
    readonly forgotten: number
  }
  /** Among the items that had an ID; null where IDs cannot be compared. */
  readonly churn: ChurnReport | null
  readonly fvu: number
  /** Of a free fit on the same vectors; null for a re-base, which is one. */
  readonly freeFvu: number | null
  readonly distortion: number
  readonly uniqueRate: number
  readonly maxBucket: number
  readonly delta: number | null
  readonly newItems: NewItems | null
  /** Every switching cost tried, ascending; empty for a re-base. */
  readonly curve: readonly SidCurvePoint[]
  /** Whether all IDs stayed because of the finite-scalar level: bound the prefix in front of it instead. */
  readonly frozenByFsq: boolean
  /** What the capacity moved; null without one. */
  readonly collisions: CollisionReport | null
  /** Numbers that the fullest ID needs; null without a suffix. */
  readonly suffixes: number | null
  /** Items that keep their published number; null without a suffix. */
  readonly keptSuffixes: number | null
  /** That of the bundle before; null without one. */
  readonly capacityBefore: number | null
  /** Share of items with the old code per level, before and after renaming; null without. */
  readonly relabel: {
    readonly levels: readonly ({ readonly before: number; readonly after: number } | null)[]
    readonly limit: string
  } | null
}

/**
 * Renews a bundle and writes it.
 * @throws SIDESTREAM_BUDGET_REFUSED with `details.curve`; SIDESTREAM_USAGE_INVALID for bounds that are no shares, a directory that is not
 *   empty, bundles that cannot be refreshed, and published codes that lack the suffixes of the bundle; SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_ID_INVALID, SIDESTREAM_ITEMS_TOO_FEW,
 *   SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT, SIDESTREAM_FILE_INVALID, SIDESTREAM_FILE_UNREADABLE
 */
export async function sidRefreshFiles(files: SidRefreshFiles): Promise<SidRefreshed> {
  const { plan, onProgress, signal } = files
  const onRows: OnRows = (rows, share) => onProgress?.({ phase: 'read', share, note: `${rows} vectors` })
  const out = resolve(files.out)
  await requireFree(out)
  const stored = await readBundleDirectory(files.bundle)
  const parent = stored.bundle
  const published = await readItemCodes(files.codes ?? files.bundle)
  const had = stored.manifest.about['suffix'] === true
  const before = plan.kind === 'refresh' ? await publishedSuffixes(published, had, files) : undefined
  const items = await allVectors(files, vectorDimOf(parent.codebooks, parent.network), onRows, signal)
  const weights = files.traffic && (await itemTraffic(files.traffic, new Map(items.ids.map((id, row) => [id, row]))))
  const given = {
    ...withVanished(published, parent.parents, items.ids),
    ids: items.ids,
    vectors: items.vectors,
    ...(weights && { weights }),
    ...capacityOf(parent, files),
  }
  if (plan.kind === 'refresh') requireShared(published, given, files)
  const { bundle, codes, ...result } =
    plan.kind === 'refresh' ? await refreshed(parent, stored.manifest.name, given, plan, files) : await rebased(parent, given, plan, files)
  const { sizes } = bundle.codebooks
  const { uniqueRate, maxBucket } = usage(codes, sizes)
  const numbered = (files.suffix ?? (had || before !== undefined)) ? suffixesOf(items.ids, codes, sizes, before) : undefined
  const metrics: SidRefreshed = {
    ...result,
    kind: plan.kind,
    idSpace: bundle.origin.idSpace,
    uniqueRate,
    maxBucket,
    suffixes: numbered ? suffixCount(numbered.suffixes) : null,
    keptSuffixes: numbered?.kept ?? null,
  }
  const table = { items: itemBatches(items.ids, codes, sizes.length, numbered?.suffixes), suffix: numbered !== undefined }
  await writeBundleDirectory(out, { bundle, ...table, metrics: { ...metrics } })
  return metrics
}

/**
 * Published codes with the numbers beside them; undefined where there are none.
 * @param had - whether the bundle has numbers
 * @throws SIDESTREAM_USAGE_INVALID when it has, and published codes of another place have none: they would be lost without a word
 */
async function publishedSuffixes(
  published: ItemCodes,
  had: boolean,
  { bundle, suffix }: SidRefreshFiles,
): Promise<PublishedSuffixes | undefined> {
  if (suffix === false) return undefined
  const suffixes = await readSuffixes(published)
  if (suffixes !== undefined) return { ...published, suffixes }
  if (!had || suffix === true) return undefined
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `${bundle} has suffixes, ${published.file} none: give published codes with a column suffix, or a bundle with suffixes; --suffix numbers all items anew`,
  )
}

/** Nearest items that new items are looked up by. */
const recallNeighbors = 10

/** Taken over from the parent, but for what is given. @throws SIDESTREAM_USAGE_INVALID */
function capacityOf({ collisions: before }: Bundle, { capacity = before?.capacity ?? null, duplicates }: SidRefreshFiles): CapacityOf {
  if (capacity === null && duplicates !== undefined)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'duplicates take places of a capacity: give a capacity, or leave them out')
  const rule = duplicates ?? before?.duplicates ?? collisionDefaults.duplicates
  return { capacityBefore: before?.capacity ?? null, ...(capacity !== null && { collisions: { capacity, duplicates: rule } }) }
}

interface CapacityOf {
  readonly capacityBefore: number | null
  readonly collisions?: Required<CollisionOptions>
}

interface Given extends RememberedCodes, CapacityOf {
  readonly ids: readonly string[]
  readonly vectors: Float32Array
  readonly weights?: Float64Array
}

interface Renewed extends Omit<SidRefreshed, 'kind' | 'idSpace' | 'uniqueRate' | 'maxBucket' | 'suffixes' | 'keptSuffixes'> {
  readonly bundle: Bundle
  readonly codes: Uint16Array
}

async function refreshed(
  parent: Bundle,
  name: string,
  given: Given,
  { budget, ceiling, rotateFrom, rotateBlocks }: Extract<SidRefreshPlan, { kind: 'refresh' }>,
  { in: file, seed = sidRefreshDefaults.seed, threads = 1, onProgress, signal }: SidRefreshFiles,
): Promise<Renewed> {
  const { dim } = parent.codebooks
  const { collisions, capacityBefore } = given
  const earlier = rotateFrom && (await earlierVectors(await allVectors(rotateFrom, dim), given, rotateFrom.in))
  const found = await refreshCodebooks(
    { bundle: parent, ...given },
    {
      ...{ budget, seed, threads, recall: { k: recallNeighbors } },
      onProgress: (progress) => onProgress?.(progress.phase === 'fit' ? { phase: 'fit', ...fitStands(progress) } : searchStands(progress)),
      ...(ceiling !== undefined && { ceiling }),
      ...(collisions && { collisions }),
      ...(earlier && { rotation: { earlier, ...(rotateBlocks && { ends: rotateBlocks }) } }),
      ...(signal && { signal }),
    },
  )
  const items = countsOf(given, found.items.known)
  const bundle = bundleOf({
    codebooks: found.codebooks,
    settings: found.settings,
    delta: found.delta,
    parents: found.parents,
    ...(collisions && { collisions }),
    ...(found.moves && { moves: found.moves }),
    origin: {
      parent: name,
      idSpace: parent.origin.idSpace,
      input: { file: basename(file), dim, items: given.ids.length },
      training: { algorithm: 'refit-first sticky-lloyd', seed },
      policy: { ...found.policy, items, capacityBefore },
    },
  })
  const { codes, churn, fvu, freeFvu, distortion } = found
  return {
    ...{ bundle, codes, items, churn, fvu, freeFvu, distortion },
    delta: finite(found.delta),
    newItems: found.newItems ?? null,
    collisions: found.collisions ?? null,
    capacityBefore,
    curve: sidCurve(found.curve),
    frozenByFsq: found.frozenByFsq,
    relabel: null,
  }
}

async function rebased(
  parent: Bundle,
  given: Given,
  { relabel }: Extract<SidRefreshPlan, { kind: 're-base' }>,
  { in: file, seed = sidRefreshDefaults.seed, threads = 1, onProgress, signal }: SidRefreshFiles,
): Promise<Renewed> {
  if (parent.network !== undefined) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      'a bundle with a network (RQ-VAE) is not re-based from its codebooks: train it anew with sid fit --method rq-vae',
    )
  }
  const { codebooks, settings, origin } = parent
  const { dim, sizes, levels, penalties, fsq } = codebooks
  const { collisions, capacityBefore } = given
  const rebase = await rebaseCodebooks(
    { ...given, dim, idSpace: origin.idSpace },
    {
      idSpace: (fitted) => spaceName(fitted.levels, origin.idSpace),
      relabel,
      ...(collisions && { collisions }),
      fit: {
        ...{ seed, threads, sizes: sizes.slice(0, levels.length), normalize: settings.normalize },
        ...(settings.normalizeResiduals && { normalizeResiduals: true }),
        ...(settings.beam !== undefined && { beam: settings.beam }),
        ...(penalties && { balance: {} }),
        ...(fsq && { fsqDigits: fsq.digits }),
        onProgress: (progress) => onProgress?.({ phase: 'fit', ...fitStands(progress) }),
        ...(signal && { signal }),
      },
    },
  )
  const bundle = bundleOf({
    codebooks: rebase.codebooks,
    settings: rebase.settings,
    delta: 0,
    parents: ParentCodes.empty(sizes.length),
    ...(collisions && { collisions }),
    ...(rebase.moves && { moves: rebase.moves }),
    origin: {
      parent: null,
      idSpace: rebase.idSpace,
      input: { file: basename(file), dim, items: given.ids.length },
      training: rebase.training,
      policy: { ...rebase.policy, capacityBefore },
    },
  })
  const { codes, fvu, distortion, churn, relabel: names } = rebase
  const items = countsOf(given, given.ids.length - missing(given))
  return {
    ...{ bundle, codes, items, fvu, distortion },
    churn: churn ?? null,
    freeFvu: null,
    delta: 0,
    newItems: null,
    collisions: rebase.collisions ?? null,
    capacityBefore,
    curve: [],
    frozenByFsq: false,
    relabel: names
      ? {
          levels: names.levels.map((level) => (level ? { before: level.agreementBefore, after: level.agreementAfter } : null)),
          limit: relabelLimit,
        }
      : null,
  }
}

function countsOf({ parents, ids, returned, forgotten }: Given, known: number): SidRefreshed['items'] {
  return { known, returned, fresh: ids.length - known, vanished: parents.rows - known, forgotten }
}

/** Most of a catalogue does not vanish: a cut export would move all codebooks to its items. @throws SIDESTREAM_SHAPE_MISMATCH */
function requireShared(published: ItemCodes, given: Given, { in: file, minShared = sidRefreshDefaults.minShared }: SidRefreshFiles): void {
  const there = given.ids.length - missing(given) - given.returned
  const all = published.ids.length
  // None at all is refused with ids of both, to compare.
  if (there + given.returned === 0 || there >= minShared * all) return
  throw new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `${file} holds ${there} of the ${all} items of ${published.file}, less than ${minShared} of them: check that it is whole, or set --min-shared to what is enough`,
  )
}

/** Items without an earlier ID. */
function missing({ parents, ids }: Given): number {
  const old = parents.lookup(ids)
  return ids.filter((_, row) => old[row * parents.levels]! < 0).length
}

/** Vectors of then in the order of the items now. @throws SIDESTREAM_FILE_INVALID when a published item has none */
async function earlierVectors(held: HeldVectors, { parents, ids }: Given, file: string): Promise<Float32Array> {
  const { dim } = held
  const rowOf = new Map(held.ids.map((id, row) => [id, row]))
  const old = parents.lookup(ids)
  const out = new Float32Array(ids.length * dim)
  for (const [row, id] of ids.entries()) {
    const from = rowOf.get(id)
    if (from !== undefined) out.set(held.vectors.subarray(from * dim, (from + 1) * dim), row * dim)
    else if (old[row * parents.levels]! >= 0)
      throw new SidestreamError(
        'SIDESTREAM_FILE_INVALID',
        `${file}: lacks the earlier vector of ${JSON.stringify(id)}, which has codes: give it`,
      )
  }
  return out
}

function searchStands({ tried, most, point }: Extract<RefreshProgress, { phase: 'search' }>): SidRefreshProgress {
  const { delta, churn } = point
  return {
    phase: 'search',
    share: tried / most,
    note: `cost ${tried}: ${delta === Infinity ? 'infinite' : Number(delta.toPrecision(4))}, changes ${(100 * churn).toFixed(2)} % of the IDs`,
  }
}

/** A curve as plain JSON. */
export function sidCurve(curve: readonly CurvePoint[]): SidCurvePoint[] {
  return curve.map((point) => ({ ...point, delta: finite(point.delta) }))
}

function finite(delta: number): number | null {
  return delta === Infinity ? null : delta
}
