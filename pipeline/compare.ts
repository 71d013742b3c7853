/**
 * Versions side by side, from what readers get: ranking quality on later events, code usage, and what changed.
 * Invariant: vectors and codes are read back from the store; nothing is encoded again.
 */

import { planEvaluation, rawVectors, scoreVectors, summarize } from '../distill/index.ts'
import type { EvaluationSummary } from '../distill/index.ts'
import { FeatureReader, requireVersion } from '../features/index.ts'
import type { Feature, VersionRecord } from '../features/index.ts'
import { churn, reconstruction, rotated, rotationOnto, throughNetwork, usage } from '../semantic-ids/index.ts'
import type { ChurnReport } from '../semantic-ids/index.ts'
import { semanticIdView } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { bundleName, readBundle } from './bundles.ts'
import { catalogueAsOf } from './content-state.ts'
import { readWindow } from './judge-window.ts'
import { commonEnds, prefixEnds } from './prefix-blocks.ts'
import type { Project } from './project.ts'
import { firstLiked } from './samples-state.ts'
import { bootstrapHead, readCheckpoint } from './training.ts'

/** How often each code of a level is used. */
export interface LevelShare {
  readonly size: number
  readonly used: number
  readonly dead: number
  readonly perplexity: number
  /** Items per code, [size]. */
  readonly counts: readonly number[]
}

/** One version as its readers see it. */
export interface VersionFigures {
  readonly version: number
  readonly items: number
  readonly fvu: number
  readonly uniqueRate: number
  readonly levels: readonly LevelShare[]
}

/** Ranking quality of one vector set. */
export interface RankedSet {
  readonly name: string
  readonly summary: EvaluationSummary
}

export interface VersionChange {
  /** Items in both versions. */
  readonly items: number
  readonly churn: ChurnReport
  /** Of each item's two vectors; undefined where they have other dims, or no item is in both. */
  readonly cosines: MovedCosines | undefined
}

/** How far vectors have moved. */
export interface MovedCosines {
  /**
   * Cosine of an item's old vector and its new one, after the new space was turned onto the old one, one rotation per Matryoshka block:
   * heads trained apart put equal items at unlike places. The rotation is that of these items, so few of them fit too well.
   */
  readonly aligned: Float64Array
  /** The same of the vectors as they are. */
  readonly plain: Float64Array
}

/** An item as a reader sees it, with its nearest items by published vector. */
export interface NeighborExample {
  readonly item: string
  readonly sid: readonly number[]
  readonly labels: readonly string[]
  /** Event time of the first like, milliseconds; null when nobody has liked it. */
  readonly firstLikedTs: number | null
  readonly neighbors: readonly { readonly item: string; readonly cosine: number; readonly labels: readonly string[] }[]
}

/** Ids of all items that exist now, in item order. */
export function currentItems(state: State): string[] {
  return [...catalogueAsOf(state, Infinity)].map(({ itemId }) => itemId)
}

async function readAll(project: Project, ids: readonly string[], version: number): Promise<readonly (Feature | undefined)[]> {
  const reader = new FeatureReader({ store: project.store, project: project.config.project })
  const features: (Feature | undefined)[] = []
  for (let at = 0; at < ids.length; at += 2000) {
    features.push(...(await reader.read(semanticIdView(project.config), ids.slice(at, at + 2000), { version })).features)
  }
  return features
}

function packVectors(features: readonly (Feature | undefined)[]): { vectors: Float32Array; dim: number } {
  const dim = features.find((feature) => feature !== undefined)?.vector.length ?? 1
  const vectors = new Float32Array(features.length * dim)
  for (const [i, feature] of features.entries()) if (feature !== undefined) vectors.set(feature.vector, i * dim)
  return { vectors, dim }
}

/** Raw content and the published vectors of each version, ranked on the events of `[from, until)`. */
export async function rankVersions(
  project: Project,
  state: State,
  versions: readonly number[],
  window: { from: number; until: number },
): Promise<RankedSet[]> {
  const { ids, contents, stream, since } = readWindow(project, state, window)
  const plan = planEvaluation(stream, since, { ...window, historyLength: project.config.sequences.history, maxEvents: 20_000 })
  const { head } = await readCheckpoint(project, bootstrapHead, { training: false })
  const raw = rawVectors(
    head,
    contents.map((item) => item.vectors),
  )
  const sets: RankedSet[] = [{ name: 'raw content', summary: summarize(plan, await scoreVectors(plan, raw.vectors, raw.dim)) }]
  for (const version of versions) {
    const { vectors, dim } = packVectors(await readAll(project, ids, version))
    sets.push({ name: `version ${version}`, summary: summarize(plan, await scoreVectors(plan, vectors, dim)) })
  }
  return sets
}

/** Code usage and distortion of a version. */
export async function describeVersion(project: Project, state: State, version: number): Promise<VersionFigures> {
  const features = (await readAll(project, currentItems(state), version)).filter((feature) => feature !== undefined)
  const { codebooks, settings, network } = await readBundle(project, bundleName(version))
  const codes = packCodes(features, codebooks.sizes.length)
  const { vectors } = packVectors(features)
  const report = usage(codes, codebooks.sizes)
  return {
    version,
    items: features.length,
    fvu: reconstruction(network ? throughNetwork(network, vectors) : vectors, codes, codebooks, settings).fvu,
    uniqueRate: report.uniqueRate,
    levels: report.levels.map(({ used, dead, perplexity, histogram }, level) => ({
      size: codebooks.sizes[level]!,
      used,
      dead,
      perplexity,
      counts: [...histogram],
    })),
  }
}

/** What changed from one version to the next among the items of both. */
export async function compareVersions(project: Project, state: State, before: number, after: number): Promise<VersionChange> {
  const ids = currentItems(state)
  const [old, next] = [await readAll(project, ids, before), await readAll(project, ids, after)]
  const both = ids.map((_, i) => i).filter((i) => old[i] !== undefined && next[i] !== undefined)
  const pick = (features: readonly (Feature | undefined)[]): Feature[] => both.map((i) => features[i]!)
  const levels = old[both[0] ?? 0]?.sid.length ?? 0
  const [from, to] = [packVectors(pick(next)), packVectors(pick(old))]
  return {
    items: both.length,
    churn: churn(packCodes(pick(old), levels), packCodes(pick(next), levels), levels),
    cosines:
      both.length === 0 || from.dim !== to.dim
        ? undefined
        : movedCosines(from.vectors, to.vectors, from.dim, await blockEnds(project, [before, after], from.dim)),
  }
}

/** Ends of the Matryoshka blocks that both versions have in their vectors. */
async function blockEnds(project: Project, versions: readonly number[], dim: number): Promise<readonly number[]> {
  const { store, config } = project
  const [old, next] = await Promise.all(
    versions.map(async (version) => endsOf(project, await requireVersion(store, config.project, version))),
  )
  return commonEnds(old!, next!, dim)
}

async function endsOf(project: Project, { head: name, views }: VersionRecord): Promise<readonly number[]> {
  const { head } = await readCheckpoint(project, name, { training: false })
  return prefixEnds(head, views.find(({ ownsCodebooks }) => ownsCodebooks)?.prefix)
}

/**
 * Cosines of the same items in two spaces.
 * @param next, old - in the same order, row-major float32, shape [items, dim]
 * @param ends - of the blocks, ascending, the last equal to `dim`
 */
export function movedCosines(next: Float32Array, old: Float32Array, dim: number, ends: readonly number[]): MovedCosines {
  const turned = rotated(next, rotationOnto(next, old, dim, ends))
  const row = (vectors: Float32Array, item: number): Float32Array => vectors.subarray(item * dim, (item + 1) * dim)
  const cosines = (vectors: Float32Array): Float64Array =>
    Float64Array.from({ length: old.length / dim }, (_, item) => cosine(row(old, item), row(vectors, item)))
  return { aligned: cosines(turned), plain: cosines(next) }
}

/** A few items with their nearest items in a version, taken evenly over the catalogue. */
export async function neighborExamples(project: Project, state: State, version: number, count: number): Promise<NeighborExample[]> {
  const items = [...catalogueAsOf(state, Infinity)]
  const ids = items.map(({ itemId }) => itemId)
  const labels = items.map(({ value }) => project.codec.decode('item-content', value).labels ?? [])
  const features = await readAll(project, ids, version)
  const known = ids.map((_, i) => i).filter((i) => features[i] !== undefined)
  const liked = new Map(firstLiked(state))
  return Array.from({ length: Math.min(count, known.length) }, (_, n) => known[Math.floor(((n + 0.5) * known.length) / count)]!).map(
    (i) => ({
      item: ids[i]!,
      sid: [...features[i]!.sid],
      labels: labels[i]!,
      firstLikedTs: liked.get(ids[i]!) ?? null,
      neighbors: known
        .filter((j) => j !== i)
        .map((j) => ({ item: ids[j]!, cosine: cosine(features[i]!.vector, features[j]!.vector), labels: labels[j]! }))
        .sort((a, b) => b.cosine - a.cosine || (a.item < b.item ? -1 : 1))
        .slice(0, 5),
    }),
  )
}

function packCodes(features: readonly Feature[], levels: number): Uint16Array {
  const codes = new Uint16Array(features.length * levels)
  for (const [i, { sid }] of features.entries()) codes.set(sid, i * levels)
  return codes
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0
  let aa = 0
  let bb = 0
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!
    aa += a[i]! * a[i]!
    bb += b[i]! * b[i]!
  }
  return aa === 0 || bb === 0 ? 0 : dot / Math.sqrt(aa * bb)
}
