/**
 * A refresh: decide (which head, judged on the window after it), then build (codebooks under the churn budget, version,
 * writer, switch). Pass 1 works on the catalogue as of the cut; pass 2 is a version writer like any other.
 * Invariant: everything a build needs stands in its control record; each step is redone from there and gives the same bytes.
 */

import { pickCandidate } from '../distill/index.ts'
import type { Head, Judgement } from '../distill/index.ts'
import { readVersion } from '../features/index.ts'
import { bundleToParts, ParentCodes } from '../semantic-ids/index.ts'
import type { Bundle } from '../semantic-ids/index.ts'
import { isSidestreamError, semanticIdView, SidestreamError } from '../schemas/index.ts'
import { judgeBundle } from './bundle-quality.ts'
import { bundleName, readBundle } from './bundles.ts'
import { readCatalogue, readLabels } from './catalogue.ts'
import { dropCutCodes, rememberedCodes, writeCutCodes } from './cut-codes.ts'
import type { ControlLog } from './control.ts'
import type { ControlBody, ControlEntry } from './control-records.ts'
import { Embedder } from './embedder.ts'
import type { ContentRows } from './embedder.ts'
import { judgeWindow } from './judge-window.ts'
import type { OwnerLanes } from './owner-lanes.ts'
import { commonEnds, prefixEnds } from './prefix-blocks.ts'
import type { Project } from './project.ts'
import { checkRenewal } from './quantizer.ts'
import { codesOfCut, firstBundle, nextBundle, type LiveIds } from './refresh-bundles.ts'
import { targetCounts } from './samples-state.ts'
import { bootstrapHead, checkpointRound, listCheckpoints, readCheckpoint, writeBootstrapHead } from './training.ts'
import type { Versions } from './versions.ts'
import { embeddedViews } from './views.ts'

/** What a refresh works with. */
export interface RefreshContext {
  readonly project: Project
  readonly lanes: OwnerLanes
  readonly control: ControlLog
  readonly versions: Versions
}

type BuildPlan = ControlBody<'build'>
type TaskResult = ControlBody<'done'>

/**
 * Judges the newest checkpoint whose window is complete, if it is newer than what is live, and plans the build. Without one
 * only the codebooks are renewed.
 */
export async function decideRefresh(
  context: RefreshContext,
  { id, reason, cutTs }: { readonly id: string; readonly reason: 'scheduled' | 'command'; readonly cutTs: number },
): Promise<BuildPlan | TaskResult> {
  const { project, control, versions, lanes } = context
  const live = await versions.live()
  if (live === undefined) {
    const first = control.find('build', 'bootstrap')
    if (first === undefined) return { outcome: 'nothing-new', version: null, code: null, message: firstComes(project.config) }
    // Version 1 was refused, for want of room say: whoever asks again may have made some.
    return {
      ...first.body,
      version: nextVersion(control),
      reason,
      cutTs: Math.max(first.body.cutTs, cutTs),
      positions: await lanes.positions('item-content'),
    }
  }
  const candidate = await newestCandidate(context, { task: id, liveHead: live.head, cutTs })
  if (candidate !== undefined) {
    const judged = control.find('judged', candidate) ?? (await judgeCandidate(context, { task: id, candidate, liveHead: live.head }))
    if (judged.body.verdict === 'refused' && project.config.guard.mode === 'enforce') {
      return {
        outcome: 'refused',
        version: null,
        code: 'SIDESTREAM_GUARD_REFUSED',
        message: `the guard refused ${candidate}: ${(judged.body.report as Judgement).reasons.join(', ')}. Version ${live.version} stays live; the checkpoint is kept`,
      }
    }
  }
  return {
    version: nextVersion(control),
    reason,
    parent: live.version,
    head: candidate ?? live.head,
    cutTs,
    positions: await lanes.positions('item-content'),
  }
}

function nextVersion(control: ControlLog): number {
  return Math.max(...control.all('build').map(({ body }) => body.version)) + 1
}

function firstComes({ semanticIds: { rowsPerCode, levels }, refresh }: Project['config']): string {
  const wanted = rowsPerCode * Math.max(...levels)
  return `nothing is live yet, and version 1 cannot be built: it waits for ${wanted} items, for ${refresh.bootstrapMs} ms of content, or for the end of an import (import --end)`
}

/** Refused checkpoints are passed over, except by the task that had them judged: after a crash it ends as it would have. */
async function newestCandidate(
  { project, control, lanes }: RefreshContext,
  { task, liveHead, cutTs }: { readonly task: string; readonly liveHead: string; readonly cutTs: number },
): Promise<string | undefined> {
  const liveRound = checkpointRound(liveHead) ?? -1
  const enforced = project.config.guard.mode === 'enforce'
  const refused = new Set(
    control
      .all('judged')
      .filter(({ body }) => enforced && body.verdict === 'refused' && body.task !== task)
      .map(({ id }) => id),
  )
  const checkpoints = (await listCheckpoints(project))
    .map((name) => ({ name, round: checkpointRound(name)!, trainedUntil: lanes.clock.endOf(checkpointRound(name)!) }))
    .filter(({ name, round }) => round > liveRound && !refused.has(name))
  return pickCandidate(checkpoints, cutTs, project.config.refresh.evalWindowMs)?.name
}

async function judgeCandidate(
  { project, control, lanes }: RefreshContext,
  { task, candidate, liveHead }: { readonly task: string; readonly candidate: string; readonly liveHead: string },
): Promise<ControlEntry<'judged'>> {
  const from = lanes.clock.endOf(checkpointRound(candidate)!)
  const report = await judgeWindow({
    project,
    state: lanes.state,
    candidate: await readCheckpoint(project, candidate, { training: false }),
    live: (await readCheckpoint(project, liveHead, { training: false })).head,
    window: { from, until: from + project.config.refresh.evalWindowMs },
  })
  for (const warning of report.warnings) project.logger.warn({ checkpoint: candidate }, warning)
  const verdict = report.verdict === 'pass' ? 'passed' : 'refused'
  await control.append('judged', candidate, { checkpoint: candidate, task, verdict, report })
  return control.find('judged', candidate)!
}

/** Carries a planned build to its end. Safe to call again after a crash at any point. */
export async function performBuild(context: RefreshContext, build: ControlEntry<'build'>): Promise<TaskResult> {
  const { project, lanes, versions } = context
  const { body: plan, id } = build
  const stored = await readVersion(project.store, project.config.project, plan.version)
  if (stored?.state === 'collecting' || stored?.state === 'gone') {
    // Given up before the process ended, and not yet said.
    return {
      outcome: 'refused',
      version: plan.version,
      code: 'SIDESTREAM_BUILD_REFUSED',
      message: stored.reason ?? 'the version was given up',
    }
  }
  try {
    if (plan.head === bootstrapHead) await writeBootstrapHead(project, lanes, plan.cutTs)
    const { head, position } = await readCheckpoint(project, plan.head, { training: false })
    const bundle = await bundleOfBuild(context, plan, head)
    await versions.build({ plan, head, bundle, trainedUntil: position.trainedUntil })
    await versions.activate(plan.version, id)
    return {
      outcome: 'live',
      version: plan.version,
      code: null,
      message: `version ${plan.version} is live (${plan.reason}, head ${plan.head})`,
    }
  } catch (error) {
    if (!isSidestreamError(error) || !refused.has(error.code)) throw error
    await versions.abandon(plan.version, error.message)
    return { outcome: 'refused', version: plan.version, code: error.code, message: error.message, details: plainDetails(error) }
  }
}

/** What stood behind a refusal, as JSON holds it: an infinite switching cost is null. */
function plainDetails({ details }: SidestreamError): Record<string, unknown> {
  return JSON.parse(JSON.stringify(details)) as Record<string, unknown>
}

const refused: ReadonlySet<string> = new Set([
  'SIDESTREAM_GUARD_REFUSED',
  'SIDESTREAM_BUDGET_REFUSED',
  'SIDESTREAM_BUILD_REFUSED',
  'SIDESTREAM_ITEMS_TOO_FEW',
  'SIDESTREAM_TRAINING_DIVERGED',
])

/** The codebooks of a build: those that were written before a crash, or made now. */
async function bundleOfBuild(context: RefreshContext, plan: BuildPlan, head: Head): Promise<Bundle> {
  const { project, lanes, versions } = context
  const name = bundleName(plan.version)
  if ((await project.artifacts.list(name)).includes(name)) return readBundle(project, name)
  const parent = plan.parent === null ? undefined : await readBundle(project, bundleName(plan.parent))
  if (parent !== undefined) checkRenewal(project.config, parent, project.logger)
  const content = readCatalogue(project, lanes.state, plan.cutTs)
  if (content.ids.length === 0) {
    throw new SidestreamError(
      'SIDESTREAM_ITEMS_TOO_FEW',
      `no item exists before the cut ${new Date(plan.cutTs).toISOString()}: import content first`,
    )
  }
  const { vectors, dim } = await embed(project, head, undefined, content)
  const labels = (): (string | null)[] => readLabels(project, lanes.state, plan.cutTs)
  const input = { project, plan, content, vectors, dim, labels, signal: versions.stopping }
  const live = parent && (await liveIds(context, plan, content, parent, { head, vectors }))
  const made = live === undefined ? await firstBundle(input) : await nextBundle(input, live)
  const { origin } = made
  const codes = await codesOfCut(input, made)
  const bundle = { ...made, origin: { ...origin, policy: { ...origin.policy, ...(await judgeBundle(input, made, codes, live)) } } }
  const { parts, about } = bundleToParts(bundle)
  await writeCutCodes(project, plan.version, ParentCodes.of(content.ids, codes, bundle.codebooks.sizes.length))
  await project.artifacts.write(name, parts, about)
  await dropCutCodes(project, plan)
  return bundle
}

/** The semantic-ID view's stored numbers of the whole catalogue, and its codes when there is a bundle. */
async function embed(
  project: Project,
  head: Head,
  bundle: Bundle | undefined,
  content: ContentRows,
): Promise<{ vectors: Float32Array; dim: number; codes: Uint16Array }> {
  const embedder = await Embedder.create({
    head,
    views: embeddedViews(project.config),
    semanticIdView: semanticIdView(project.config),
    threads: project.config.training.threads,
    ...(bundle !== undefined && { bundle }),
  })
  try {
    const { dequantized, codes } = await embedder.embed(content)
    return { vectors: dequantized, dim: embedder.dim, codes }
  } finally {
    await embedder.close()
  }
}

/** What readers of the live version have at the cut, and which of it they saw lately. @param next - the new head and its numbers */
async function liveIds(
  { project, lanes }: RefreshContext,
  plan: BuildPlan,
  content: ContentRows,
  bundle: Bundle,
  next: { readonly head: Head; readonly vectors: Float32Array },
): Promise<LiveIds> {
  // The parent's IDs at the cut are computed, not read: a function of the same content, its head and its bundle.
  const liveHead = bundle.origin.input['head'] as string
  const { head } = await readCheckpoint(project, liveHead, { training: false })
  const { codes, vectors: own, dim } = await embed(project, head, bundle, content)
  const vectors = liveHead === plan.head ? next.vectors : own
  const owner = semanticIdView(project.config)
  const prefix = embeddedViews(project.config).find(({ name }) => name === owner)?.prefix
  const ends = commonEnds(prefixEnds(head, prefix), prefixEnds(next.head, prefix), dim)
  const { everyMs, evalWindowMs } = project.config.refresh
  const { clock, state } = lanes
  // No longer than rows are kept for the judge.
  const from = clock.roundOf(plan.cutTs - Math.max(everyMs, 2 * evalWindowMs))
  const targets = targetCounts(state, project.codec, from, clock.roundOf(plan.cutTs))
  const remembered = await rememberedCodes(project, { version: plan.parent!, bundle }, content.ids, codes)
  return { bundle, codes, vectors, ends, remembered, traffic: Float64Array.from(content.ids, (id) => targets.get(id) ?? 0) }
}
