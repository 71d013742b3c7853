/**
 * `sid fit`: a file of vectors to a bundle directory with the codes of all its items.
 * Invariants: vectors stream, ids and codes are held (vectors too, where a capacity or an RQ-VAE needs all at once); the directory is
 * there whole or not at all; until then a state beside it, `<out>.fit-state`, says where the fit stands.
 */

import { basename, resolve } from 'node:path'
import { SidestreamError } from '../schemas/index.ts'
import {
  bundleOf,
  fitFromSource,
  fitRqVae,
  ParentCodes,
  reconstruction,
  rqVaeDefaults,
  SemanticIdEncoder,
  usage,
  vectorDimOf,
  withinCapacity,
} from '../semantic-ids/index.ts'
import type { Bundle, BundleOrigin, CollisionReport, Quantizer } from '../semantic-ids/index.ts'
import { requireFree, writeBundleDirectory } from './bundle-directory.ts'
import { itemBatches, spaceName } from './sid-bundle.ts'
import { DistinctItems } from './sid-items.ts'
import { StateFile } from './sid-fit-state.ts'
import { allVectors, vectorBatches, vectorDim } from './sid-vectors.ts'
import type { OnRows, VectorFile } from './sid-vectors.ts'

export interface SidFitFiles extends VectorFile {
  /** Directory of the bundle; nothing may stand there. */
  readonly out: string
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** @default 'rq-kmeans' */
  readonly method?: SidFitMethod
  /** @default 1 */
  readonly seed?: number
  /** Most rounds per level of residual k-means. @default 25 */
  readonly iterations?: number
  /** Rounds per level over all rows behind those over the sample; each reads the file once. @default 0 */
  readonly passes?: number
  /** Passes of an RQ-VAE over the items. @default 100 */
  readonly epochs?: number
  /** Vectors at unit length. @default true */
  readonly normalize?: boolean
  /** @default false */
  readonly normalizeResiduals?: boolean
  /** @default 1 */
  readonly beam?: number
  /** Gives codes prices, so that items spread over them. @default false */
  readonly balanced?: boolean
  /** Values per digit of a finite-scalar last level. @default no such level */
  readonly fsqDigits?: readonly number[]
  /** Most items of one ID; the vectors are held for it. @default no bound */
  readonly capacity?: number
  /** Whether identical vectors take one place of the capacity, and move as one. @default 'together' */
  readonly duplicates?: SidDuplicates
  /** @default 1 */
  readonly threads?: number
  /** Goes on from the state that an interrupted fit left. @default false */
  readonly resume?: boolean
  readonly onProgress?: (progress: SidFitProgress) => void
  readonly signal?: AbortSignal
}

export const sidFitMethods = ['rq-kmeans', 'rq-vae'] as const
export type SidFitMethod = (typeof sidFitMethods)[number]

export type SidCollisions = CollisionReport
export const sidDuplicates = ['together', 'split'] as const
export type SidDuplicates = (typeof sidDuplicates)[number]

export const sidFitDefaults = { method: 'rq-kmeans', seed: 1, threads: 1 } as const

/** @param share - of this phase that is done, up to 1 @param note - where it stands */
export interface SidFitProgress {
  readonly phase: 'read' | 'fit' | 'encode'
  readonly share: number
  readonly note: string
}

/** What was fitted; the bundle's `metrics.json`. */
export interface SidFitMetrics {
  readonly items: number
  readonly sizes: readonly number[]
  /** Share of variance that the codes leave, over the rows fitted on (of an RQ-VAE: that its decoder does not give back). */
  readonly fvu: number
  /** Mean squared error over all items; null behind a network. */
  readonly distortion: number | null
  readonly distinct: number
  readonly uniqueRate: number
  readonly maxBucket: number
  readonly levels: readonly { readonly used: number; readonly dead: number; readonly perplexity: number }[]
  /** What a capacity moved; null without one. */
  readonly collisions: CollisionReport | null
}

/**
 * Fits a bundle and writes it.
 * @throws SIDESTREAM_USAGE_INVALID for options that exclude each other, a directory that is not empty, and a state of another fit;
 *   SIDESTREAM_ARTIFACT_CORRUPT for a state that is damaged; SIDESTREAM_ITEMS_TOO_FEW, SIDESTREAM_ID_INVALID for an item that stands
 *   twice; SIDESTREAM_FILE_INVALID, SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_DISK_FULL
 */
export async function sidFitFiles(files: SidFitFiles): Promise<SidFitMetrics> {
  requireCompatible(files)
  const out = resolve(files.out)
  await requireFree(out)
  const state = new StateFile(`${out}.fit-state`)
  const resume = files.resume === true ? await state.read() : undefined
  const items = new DistinctItems(files.in)
  const fit = files.method === 'rq-vae' ? fitNetwork : fitLevels
  const fitted = await fit(files, items, state, resume)
  await state.written()
  const encoded = await encodeItems(fitted, items.ids(), files)
  const { sizes } = fitted.codebooks
  const levels = sizes.length
  const free = freeBundle(fitted, {
    parent: null,
    idSpace: spaceName(fitted.codebooks.levels),
    input: { file: basename(files.in), dim: vectorDimOf(fitted.codebooks, fitted.network), items: encoded.ids.length },
    training: fitted.training,
    policy: { kind: 'first-fit', fvu: fitted.fvu },
  })
  const { bundle, codes, collisions } = capped(free, encoded, files)
  const used = usage(codes, sizes)
  const metrics: SidFitMetrics = {
    items: used.items,
    sizes,
    fvu: fitted.fvu,
    distortion: encoded.distortion,
    distinct: used.distinct,
    uniqueRate: used.uniqueRate,
    maxBucket: used.maxBucket,
    levels: used.levels.map((level) => ({ used: level.used, dead: level.dead, perplexity: level.perplexity })),
    collisions,
  }
  await writeBundleDirectory(out, { bundle, items: itemBatches(encoded.ids, codes, levels), metrics: { ...metrics } })
  await state.remove()
  return metrics
}

interface Fitted extends Quantizer {
  readonly fvu: number
  readonly training: Readonly<Record<string, unknown>>
}

async function fitLevels(files: SidFitFiles, items: DistinctItems, state: StateFile, resume: Uint8Array | undefined): Promise<Fitted> {
  const { sizes, iterations, passes, normalize, normalizeResiduals, beam, balanced, fsqDigits, onProgress, signal } = files
  const { seed, threads } = { ...sidFitDefaults, ...files }
  const dim = await vectorDim(files)
  let reads = 0
  const source = {
    dim,
    open: () =>
      reads++ === 0 ? items.noting(vectorBatches(files, dim, readProgress(files), signal)) : vectorBatches(files, dim, undefined, signal),
  }
  return fitFromSource(source, {
    sizes,
    seed,
    threads,
    ...(iterations !== undefined && { iterations }),
    ...(passes !== undefined && { passes }),
    ...(normalize !== undefined && { normalize }),
    ...(normalizeResiduals !== undefined && { normalizeResiduals }),
    ...(beam !== undefined && { beam }),
    ...(balanced === true && { balance: {} }),
    ...(fsqDigits !== undefined && { fsqDigits }),
    ...(resume && { resume }),
    ...(signal && { signal }),
    onProgress: (progress) => {
      const { level, levels, round, rounds, distortion, ended } = progress
      state.keep(() => progress.state())
      onProgress?.({
        phase: 'fit',
        share: Math.min(1, ended ? (level + 1) / levels : (level + Math.min(1, round / rounds)) / levels),
        note: `${level < levels ? `level ${level + 1} of ${levels}` : 'all levels'}, round ${round}, distortion ${distortion.toPrecision(5)}`,
      })
    },
  })
}

async function fitNetwork(files: SidFitFiles, items: DistinctItems, state: StateFile, resume: Uint8Array | undefined): Promise<Fitted> {
  const { sizes, epochs, onProgress, signal } = files
  const { seed, threads } = { ...sidFitDefaults, ...files }
  const { ids, vectors, dim } = await allVectors(files, undefined, readProgress(files), signal)
  items.note(ids)
  const { network, codebooks, settings, fvu, training } = await fitRqVae(vectors, ids, dim, {
    sizes,
    seed,
    threads,
    epochs: epochs ?? rqVaeDefaults.epochs,
    ...(resume && { resume }),
    ...(signal && { signal }),
    onProgress: async (progress) => {
      const bytes = await progress.state()
      state.keep(() => bytes)
      const { step, steps, loss } = progress
      onProgress?.({ phase: 'fit', share: step / steps, note: `step ${step} of ${steps}, loss ${loss.toPrecision(5)}` })
    },
  })
  return { network, codebooks, settings, fvu, training }
}

function readProgress({ onProgress }: SidFitFiles): OnRows {
  return (rows, share) => onProgress?.({ phase: 'read', share, note: `${rows} vectors` })
}

interface EncodedItems {
  readonly ids: readonly string[]
  readonly codes: Uint16Array
  readonly distortion: number | null
  /** Where a capacity needs them. */
  readonly vectors: Float32Array | undefined
}

/** Codes of all items, as any encode with the bundle gives them. */
async function encodeItems(quantizer: Fitted, ids: readonly string[], files: SidFitFiles): Promise<EncodedItems> {
  const { onProgress, signal, capacity } = files
  const { codebooks, settings, network } = quantizer
  const levels = codebooks.sizes.length
  const dim = vectorDimOf(codebooks, network)
  const free = freeBundle(quantizer, { parent: null, idSpace: '', input: {}, training: {}, policy: {} })
  const encoder = await SemanticIdEncoder.create(free, { threads: files.threads ?? sidFitDefaults.threads })
  const codeParts: Uint16Array[] = []
  const vectorParts: Float32Array[] = []
  let squares = 0
  try {
    const vectors = vectorBatches(files, dim, (rows, share) => onProgress?.({ phase: 'encode', share, note: `${rows} items` }), signal)
    for await (const batch of encoder.stream(vectors, signal)) {
      codeParts.push(batch.codes)
      if (capacity !== undefined) vectorParts.push(batch.vectors)
      if (network === undefined) squares += reconstruction(batch.vectors, batch.codes, codebooks, settings).distortion * batch.ids.length
    }
  } finally {
    await encoder.close()
  }
  return {
    ids,
    codes: joined(codeParts, new Uint16Array(ids.length * levels)),
    distortion: network === undefined ? squares / ids.length : null,
    vectors: capacity === undefined ? undefined : joined(vectorParts, new Float32Array(ids.length * dim)),
  }
}

/** Without an item of its own. */
function freeBundle({ codebooks, settings, network }: Quantizer, origin: BundleOrigin): Bundle {
  return bundleOf({
    codebooks,
    settings,
    ...(network && { network }),
    delta: 0,
    parents: ParentCodes.empty(codebooks.sizes.length),
    origin,
  })
}

function capped(
  bundle: Bundle,
  { ids, vectors, codes }: EncodedItems,
  { capacity, duplicates }: SidFitFiles,
): { readonly bundle: Bundle; readonly codes: Uint16Array; readonly collisions: CollisionReport | null } {
  if (capacity === undefined || vectors === undefined) return { bundle, codes, collisions: null }
  return withinCapacity(bundle, { ids, vectors }, codes, { capacity, ...(duplicates && { duplicates }) })
}

function joined<T extends Uint16Array | Float32Array>(parts: readonly T[], out: T): T {
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** @throws SIDESTREAM_USAGE_INVALID */
function requireCompatible(files: SidFitFiles): void {
  const { method, iterations, passes, epochs, normalize, normalizeResiduals, beam, balanced, fsqDigits, capacity, duplicates } = files
  const refuse = (what: string): never => {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', what)
  }
  if (method === 'rq-vae') {
    const given = { iterations, passes, raw: normalize === false, normalizeResiduals, beam, balanced, fsq: fsqDigits }
    const foreign = Object.entries(given).flatMap(([name, value]) => (value === undefined || value === false ? [] : [name]))
    if (foreign.length > 0) refuse(`an RQ-VAE learns its own space and takes no ${foreign.join(', ')}: leave that out, or fit by rq-kmeans`)
  } else if (epochs !== undefined) refuse('epochs belong to rq-vae; residual k-means takes iterations')
  if (duplicates !== undefined && capacity === undefined) refuse('duplicates take places of a capacity: give a capacity, or leave them out')
  if (normalizeResiduals === true && (beam ?? 1) > 1)
    refuse('unit residuals exclude a beam: their errors do not add up; leave one of the two out')
}
