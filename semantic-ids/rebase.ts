/**
 * A declared re-base: codebooks fitted anew, in an ID space of its own, where a refresh within the budget would describe items too
 * badly. Old and new IDs cannot be compared, so readers change over as to another feature.
 * Invariant: a re-base never keeps the name of an ID space, even where its codes look alike.
 */

import { SidestreamError } from '../schemas/index.ts'
import { churn, type ChurnReport } from './churn.ts'
import { CodebookWalk } from './codebook-walk.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { resolveCollisions, type CollisionOptions, type CollisionReport } from './collisions.ts'
import { fitQuantizer, type QuantizerOptions } from './fit-quantizer.ts'
import { Moves } from './moves.ts'
import { throughNetworkInTurns, type Network } from './network.ts'
import { reconstruction } from './quality-distortion.ts'
import { cohortOf, inOrderOf, pick, type RefreshInput } from './refresh-cohort.ts'
import { namesAfter, relabelLimit, renamed, type LevelNames } from './relabel.ts'
import { Crew } from './walk-pool.ts'

/** Items as they are at the cut. Codes of any sizes may have been published before. */
export interface RebaseInput extends Omit<RefreshInput, 'bundle'> {
  readonly dim: number
  /** ID space of the published codes. */
  readonly idSpace: string
}

export interface RebaseOptions {
  /** Name of the new ID space, or what names it after its codebooks; not that of the old one. */
  readonly idSpace: string | ((codebooks: Codebooks) => string)
  /** As for a first fit. */
  readonly fit: QuantizerOptions
  /**
   * Renames codes so that as many items as possible keep the old one: of the first level, or of every level on its own. Only where the
   * level has its old size. See `relabelLimit` for what that cannot do.
   * @default 'none'
   */
  readonly relabel?: 'none' | 'first' | 'all'
  /** Bounds the items of one ID; no item counts as published. Left out: no bound. */
  readonly collisions?: CollisionOptions
}

export interface Rebase {
  readonly idSpace: string
  readonly codebooks: Codebooks
  readonly settings: EncodeSettings
  /** What stands before the codebooks of an RQ-VAE. */
  readonly network: Network | undefined
  /** Codes in the order of `ids`, row-major, shape [ids.length, levels]. */
  readonly codes: Uint16Array
  /** Over all items; behind a network, of what it makes of them. */
  readonly fvu: number
  readonly distortion: number
  /** Among items that had an ID; undefined when IDs have another number of codes now. */
  readonly churn: ChurnReport | undefined
  /** Per level, undefined where it was not renamed; undefined as a whole where it was not asked for. */
  readonly relabel: { readonly levels: readonly (LevelNames | undefined)[]; readonly limit: string } | undefined
  /** What the bound on items per ID did, and its moves for `Bundle.moves`; undefined without one. */
  readonly collisions: CollisionReport | undefined
  readonly moves: Moves | undefined
  /** Plain JSON for the manifest (`BundleOrigin.training`). */
  readonly training: Readonly<Record<string, unknown>>
  /** Plain JSON for the manifest (`BundleOrigin.policy`). */
  readonly policy: Readonly<Record<string, unknown>>
}

/**
 * Fits and encodes anew. The bundle of a re-base has no parent codes and a switching cost of 0.
 * @throws SIDESTREAM_USAGE_INVALID when the ID space keeps its name; otherwise as `fitCodebooks`
 */
export async function rebaseCodebooks(
  input: RebaseInput,
  { idSpace: name, fit: options, relabel = 'none', collisions }: RebaseOptions,
): Promise<Rebase> {
  if (typeof name === 'string') requireNewSpace(name, input.idSpace)
  const { dim, parents } = input
  const cohort = cohortOf(input, dim, options.method !== 'rq-vae' && (options.normalize ?? true))
  const crew = new Crew(options.threads ?? 1)
  try {
    const fit = await fitQuantizer(cohort.vectors, cohort.ids, dim, options)
    const levels = fit.codebooks.sizes.length
    const walk = await CodebookWalk.like(fit, false, crew)
    let codebooks = fit.codebooks
    let codes = await walk.run(cohort.vectors, codebooks, fit.settings)
    let names: (LevelNames | undefined)[] | undefined
    if (relabel !== 'none') {
      names = namesOf(codebooks, pick(codes, cohort.known, levels), cohort.before, parents.levels, relabel === 'first' ? 1 : levels)
      codebooks = renamed(codebooks, names)
      // Encoded again: where two codes are equally near, the lower name wins.
      codes = await walk.run(cohort.vectors, codebooks, fit.settings)
    }
    const walked = fit.network === undefined ? cohort.vectors : await throughNetworkInTurns(fit.network, cohort.vectors)
    const resolution =
      collisions && resolveCollisions({ codes, vectors: walked, codebooks, settings: fit.settings, ids: cohort.ids }, collisions)
    codes = resolution?.codes ?? codes
    const { fvu, distortion } = reconstruction(walked, codes, codebooks, fit.settings)
    const changes = parents.levels === levels ? churn(cohort.before, pick(codes, cohort.known, levels), levels, cohort.weights) : undefined
    const items = { known: cohort.known.length, fresh: cohort.fresh.length, vanished: parents.rows - cohort.known.length }
    const idSpace = typeof name === 'string' ? name : name(codebooks)
    requireNewSpace(idSpace, input.idSpace)
    return {
      idSpace,
      codebooks,
      settings: fit.settings,
      network: fit.network,
      codes: inOrderOf(cohort.order, codes, levels),
      fvu,
      distortion,
      churn: changes,
      relabel: names && { levels: names, limit: relabelLimit },
      collisions: resolution?.report,
      moves: resolution && Moves.of(resolution.moved, cohort.ids, cohort.vectors),
      training: fit.training,
      policy: {
        kind: 're-base',
        rebase: true,
        idSpace,
        idSpaceBefore: input.idSpace,
        fvu,
        churn: changes ?? null,
        items,
        ...(resolution && { collisions: resolution.report }),
        relabel: names
          ? {
              agreement: names.map((level) => level && { before: level.agreementBefore, after: level.agreementAfter }),
              limit: relabelLimit,
            }
          : null,
      },
    }
  } finally {
    await crew.close()
  }
}

/** @throws SIDESTREAM_USAGE_INVALID */
function requireNewSpace(idSpace: string, before: string): void {
  if (idSpace === before)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a re-base makes a new ID space: ${idSpace} is the name of the old one`)
}

/** New names of the first `most` levels that have codewords and their old size (no old code is above the new ones). */
function namesOf(
  { sizes, levels }: Codebooks,
  codes: Uint16Array,
  before: Uint16Array,
  oldLevels: number,
  most: number,
): (LevelNames | undefined)[] {
  const column = (values: Uint16Array, stride: number, level: number): Uint16Array =>
    Uint16Array.from({ length: values.length / stride }, (_, row) => values[row * stride + level]!)
  return sizes.map((size, level) => {
    if (level >= most || level >= oldLevels || level >= levels.length) return undefined
    const old = column(before, oldLevels, level)
    return old.some((code) => code >= size) ? undefined : namesAfter(column(codes, sizes.length, level), old, size)
  })
}
