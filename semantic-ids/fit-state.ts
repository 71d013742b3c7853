/**
 * A fit under way as plain bytes: finished levels, and the level it is in after one of its rounds.
 * Invariant: a fit that goes on from these bytes ends with the bytes of one that was never interrupted.
 */

import { z } from 'zod'
import { corruptBytes, packArrays, unpackArrays, type ByteFormat, type Numbers } from './array-bytes.ts'
import type { LevelState } from './fit-level.ts'

/** A level whose fit is over. */
export interface FittedLevel {
  readonly codebook: Float32Array
  readonly penalties: Float32Array | undefined
  readonly iterations: number
  readonly dead: number
}

export interface FitState {
  /** Of the rows and options; another fit's state is refused. */
  readonly fingerprint: string
  readonly levels: readonly FittedLevel[]
  /** The level under way, after at least one round. */
  readonly current: LevelState | undefined
  /** Rounds over all levels that these have behind them; absent before the first. */
  readonly jointRounds?: number | undefined
  /** Rounds over all rows of a source; its `levels` are those above. Absent before the first. */
  readonly passes?: PassState | undefined
}

/** Where rounds over all rows of a source stand. */
export interface PassState {
  /** What the next reading measures. */
  readonly levels: readonly FittedLevel[]
  /** Rounds that led to them. */
  readonly done: number
  /** The levels that have left least of all rows so far: their sum of squared distances, and the rounds that led to them. */
  readonly best: { readonly levels: readonly FittedLevel[]; readonly left: number; readonly passes: number }
}

const byteFormat: ByteFormat = { magic: 'SSFS', format: 1, what: 'state of a fit' }
const count = z.int().min(0)
const aboutSchema = z.object({
  fingerprint: z.string(),
  levels: z.array(z.object({ iterations: count, dead: count, balanced: z.boolean() })),
  current: z.object({ plainRounds: count, balancedRounds: count, settled: z.boolean() }).optional(),
  jointRounds: count.optional(),
  passes: z.object({ done: count, best: count, dead: z.array(count) }).optional(),
})

export function fitStateToBytes({ fingerprint, levels, current, jointRounds, passes }: FitState): Uint8Array {
  const arrays: Numbers[] = []
  for (const { codebook, penalties } of levels) arrays.push(codebook, ...(penalties ? [penalties] : []))
  if (current) {
    const { left, epsilon, centroids, codes, sums, prices } = current
    arrays.push(centroids, codes, sums, prices, Float64Array.of(left, epsilon))
  }
  if (passes) arrays.push(...passes.best.levels.map(({ codebook }) => codebook), Float64Array.of(passes.best.left))
  const about: z.infer<typeof aboutSchema> = {
    fingerprint,
    levels: levels.map(({ iterations, dead, penalties }) => ({ iterations, dead, balanced: penalties !== undefined })),
    ...(current && {
      current: { plainRounds: current.plainRounds, balancedRounds: current.balancedRounds, settled: current.settled },
    }),
    ...(jointRounds !== undefined && { jointRounds }),
    ...(passes && { passes: { done: passes.done, best: passes.best.passes, dead: passes.best.levels.map(({ dead }) => dead) } }),
  }
  return packArrays(byteFormat, about, arrays)
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT */
export function fitStateFromBytes(bytes: Uint8Array): FitState {
  const { about, arrays } = unpackArrays(byteFormat, bytes, aboutSchema)
  const next = <T extends Numbers>(type: new (length: number) => T): T => {
    const array = arrays.shift()
    if (array instanceof type) return array
    throw corruptBytes(byteFormat.what, 'its arrays do not fit its header')
  }
  const { fingerprint, jointRounds } = about
  const levels = about.levels.map(({ iterations, dead, balanced }) => {
    const codebook = next(Float32Array)
    return { codebook, penalties: balanced ? next(Float32Array) : undefined, iterations, dead }
  })
  const shared = { fingerprint, levels, jointRounds }
  if (about.passes !== undefined) {
    const { done, best: passes, dead } = about.passes
    const best = levels.map((level, at) => ({ ...level, codebook: next(Float32Array), dead: dead[at] ?? 0 }))
    const [left] = next(Float64Array)
    if (left === undefined) throw corruptBytes(byteFormat.what, 'its arrays do not fit its header')
    return { ...shared, current: undefined, passes: { levels, done, best: { levels: best, left, passes } } }
  }
  if (about.current === undefined) return { ...shared, current: undefined }
  const [centroids, codes, sums, prices] = [next(Float32Array), next(Int32Array), next(Float64Array), next(Float64Array)]
  const [left, epsilon] = next(Float64Array)
  if (left === undefined || epsilon === undefined) throw corruptBytes(byteFormat.what, 'its arrays do not fit its header')
  return { ...shared, current: { ...about.current, left, epsilon, centroids, codes, sums, prices } }
}
