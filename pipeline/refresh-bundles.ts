/**
 * The codebooks of a build: a first fit, a refresh within the churn budget, or a declared re-base.
 * Invariant: a function of (catalogue and interactions as of the cut, heads, parent bundle, configuration).
 */

import { churnBudgetDefault, semanticIdView } from '../schemas/index.ts'
import {
  bundleOf,
  fitQuantizer,
  ParentCodes,
  rebaseCodebooks,
  refreshCodebooks,
  SemanticIdEncoder,
  withinCapacity,
} from '../semantic-ids/index.ts'
import type { Bundle, BundleOrigin, ChurnBudget, CollisionOptions, RefreshOptions, RememberedCodes } from '../semantic-ids/index.ts'
import { bundleName } from './bundles.ts'
import type { ControlBody } from './control-records.ts'
import type { ContentRows } from './embedder.ts'
import type { Project } from './project.ts'
import { isRebase, quantizerOptions } from './quantizer.ts'
import type { SidRefreshed } from './sid-refresh.ts'

/** What is quantized, and on whose behalf. */
export interface BundleInput {
  readonly project: Project
  readonly plan: ControlBody<'build'>
  /** Every item that exists before the cut. */
  readonly content: ContentRows
  /** The semantic-ID view's stored numbers by the new head, row-major float32, shape [items, dim]. */
  readonly vectors: Float32Array
  readonly dim: number
  /** The first label of each item, null for none, in the order of the content. */
  readonly labels: () => readonly (string | null)[]
  /** Ends a fit that takes long, with the error that it is aborted with. */
  readonly signal?: AbortSignal
}

/** The live version's side of a refresh. */
export interface LiveIds {
  readonly bundle: Bundle
  /** The semantic-ID view's stored numbers by the live head, row-major float32, shape [items, dim]; the very array of the input where that is the head of the build. */
  readonly vectors: Float32Array
  /** Ends of the Matryoshka blocks that live and new vectors share. */
  readonly ends: readonly number[]
  /** IDs at the cut by the live head and bundle, row-major, shape [items, levels]. */
  readonly codes: Uint16Array
  /** Those IDs, and the last ones of items that are away. */
  readonly remembered: RememberedCodes
  /** Positive interactions of each item lately, shape [items]. */
  readonly traffic: Float64Array
}

/** The IDs that will be published of the items of the cut, row-major, shape [items, levels]. */
export async function codesOfCut({ project, content, vectors }: BundleInput, bundle: Bundle): Promise<Uint16Array> {
  const encoder = await SemanticIdEncoder.create(bundle, { threads: project.config.training.threads })
  try {
    return (await encoder.encode(vectors, content.ids)).codes
  } finally {
    await encoder.close()
  }
}

/** Codebooks where there were none. */
export async function firstBundle(input: BundleInput): Promise<Bundle> {
  const { project, plan, content, vectors, dim, signal } = input
  const collisions = collisionsOf(project)
  const fit = await fitQuantizer(vectors, content.ids, dim, quantizerOptions(project.config, signal))
  const free = bundleOf({
    codebooks: fit.codebooks,
    settings: fit.settings,
    ...(fit.network && { network: fit.network }),
    delta: 0,
    parents: ParentCodes.empty(fit.codebooks.sizes.length),
    origin: {
      parent: null,
      idSpace: project.config.semanticIds.idSpace ?? bundleName(plan.version),
      input: originInput(input),
      training: fit.training,
      policy: { kind: 'first-fit', rebase: false, fvu: fit.fvu },
    },
  })
  if (collisions === undefined) return free
  return withinCapacity(free, { ids: content.ids, vectors }, await codesOfCut(input, free), collisions).bundle
}

/** The next codebooks: refreshed, or fitted anew where the configuration names another ID space. */
export async function nextBundle(input: BundleInput, live: LiveIds): Promise<Bundle> {
  const { config, logger } = input.project
  const before = live.bundle.collisions?.capacity
  if (before !== undefined && config.semanticIds.capacity === null)
    logger.warn({ capacity: before }, `the capacity of ${before} items per semantic ID is dropped: semanticIds.capacity is null`)
  return isRebase(config, live.bundle) ? rebasedBundle(input, live, config.semanticIds.idSpace!) : refreshedBundle(input, live)
}

async function refreshedBundle(input: BundleInput, live: LiveIds): Promise<Bundle> {
  const { bundle, remembered, traffic } = live
  const { project, plan, content, vectors, signal } = input
  const { distortionCeiling, iterations, balance } = project.config.semanticIds
  const collisions = collisionsOf(project)
  const budget = budgetOf(project, bundle, traffic)
  const rotation = rotationOf(input, live)
  const refreshed = await refreshCodebooks(
    { bundle, parents: remembered.parents, ids: content.ids, vectors, weights: traffic },
    {
      budget,
      seed: seedOf(project),
      ceiling: distortionCeiling,
      iterations,
      threads: project.config.training.threads,
      ...(balance !== null && { balance: { epsilonShare: balance } }),
      ...(collisions && { collisions }),
      ...(rotation && { rotation }),
      ...(signal && { signal }),
    },
  )
  if (refreshed.frozenByFsq)
    project.logger.warn(
      { budget },
      'all semantic IDs are frozen: nothing else keeps a bound that counts the code of the finite-scalar level, which follows from what the others leave; leave semanticIds.churnBudget null and bound the codes before it (churnBudgetPrefixes)',
    )
  return bundleOf({
    codebooks: refreshed.codebooks,
    settings: refreshed.settings,
    delta: refreshed.delta,
    parents: refreshed.parents,
    ...(collisions && { collisions }),
    ...(refreshed.moves && { moves: refreshed.moves }),
    origin: {
      parent: bundleName(plan.parent!),
      idSpace: bundle.origin.idSpace,
      input: originInput(input),
      training: { algorithm: 'refit-first sticky-lloyd', seed: seedOf(project) },
      policy: { ...refreshed.policy, items: itemsOf(input, remembered), kind: 'refresh', churnBudget: budget.full, distortionCeiling },
    },
  })
}

async function rebasedBundle(input: BundleInput, { bundle, remembered, traffic }: LiveIds, idSpace: string): Promise<Bundle> {
  const { project, content, vectors, dim, signal } = input
  const collisions = collisionsOf(project)
  const rebased = await rebaseCodebooks(
    { dim, idSpace: bundle.origin.idSpace, parents: remembered.parents, ids: content.ids, vectors, weights: traffic },
    {
      idSpace,
      fit: quantizerOptions(project.config, signal),
      relabel: project.config.semanticIds.relabel,
      ...(collisions && { collisions }),
    },
  )
  return bundleOf({
    codebooks: rebased.codebooks,
    settings: rebased.settings,
    ...(rebased.network && { network: rebased.network }),
    delta: 0,
    parents: ParentCodes.empty(rebased.codebooks.sizes.length),
    ...(collisions && { collisions }),
    ...(rebased.moves && { moves: rebased.moves }),
    origin: {
      parent: null,
      idSpace,
      input: originInput(input),
      training: rebased.training,
      policy: { ...rebased.policy, items: itemsOf(input, remembered) },
    },
  })
}

/** As `sid refresh` counts them; every item of the cut has an ID of the live version, so none is new. */
function itemsOf({ content: { ids } }: BundleInput, { parents, returned, forgotten }: RememberedCodes): SidRefreshed['items'] {
  return { known: ids.length, returned, fresh: 0, vanished: parents.rows - ids.length, forgotten }
}

/** What turns the live codebooks to where the new head puts the items; the same head leaves them where they are. */
function rotationOf({ project, vectors, dim }: BundleInput, live: LiveIds): RefreshOptions['rotation'] {
  const { rotate } = project.config.semanticIds
  if (rotate === 'none' || live.vectors === vectors) return undefined
  return { earlier: live.vectors, ends: rotate === 'whole' ? [dim] : live.ends }
}

/** Bounds of the configuration; those of levels that the IDs do not have yet come with a re-base, that of traffic waits for some. */
function budgetOf({ config }: Project, { codebooks: { sizes, levels, fsq } }: Bundle, traffic: Float64Array): ChurnBudget {
  const { churnBudget, churnBudgetFirstCode, churnBudgetPrefixes, churnBudgetLevels, churnBudgetTraffic } = config.semanticIds
  const prefix = churnBudgetPrefixes?.slice(0, sizes.length) ?? []
  const unbound = churnBudget === null && fsq !== undefined
  // Whole IDs with a finite-scalar level would be frozen: the default bounds what stands before it.
  if (unbound) while (prefix.length < levels.length) prefix.push(prefix.length + 1 < levels.length ? null : churnBudgetDefault)
  return {
    full: unbound ? 1 : (churnBudget ?? churnBudgetDefault),
    ...(churnBudgetFirstCode !== null && { firstCode: churnBudgetFirstCode }),
    ...(prefix.length > 0 && { prefix }),
    ...(churnBudgetLevels !== null && { perLevel: churnBudgetLevels.slice(0, sizes.length) }),
    ...(churnBudgetTraffic !== null && traffic.some((count) => count > 0) && { trafficWeighted: churnBudgetTraffic }),
  }
}

function collisionsOf({ config }: Project): Required<CollisionOptions> | undefined {
  const { capacity, duplicates } = config.semanticIds
  return capacity === null ? undefined : { capacity, duplicates }
}

function seedOf({ config }: Project): number {
  return config.semanticIds.seed ?? config.seed
}

function originInput({ project, plan, dim }: BundleInput): BundleOrigin['input'] {
  return { view: semanticIdView(project.config), head: plan.head, cutTs: plan.cutTs, dim }
}
