/**
 * Looks for the switching cost of a refresh: the lowest distortion whose churn keeps every bound of the budget.
 * Invariant: every trial starts from the same centroids, so its result depends on the cost alone, not on the way to it.
 */

import { churn, type ChurnReport } from './churn.ts'
import { isWithin, type ChurnBudget } from './churn-budget.ts'
import type { CodebookWalk } from './codebook-walk.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { resolveCollisions, type CollisionOptions, type Resolution } from './collisions.ts'
import { distancesToIds } from './distances.ts'
import { unexplained } from './quality-distortion.ts'
import { pick, type Cohort } from './refresh-cohort.ts'
import { CodeSums } from './refit.ts'
import { stickyLloyd } from './sticky-lloyd.ts'

/** Shares of the largest switching cost that are always tried, beside never leaving an old ID: what moves buy, whatever the budget. */
const ladder = [0, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1]
/** Refits under the old codes before the first trial. They read no vector. */
const firstSweeps = 3

/** One switching cost that was tried. */
export interface CurvePoint {
  /** Infinity: old codes were never left. */
  readonly delta: number
  /** Any code differs. */
  readonly churn: number
  readonly firstCode: number
  readonly prefix: readonly number[]
  readonly perLevel: readonly number[]
  readonly trafficWeighted?: number
  readonly fvu: number
  /** Whether every bound of the budget holds. */
  readonly within: boolean
}

/** One switching cost carried through all rounds. */
export interface Trial {
  readonly codebooks: Codebooks
  /** Sorted rows, shape [rows, levels]. */
  readonly codes: Uint16Array
  readonly churn: ChurnReport
  readonly point: CurvePoint
  /** What the capacity moved among items that are new or left their ID; `moved` are sorted rows. Undefined without one. */
  readonly resolution: Resolution | undefined
}

/** Where a search stands: after the `tried`th cost, of at most `most`. */
export interface SearchProgress {
  readonly tried: number
  readonly most: number
  readonly point: CurvePoint
}

export interface SearchOptions {
  readonly budget: ChurnBudget
  readonly rounds: number
  readonly steps: number
  readonly largestDelta: number
  readonly collisions?: CollisionOptions | undefined
  readonly signal?: AbortSignal | undefined
  readonly onTrial?: ((progress: SearchProgress) => void) | undefined
}

/**
 * Tries costs from 0 to `largestDelta` and infinity, then bisects between the largest of the first that break the budget and the next.
 * @param start - codebooks of the parent; refitted under the old codes before anything else
 * @returns the trial of least distortion within the budget, and every point tried, ascending
 */
export async function searchDelta(
  cohort: Cohort,
  start: Codebooks,
  settings: EncodeSettings,
  options: SearchOptions,
  walk: CodebookWalk,
): Promise<{ best: Trial; curve: CurvePoint[] }> {
  const { budget, steps, largestDelta, onTrial } = options
  const sums = new CodeSums(cohort.x, start)
  sums.assign(cohort.old)
  const refitted = refitUnderOld(cohort, sums, start)
  const curve: CurvePoint[] = []
  let best: Trial | undefined
  const rungs = [...ladder.map((share) => share * largestDelta), Infinity]
  const attempt = async (delta: number): Promise<boolean> => {
    const trial = await tryDelta(cohort, sums, refitted, settings, delta, options, walk)
    const { point } = trial
    curve.push(point)
    onTrial?.({ tried: curve.length, most: rungs.length + steps, point })
    if (point.within && (best === undefined || point.fvu < best.point.fvu || (point.fvu === best.point.fvu && delta < best.point.delta)))
      best = trial
    return point.within
  }
  const within: boolean[] = []
  for (const delta of rungs) within.push(await attempt(delta))
  const first = within.indexOf(true)
  if (first < 0) throw new Error(`IDs changed at an infinite switching cost, budget ${JSON.stringify(budget)}`)
  let [low, high] = [rungs[first - 1] ?? 0, rungs[first]!]
  for (let step = 0; step < steps && first > 0 && high < Infinity; step++) {
    const middle = (low + high) / 2
    if (await attempt(middle)) high = middle
    else low = middle
  }
  return { best: best!, curve: curve.sort((a, b) => a.delta - b.delta) }
}

/**
 * The parent's codebooks refitted under the old codes: from where they are, which suits vectors that moved a little, or from means level
 * by level, which suits those that moved far; whichever leaves less.
 */
function refitUnderOld({ x, old }: Cohort, sums: CodeSums, start: Codebooks): Codebooks {
  const swept = [start, sums.refit(start)].map((codebooks) => {
    let out = codebooks
    for (let sweep = 0; sweep < firstSweeps; sweep++) out = sums.refitJointly(out)
    return out
  })
  const [near, far] = swept.map((codebooks) => squaredError(x, old, codebooks))
  return near! <= far! ? swept[0]! : swept[1]!
}

/** One switching cost through all rounds. */
async function tryDelta(
  cohort: Cohort,
  sums: CodeSums,
  start: Codebooks,
  settings: EncodeSettings,
  delta: number,
  { budget, rounds, collisions, signal }: SearchOptions,
  walk: CodebookWalk,
): Promise<Trial> {
  const { vectors, x, spread, old, known, before, weights } = cohort
  const levels = start.sizes.length
  const free = await stickyLloyd(vectors, sums, start, settings, { old, delta }, rounds, walk, 'joint', signal)
  const { codebooks } = free
  const resolution = collisions && resolved(cohort, free.codes, codebooks, settings, collisions)
  const codes = resolution?.codes ?? free.codes
  const report = churn(before, pick(codes, known, levels), levels, weights)
  const { full, firstCode, prefix, perLevel, trafficWeighted } = report
  return {
    codebooks,
    codes,
    churn: report,
    resolution,
    point: {
      delta,
      churn: full,
      firstCode,
      prefix,
      perLevel,
      ...(trafficWeighted === undefined ? {} : { trafficWeighted }),
      fvu: unexplained(squaredError(x, codes, codebooks), spread.variance, spread.energy),
      within: isWithin(report, budget),
    },
  }
}

/** Items that keep their ID are published; the others make room. */
function resolved(
  { vectors, ids, old }: Cohort,
  codes: Uint16Array,
  codebooks: Codebooks,
  settings: EncodeSettings,
  collisions: CollisionOptions,
): Resolution {
  const levels = codebooks.sizes.length
  const published = new Uint8Array(ids.length).fill(1)
  for (let at = 0; at < codes.length; at++) if (codes[at] !== old[at]) published[Math.floor(at / levels)] = 0
  return resolveCollisions({ codes, vectors, codebooks, settings, ids, published }, collisions)
}

/** Sum of squared errors of all rows that have codes (none: -1). */
function squaredError(x: Float32Array, codes: Uint16Array | Int32Array, { dim, levels }: Codebooks): number {
  const distances = new Float64Array(x.length / dim)
  distancesToIds(x, dim, codes, levels, distances)
  return distances.reduce((sum, distance) => sum + distance, 0)
}
