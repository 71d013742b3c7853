/**
 * Renews codebooks for moved vectors while at most a given share of the published items changes its semantic ID.
 * Centroids are first refitted on the new vectors under the old codes, then sticky rounds (assign, refit); the switching cost is
 * the smallest found by bisection whose churn stays within the budget. More distortion than the ceiling allows is refused.
 * Invariant: what is returned never exceeds the budget, and `encodeSticky` with the returned codebooks and delta gives the
 * returned codes; the same items give the same bytes in any order of arrival.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Bundle } from './bundle.ts'
import { churn, type ChurnReport } from './churn.ts'
import { CodebookWalk } from './codebook-walk.ts'
import type { Codebooks } from './codebooks.ts'
import { fitDefaults, fitWithCrew } from './fit.ts'
import { reconstruction, unexplained } from './quality-distortion.ts'
import { cohortOf, pick, type ChurnBudget, type Cohort, type RefreshInput } from './refresh-cohort.ts'
import { CodeSums } from './refit.ts'
import { stickyLloyd } from './sticky-lloyd.ts'
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
  /** Rounds of sticky assignment and refit. @default 5 */
  readonly rounds?: number
  /** Bisections of the switching cost. @default 12 */
  readonly steps?: number
  /** Largest switching cost that is searched; beyond it old codes are never left. @default 4 */
  readonly largestDelta?: number
  /** Lloyd rounds of the free fit. @default 25 */
  readonly iterations?: number
  /** Worker threads. @default 1 */
  readonly threads?: number
  readonly signal?: AbortSignal
}

export const refreshDefaults = {
  ceiling: 1.25,
  rounds: 5,
  steps: 12,
  largestDelta: 4,
  iterations: fitDefaults.iterations,
  threads: 1,
} as const

/** One switching cost that was tried. */
export interface CurvePoint {
  readonly delta: number
  readonly churn: number
  readonly firstCode: number
  readonly trafficWeighted?: number
  readonly fvu: number
}

export interface Refresh {
  readonly codebooks: Codebooks
  /** Switching cost for `Bundle.delta`; may be Infinity. */
  readonly delta: number
  /** Codes in the order of `ids`, row-major, shape [ids.length, levels]. */
  readonly codes: Uint16Array
  /** Among items that had an ID. */
  readonly churn: ChurnReport
  /** Over all items. */
  readonly fvu: number
  /** Mean squared error over all items. */
  readonly distortion: number
  /** Mean squared error of items without an earlier ID, judged apart; undefined without any. */
  readonly newDistortion: number | undefined
  /** FVU of a free fit on the same vectors. */
  readonly freeFvu: number
  /** How many items had an ID, are new, are gone. */
  readonly items: { readonly known: number; readonly fresh: number; readonly vanished: number }
  /** Every switching cost tried, ascending. */
  readonly curve: readonly CurvePoint[]
  /** Plain JSON for the manifest (`BundleOrigin.policy`). */
  readonly policy: Readonly<Record<string, unknown>>
}

/** One switching cost carried through all rounds. */
interface Trial {
  readonly codebooks: Codebooks
  readonly codes: Uint16Array
  readonly churn: ChurnReport
  readonly point: CurvePoint
}

/**
 * Refreshes codebooks under a churn budget.
 * @throws SIDESTREAM_BUDGET_REFUSED with `details.curve` when the budget leaves more distortion than the ceiling allows;
 * SIDESTREAM_ITEMS_TOO_FEW without items; SIDESTREAM_SHAPE_MISMATCH when dims or sizes changed (that takes a re-base)
 */
export async function refreshCodebooks(input: RefreshInput, options: RefreshOptions): Promise<Refresh> {
  const { ceiling, iterations, threads } = { ...refreshDefaults, ...options }
  const cohort = cohortOf(input, options.budget)
  const { codebooks, settings } = input.bundle
  const { dim, sizes } = codebooks
  const crew = new Crew(threads)
  try {
    const walk = await CodebookWalk.create(sizes, dim, settings.normalize, true, crew)
    const { best, trials } = await search(cohort, input, options, walk)
    const freeFvu =
      options.freeFvu ??
      (await freeDistortion(
        cohort,
        input,
        { sizes, seed: options.seed, iterations, normalize: settings.normalize, signal: options.signal },
        crew,
      ))
    const curve = trials.map(({ point }) => point).sort((a, b) => a.delta - b.delta)
    const report = reconstruction(cohort.vectors, best.codes, best.codebooks, settings)
    if (report.fvu > ceiling * freeFvu + 1e-9) throw refused(report.fvu, freeFvu, ceiling, options.budget, best.point, curve)
    const items = {
      known: cohort.known.length,
      fresh: cohort.order.length - cohort.known.length,
      vanished: input.parents.rows - cohort.known.length,
    }
    return {
      codebooks: best.codebooks,
      delta: best.point.delta,
      codes: inOrderOf(cohort.order, best.codes, sizes.length),
      churn: best.churn,
      fvu: report.fvu,
      distortion: report.distortion,
      newDistortion: newDistortion(cohort, best, settings),
      freeFvu,
      items,
      curve,
      policy: {
        kind: 'sticky-lloyd',
        budget: options.budget,
        rounds: options.rounds ?? refreshDefaults.rounds,
        ceiling,
        churn: best.churn,
        fvu: report.fvu,
        freeFvu,
        items,
      },
    }
  } finally {
    await crew.close()
  }
}

/** Bisects the switching cost; every trial starts from the centroids refitted under the old codes. */
async function search(
  cohort: Cohort,
  { bundle }: RefreshInput,
  options: RefreshOptions,
  walk: CodebookWalk,
): Promise<{ best: Trial; trials: Trial[] }> {
  const { steps, largestDelta } = { ...refreshDefaults, ...options }
  const sums = new CodeSums(cohort.x, bundle.codebooks.sizes, bundle.codebooks.dim)
  sums.assign(cohort.old)
  const start = sums.refit(bundle.codebooks)
  const trials: Trial[] = []
  const attempt = async (delta: number): Promise<Trial> => {
    const trial = await tryDelta(cohort, sums, start, bundle.settings, delta, options, walk)
    trials.push(trial)
    return trial
  }
  const free = await attempt(0)
  if (within(free.churn, options.budget)) return { best: free, trials }
  let best = await attempt(largestDelta)
  if (!within(best.churn, options.budget)) return { best: await attempt(Infinity), trials }
  let low = 0
  for (let step = 0; step < steps; step++) {
    const trial = await attempt((low + best.point.delta) / 2)
    if (within(trial.churn, options.budget)) best = trial
    else low = trial.point.delta
  }
  return { best, trials }
}

function within({ full, firstCode, trafficWeighted = 0 }: ChurnReport, budget: ChurnBudget): boolean {
  return full <= budget.full && firstCode <= (budget.firstCode ?? 1) && trafficWeighted <= (budget.trafficWeighted ?? 1)
}

/** One switching cost through all rounds. */
async function tryDelta(
  { vectors, x, spread, old, known, before, weights }: Cohort,
  sums: CodeSums,
  start: Codebooks,
  settings: Bundle['settings'],
  delta: number,
  options: RefreshOptions,
  walk: CodebookWalk,
): Promise<Trial> {
  const rounds = options.rounds ?? refreshDefaults.rounds
  const { codebooks, codes } = await stickyLloyd(vectors, sums, start, settings, { old, delta }, rounds, walk, options.signal)
  const changes = churn(before, pick(codes, known, start.sizes.length), start.sizes.length, weights)
  const fvu = unexplained(squaredError(x, codes, codebooks), spread.variance, spread.energy)
  return {
    codebooks,
    codes,
    churn: changes,
    point: {
      delta,
      churn: changes.full,
      firstCode: changes.firstCode,
      ...(changes.trafficWeighted === undefined ? {} : { trafficWeighted: changes.trafficWeighted }),
      fvu,
    },
  }
}

/** Sum of squared errors of all rows. */
function squaredError(x: Float32Array, codes: Uint16Array, { dim, sizes, levels }: Codebooks): number {
  const residual = new Float64Array(dim)
  let total = 0
  for (let row = 0, at = 0; at < x.length; row++, at += dim) {
    for (let j = 0; j < dim; j++) residual[j] = x[at + j]!
    for (let level = 0; level < sizes.length; level++) {
      const codebook = levels[level]!
      const from = codes[row * sizes.length + level]! * dim
      for (let j = 0; j < dim; j++) residual[j] = residual[j]! - codebook[from + j]!
    }
    for (let j = 0; j < dim; j++) total += residual[j]! * residual[j]!
  }
  return total
}

/** FVU over all rows of codebooks fitted freely on the same vectors. */
async function freeDistortion(
  { vectors, ids }: Cohort,
  { bundle }: RefreshInput,
  fit: { sizes: readonly number[]; seed: number; iterations: number; normalize: boolean; signal: AbortSignal | undefined },
  crew: Crew,
): Promise<number> {
  const { signal, ...options } = fit
  const { codebooks } = await fitWithCrew(vectors, ids, bundle.codebooks.dim, signal ? { ...options, signal } : options, crew)
  const walk = await CodebookWalk.create(fit.sizes, codebooks.dim, fit.normalize, false, crew)
  return reconstruction(vectors, await walk.run(vectors, codebooks, bundle.settings), codebooks, bundle.settings).fvu
}

function newDistortion({ order, old, vectors }: Cohort, { codes, codebooks }: Trial, settings: Bundle['settings']): number | undefined {
  const levels = codebooks.sizes.length
  const fresh = Uint32Array.from(order.keys()).filter((row) => old[row * levels]! < 0)
  if (fresh.length === 0) return undefined
  return reconstruction(pick(vectors, fresh, codebooks.dim), pick(codes, fresh, levels), codebooks, settings).distortion
}

/** Sorted rows back in the order of the input. */
function inOrderOf(order: Uint32Array, codes: Uint16Array, levels: number): Uint16Array {
  const out = new Uint16Array(codes.length)
  for (const [row, to] of order.entries()) out.set(codes.subarray(row * levels, (row + 1) * levels), to * levels)
  return out
}

function refused(
  fvu: number,
  freeFvu: number,
  ceiling: number,
  budget: ChurnBudget,
  { delta, churn: share }: CurvePoint,
  curve: readonly CurvePoint[],
): SidestreamError {
  const times = freeFvu === 0 ? 'infinitely' : (fvu / freeFvu).toFixed(3)
  return new SidestreamError(
    'SIDESTREAM_BUDGET_REFUSED',
    `within the churn budget of ${budget.full} the codebooks leave ${times} times the distortion of a free fit (FVU ${fvu.toFixed(4)} against ${freeFvu.toFixed(4)}), above the ceiling of ${ceiling}: raise the budget or the ceiling, or declare a re-base (a new ID space)`,
    { budget, ceiling, fvu, freeFvu, delta, churn: share, curve },
  )
}
