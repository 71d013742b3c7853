/**
 * `sid fit`: a file of vectors to a bundle directory with the codes of all its items.
 * Invariants: vectors stream, ids and codes are held (vectors too, where a capacity, an attraction or an RQ-VAE needs all at once); the directory is
 * there whole or not at all; until then a state beside it, `<out>.fit-state`, says where the fit stands.
 */

import { basename, resolve } from 'node:path'
import type { VectorBatch } from '../schemas/index.ts'
import {
  bundleOf,
  fitCodebooks,
  fitFromSource,
  fitRqVae,
  ParentCodes,
  reconstruction,
  RunningDistortion,
  SemanticIdEncoder,
  usage,
  vectorDimOf,
  withinCapacity,
} from '../semantic-ids/index.ts'
import type { Bundle, BundleOrigin, CollisionReport, Fit, Quantizer, SourceFitOptions } from '../semantic-ids/index.ts'
import { requireFree, writeBundleDirectory } from './bundle-directory.ts'
import { fitStands, itemBatches, spaceName } from './sid-bundle.ts'
import { levelOptions, requireCompatible, sidFitDefaults } from './sid-fit-options.ts'
import type { SidFitFiles } from './sid-fit-options.ts'
import { DistinctItems, itemPairs } from './sid-items.ts'
import { fitNotes } from './sid-fit-notes.ts'
import { StateFile } from './sid-fit-state.ts'
import { suffixCount, suffixesOf } from './sid-suffixes.ts'
import { allVectors, vectorBatches, vectorDim } from './sid-vectors.ts'
import type { OnRows } from './sid-vectors.ts'

/** What was fitted; the bundle's `metrics.json`. */
export interface SidFitMetrics {
  readonly items: number
  readonly sizes: readonly number[]
  /** Share of variance that the codes leave, over all items (of an RQ-VAE: that its decoder does not give back). */
  readonly fvu: number
  /** The rows that residual k-means was fitted on, and its FVU over them alone (of pulled vectors, with `attract`). */
  readonly sample: { readonly rows: number; readonly fvu: number } | null
  /** Mean squared error over all items; null behind a network. */
  readonly distortion: number | null
  readonly distinct: number
  readonly uniqueRate: number
  readonly maxBucket: number
  readonly levels: readonly { readonly used: number; readonly dead: number; readonly perplexity: number }[]
  /** What a capacity moved; null without one. */
  readonly collisions: CollisionReport | null
  /** Numbers that the fullest ID needs; null without a suffix. */
  readonly suffixes: number | null
  /** What has to be said of it: levels with too few items, a network that is worse than none. */
  readonly notes: readonly string[]
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
  if (files.resume === true && resume === undefined) files.onNote?.(`there is no ${out}.fit-state to go on from: the fit begins anew`)
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
    policy: { kind: 'first-fit', fvu: fitted.fvu ?? encoded.fvu },
  })
  const { bundle, codes, collisions } = capped(free, encoded, files)
  const left = encoded.vectors && !fitted.network ? reconstruction(encoded.vectors, codes, fitted.codebooks, fitted.settings) : encoded
  const suffixes = files.suffix === true ? suffixesOf(encoded.ids, codes, sizes, undefined).suffixes : undefined
  const used = usage(codes, sizes)
  const fvu = fitted.fvu ?? left.fvu
  const rows = (files.passes ?? 0) > 0 ? used.items : (fitted.sample?.rows ?? used.items)
  const metrics: SidFitMetrics = {
    items: used.items,
    sizes,
    fvu,
    sample: fitted.sample,
    distortion: fitted.network ? null : left.distortion,
    distinct: used.distinct,
    uniqueRate: used.uniqueRate,
    maxBucket: used.maxBucket,
    levels: used.levels.map((level) => ({ used: level.used, dead: level.dead, perplexity: level.perplexity })),
    collisions,
    suffixes: suffixes ? suffixCount(suffixes) : null,
    notes: fitNotes({ items: used.items, rows, sizes, fitted: fitted.codebooks.levels.length, fvu, network: fitted.network !== undefined }),
  }
  const table = { items: itemBatches(encoded.ids, codes, levels, suffixes), suffix: suffixes !== undefined }
  await writeBundleDirectory(out, { bundle, ...table, metrics: { ...metrics } })
  await state.remove()
  return metrics
}

interface Fitted extends Quantizer {
  /** Of a network: what its decoder does not give back of all items. */
  readonly fvu?: number
  readonly sample: SidFitMetrics['sample']
  readonly training: Readonly<Record<string, unknown>>
}

async function fitLevels(files: SidFitFiles, items: DistinctItems, state: StateFile, resume: Uint8Array | undefined): Promise<Fitted> {
  const { passes = 0, attract, onProgress, signal } = files
  const options: SourceFitOptions = {
    ...levelOptions(files),
    ...(resume && { resume }),
    onProgress: (progress) => {
      state.keep(() => progress.state())
      onProgress?.({ phase: 'fit', ...fitStands(progress) })
    },
  }
  const sampled = ({ fvu, training, ...fit }: Fit): Fitted => ({ ...fit, training, sample: { rows: Number(training['sampleRows']), fvu } })
  if (attract !== undefined) {
    const { ids, vectors, dim } = await allVectors(files, undefined, readProgress(files), signal)
    items.note(ids)
    const { attractWeight: weight } = { ...sidFitDefaults, ...files }
    const rows = await itemPairs(attract, new Map(ids.map((id, row) => [id, row])), 'a vector')
    const pairs = Array.from({ length: rows.length / 2 }, (_, at) => [ids[rows[2 * at]!]!, ids[rows[2 * at + 1]!]!] as const)
    return sampled(await fitCodebooks(vectors, ids, dim, { ...options, attraction: { pairs, weight } }))
  }
  const dim = await vectorDim(files)
  let reads = 0
  const passing: OnRows = (rows, share) =>
    onProgress?.({
      phase: 'pass',
      share: (reads - 2 + share) / (passes + 1),
      note: `reading ${reads - 1} of ${passes + 1}, ${rows} vectors`,
    })
  const open = (): AsyncIterable<VectorBatch> =>
    reads++ === 0 ? items.noting(vectorBatches(files, dim, readProgress(files), signal)) : vectorBatches(files, dim, passing, signal)
  return sampled(await fitFromSource({ dim, open }, options))
}

async function fitNetwork(files: SidFitFiles, items: DistinctItems, state: StateFile, resume: Uint8Array | undefined): Promise<Fitted> {
  const { sizes, rqVae, onProgress, signal } = files
  const { seed, threads } = { ...sidFitDefaults, ...files }
  const { ids, vectors, dim } = await allVectors(files, undefined, readProgress(files), signal)
  items.note(ids)
  const { network, codebooks, settings, fvu, training } = await fitRqVae(vectors, ids, dim, {
    sizes,
    seed,
    threads,
    ...rqVae,
    ...(resume && { resume }),
    ...(signal && { signal }),
    onProgress: async (progress) => {
      const bytes = await progress.state()
      state.keep(() => bytes)
      const { step, steps, loss } = progress
      onProgress?.({ phase: 'fit', share: step / steps, note: `step ${step} of ${steps}, loss ${loss.toPrecision(5)}` })
    },
  })
  return { network, codebooks, settings, fvu, training, sample: null }
}

function readProgress({ onProgress }: SidFitFiles): OnRows {
  return (rows, share) => onProgress?.({ phase: 'read', share, note: `${rows} vectors` })
}

interface EncodedItems {
  readonly ids: readonly string[]
  readonly codes: Uint16Array
  /** Of the vectors that the codebooks see; 0 behind a network. */
  readonly distortion: number
  readonly fvu: number
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
  const left = new RunningDistortion(codebooks, settings)
  try {
    const vectors = vectorBatches(files, dim, (rows, share) => onProgress?.({ phase: 'encode', share, note: `${rows} items` }), signal)
    for await (const batch of encoder.stream(vectors, signal)) {
      codeParts.push(batch.codes)
      if (capacity !== undefined) vectorParts.push(batch.vectors)
      if (network === undefined) left.add(batch.vectors, batch.codes)
    }
  } finally {
    await encoder.close()
  }
  return {
    ids,
    codes: joined(codeParts, new Uint16Array(ids.length * levels)),
    ...left.result(),
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
