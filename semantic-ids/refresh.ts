/**
 * Renews codebooks for moved vectors while at most a given share of the published items changes its semantic ID.
 * Centroids are first refitted on the new vectors under the old codes, then sticky rounds (assign, refit); the switching cost is
 * searched for: the lowest distortion whose churn stays within the budget. More distortion than the ceiling allows is refused.
 * Invariant: what is returned never exceeds the budget, and `encodeSticky` with the returned codebooks, table and delta gives the
 * returned codes, but for the returned moves; the same items give the same bytes in any order of arrival.
 *
 * Penalties and a finite-scalar level stay as they are: codebooks are refitted under the penalties, codes of the finite-scalar level
 * follow from what the others leave (so only an infinite cost keeps them; bound `prefix` rather than `full` with such a level).
 */

import { SidestreamError } from '../schemas/index.ts'
import type { BalanceOptions } from './balanced.ts'
import { collisionDefaults } from './capacity.ts'
import type { ChurnReport } from './churn.ts'
import { budgetText, checkBudget, type ChurnBudget } from './churn-budget.ts'
import { CodebookWalk } from './codebook-walk.ts'
import type { Codebooks, EncodeSettings, Quantizer } from './codebooks.ts'
import { resolveCollisions, type CollisionOptions, type CollisionReport } from './collisions.ts'
import { fitWithCrew } from './fit.ts'
import { fitDefaults, type FitProgress } from './fit-options.ts'
import { frozenByFsq } from './frozen-ids.ts'
import { Moves } from './moves.ts'
import { judgeNewItems, type NewItems, type RecallOptions } from './new-items.ts'
import type { ParentCodes } from './parent-codes.ts'
import { reconstruction } from './quality-distortion.ts'
import {
  cohortOf,
  inOrderOf,
  pick,
  requireKnown,
  requireSpread,
  requireSameSizes,
  type Cohort,
  type RefreshInput,
} from './refresh-cohort.ts'
import { searchDelta, type CurvePoint, type SearchProgress } from './refresh-search.ts'
import { codebooksBack, rotationOnto, type Rotation } from './rotation.ts'
import { withTwins } from './twins.ts'
import { preparedFloat32 } from './encode.ts'
import { Crew } from './walk-pool.ts'

export interface RefreshOptions {
  readonly budget: ChurnBudget
  /** Seed of the free fit that the ceiling is measured against. */
  readonly seed: number
  /**
   * Most distortion relative to a free fit on the same vectors. Higher: re-bases are rarer, IDs describe items less well.
   * @default 1.25
   */
  readonly ceiling?: number
  /** FVU of a free fit on the same vectors if it is known; left out: it is fitted. */
  readonly freeFvu?: number
  /** Of the free fit, where the codebooks have penalties. @default those of the fit */
  readonly balance?: BalanceOptions
  /**
   * Rotates the codebooks to where the items are now, before anything else. It leaves codes with items as they would be without it;
   * codes without items, and a finite-scalar level, come along.
   */
  readonly rotation?: {
    /** Earlier vectors of the same items, row-major float32, shape [ids.length, dim]; rows of new items are not read. */
    readonly earlier: Float32Array
    /** Ends of the blocks, see `rotationOnto`. @default one block */
    readonly ends?: readonly number[]
  }
  /**
   * Bounds the items of one ID. New items and those that leave their ID make room, items that keep it never move; every trial of the
   * search is judged with its moves. Left out: no bound.
   */
  readonly collisions?: CollisionOptions
  /** Judges new items by their neighbors, too. */
  readonly recall?: RecallOptions
  /** Rounds of sticky assignment and refit. @default 5 */
  readonly rounds?: number
  /** Bisections of the switching cost, behind those that are always tried. @default 8 */
  readonly steps?: number
  /** Largest switching cost that is searched; beyond it old codes are never left. @default 4 */
  readonly largestDelta?: number
  /** Lloyd rounds of the free fit. @default 25 */
  readonly iterations?: number
  /** Worker threads. @default 1 */
  readonly threads?: number
  /** Called after every switching cost, then after every round of the free fit. */
  readonly onProgress?: (progress: RefreshProgress) => void
  readonly signal?: AbortSignal
}

/** Where a refresh stands. */
export type RefreshProgress = ({ readonly phase: 'search' } & SearchProgress) | ({ readonly phase: 'fit' } & FitProgress)

export const refreshDefaults = {
  ceiling: 1.25,
  rounds: 5,
  steps: 8,
  largestDelta: 4,
  iterations: fitDefaults.iterations,
  threads: 1,
} as const

export interface Refresh {
  readonly codebooks: Codebooks
  /** Those of the parent; whole IDs are kept from now on. */
  readonly settings: EncodeSettings
  /** Switching cost for `Bundle.delta`; may be Infinity. */
  readonly delta: number
  /**
   * For `Bundle.parents`: the published codes and, where identical vectors go together under a bound on items per ID, those that new
   * items take from a published item with the same vector.
   */
  readonly parents: ParentCodes
  /** Codes in the order of `ids`, row-major, shape [ids.length, levels]. */
  readonly codes: Uint16Array
  /** Among items that had an ID. */
  readonly churn: ChurnReport
  /** Over all items. */
  readonly fvu: number
  /** Mean squared error over all items. */
  readonly distortion: number
  /** Items without an earlier ID, judged apart; undefined without any. */
  readonly newItems: NewItems | undefined
  /** FVU of a free fit on the same vectors. */
  readonly freeFvu: number
  /** How many items had an ID, are new, are gone. */
  readonly items: { readonly known: number; readonly fresh: number; readonly vanished: number }
  /** Every switching cost tried, ascending. */
  readonly curve: readonly CurvePoint[]
  /** Whether all IDs stayed because bounds that count the code of the finite-scalar level could not be kept otherwise; see `frozenByFsq`. */
  readonly frozenByFsq: boolean
  /** What the bound on items per ID did, and its moves for `Bundle.moves`; undefined without one. */
  readonly collisions: CollisionReport | undefined
  readonly moves: Moves | undefined
  /** Of the new vectors onto the earlier ones, where it was asked for. */
  readonly rotation: Rotation | undefined
  /** Plain JSON for the manifest (`BundleOrigin.policy`); `delta: null` in the curve is an infinite one. */
  readonly policy: Readonly<Record<string, unknown>>
}

/**
 * Refreshes codebooks under a churn budget.
 * @throws SIDESTREAM_BUDGET_REFUSED with `details.curve` when the budget leaves more distortion than the ceiling allows;
 * SIDESTREAM_ITEMS_TOO_FEW without items, or when none had an ID; SIDESTREAM_SHAPE_MISMATCH when dims or sizes changed (that takes a
 * re-base); SIDESTREAM_USAGE_INVALID for a bound that is no share or has nothing to bound, and for quantizers that cannot be refreshed (a network, unit residuals)
 */
export async function refreshCodebooks(input: RefreshInput, options: RefreshOptions): Promise<Refresh> {
  const { ceiling, threads, rounds, steps, largestDelta } = { ...refreshDefaults, ...options }
  const { budget, seed, signal, collisions, onProgress } = options
  const onTrial = onProgress && ((progress: SearchProgress): void => onProgress({ phase: 'search', ...progress }))
  const { codebooks } = input.bundle
  const { dim, sizes } = codebooks
  requireRefreshable(input.bundle)
  const settings: EncodeSettings = { ...input.bundle.settings, sticky: 'whole' }
  const together = collisions !== undefined && (collisions.duplicates ?? collisionDefaults.duplicates) === 'together'
  const cohort = cohortOf(input, dim, settings.normalize, together)
  requireSameSizes(input.parents, sizes)
  requireKnown(cohort, input.parents)
  requireSpread(cohort)
  checkBudget(budget, sizes.length, cohort.weights)
  const rotation = options.rotation && rotationOf(cohort, codebooks, settings, options.rotation)
  const start = rotation ? codebooksBack(codebooks, rotation) : codebooks
  const crew = new Crew(threads)
  try {
    const walk = await CodebookWalk.like({ codebooks: start, settings }, true, crew)
    const searching = { budget, rounds, steps, largestDelta, collisions, signal, onTrial }
    const { best, curve } = await searchDelta(cohort, start, settings, searching, walk)
    const freeFvu = options.freeFvu ?? (await freeDistortion(cohort, codebooks, settings, options, crew))
    const report = reconstruction(cohort.vectors, best.codes, best.codebooks, settings)
    const frozen = frozenByFsq(codebooks, budget, curve)
    if (report.fvu > ceiling * freeFvu + 1e-9) throw refused(report.fvu, freeFvu, ceiling, budget, best.point, curve, frozen)
    const newItems = await judgeNewItems(cohort, best.codes, best.codebooks, settings, options.recall, { seed, threads })
    const items = { known: cohort.known.length, fresh: cohort.fresh.length, vanished: input.parents.rows - cohort.known.length }
    return {
      codebooks: best.codebooks,
      settings,
      delta: best.point.delta,
      parents: withTwins(input.parents, cohort.twins, cohort.ids, cohort.old),
      codes: inOrderOf(cohort.order, best.codes, sizes.length),
      churn: best.churn,
      fvu: report.fvu,
      distortion: report.distortion,
      newItems,
      freeFvu,
      items,
      curve,
      frozenByFsq: frozen,
      collisions: best.resolution?.report,
      moves: best.resolution && Moves.of(best.resolution.moved, cohort.ids, cohort.vectors),
      rotation,
      policy: {
        kind: 'sticky-lloyd',
        rebase: false,
        budget,
        rounds,
        ceiling,
        churn: best.churn,
        fvu: report.fvu,
        freeFvu,
        items,
        newItems: newItems ?? null,
        curve: curve.map((point) => ({ ...point, delta: point.delta === Infinity ? null : point.delta })),
        ...(best.resolution && { collisions: best.resolution.report }),
        ...(frozen && { frozenByFsq: true }),
        ...(rotation && { rotation: { ends: rotation.ends } }),
      },
    }
  } finally {
    await crew.close()
  }
}

/** @throws SIDESTREAM_USAGE_INVALID */
function requireRefreshable(quantizer: Pick<Quantizer, 'settings' | 'network'>): void {
  const why = refreshRefusal(quantizer)
  if (why !== undefined)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${why}: declare a re-base with a new fit instead (a new ID space)`)
}

/** Why codebooks of this kind can be renewed by a re-base alone; undefined where they can be refreshed. */
export function refreshRefusal({ settings, network }: Pick<Quantizer, 'settings' | 'network'>): string | undefined {
  if (network !== undefined)
    return 'codebooks behind a network (RQ-VAE) cannot be refreshed: the network was trained for the vectors as they were'
  if (settings.normalizeResiduals)
    return 'codebooks over residuals of unit length cannot be refreshed: their codewords do not add up to the vector, so no distortion can be held'
  return undefined
}

/** Of the new vectors onto the earlier ones, as the quantizer sees both. */
function rotationOf(
  { known, order, x }: Cohort,
  { dim }: Codebooks,
  { normalize }: EncodeSettings,
  { earlier, ends }: NonNullable<RefreshOptions['rotation']>,
): Rotation {
  if (earlier.length !== x.length)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${x.length} numbers of new vectors came with ${earlier.length} of earlier ones`)
  const before = pick(
    earlier,
    known.map((row) => order[row]!),
    dim,
  )
  return rotationOnto(pick(x, known, dim), preparedFloat32(before, dim, normalize), dim, ends)
}

/** FVU over all rows of codebooks fitted freely on the same vectors, under the same capacity. */
async function freeDistortion(
  { vectors, ids }: Cohort,
  { dim, sizes, levels, penalties, fsq }: Codebooks,
  { normalize, beam }: EncodeSettings,
  { seed, signal, balance, collisions, iterations = refreshDefaults.iterations, onProgress }: RefreshOptions,
  crew: Crew,
): Promise<number> {
  const fit = await fitWithCrew(
    vectors,
    ids,
    dim,
    {
      sizes: sizes.slice(0, levels.length),
      seed,
      iterations,
      normalize,
      ...(beam !== undefined && { beam }),
      ...(penalties && { balance: balance ?? {} }),
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (progress) => onProgress({ phase: 'fit', ...progress }) }),
    },
    crew,
  )
  const walk = await CodebookWalk.like(fit, false, crew)
  const { codebooks, settings } = fit
  const codes = await walk.run(vectors, codebooks, settings)
  // Moves on a finite-scalar level leave the decoded vector as it is.
  if (collisions !== undefined && fsq === undefined)
    return resolveCollisions({ codes, vectors, codebooks, settings, ids }, collisions).report.fvu.after
  return reconstruction(vectors, codes, codebooks, settings).fvu
}

function refused(
  fvu: number,
  freeFvu: number,
  ceiling: number,
  budget: ChurnBudget,
  { delta, churn: share }: CurvePoint,
  curve: readonly CurvePoint[],
  frozen: boolean,
): SidestreamError {
  const why = frozen
    ? ', which no refresh keeps but one that freezes all IDs (the finite-scalar level follows from what the others leave: bound the prefix in front of it instead),'
    : ''
  const times = freeFvu === 0 ? 'infinitely' : (fvu / freeFvu).toFixed(3)
  return new SidestreamError(
    'SIDESTREAM_BUDGET_REFUSED',
    `within the churn budget of ${budgetText(budget)}${why} the codebooks leave ${times} times the distortion of a free fit (FVU ${fvu.toFixed(4)} against ${freeFvu.toFixed(4)}), above the ceiling of ${ceiling}: raise the budget or the ceiling, or declare a re-base (a new ID space)`,
    { budget, ceiling, fvu, freeFvu, delta, churn: share, curve, frozenByFsq: frozen },
  )
}
