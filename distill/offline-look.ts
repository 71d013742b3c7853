/** What an offline run looks at when its training has ended: the map of items, the judgment, and heads between content and the last. */

import type { ComputeWorker } from '../compute/index.ts'
import { interpolateHeads } from './interpolation.ts'
import type { Head } from './head.ts'
import { itemMap, shownOnMap } from './item-map.ts'
import type { OfflineData } from './offline-data.ts'
import { judgeOffline, offlinePareto, offlineWindow, publishedVectors } from './offline-judge.ts'
import { takesPairs, type OfflineOptions, type OfflinePlan } from './offline-plan.ts'
import type { Seen } from './offline-report.ts'
import type { StageEnd } from './offline-training.ts'
import { rawVectors } from './raw-vectors.ts'
import type { TaughtItems } from './taught-items.ts'

/** What there is to look with. */
export interface Look {
  readonly data: OfflineData
  readonly plan: OfflinePlan
  readonly options: OfflineOptions
  readonly start: Head | undefined
  /** What training began from, given or made. */
  readonly begun: Head
  readonly ends: readonly StageEnd[]
  readonly head: Head
  /** Items whose ID embeddings taught it. */
  readonly taught: TaughtItems
  readonly seed: number
  readonly worker: ComputeWorker
}

/**
 * Judges a head on what is held out, pairs that nobody trains on left aside.
 * @returns what a report shows, and the head between content and this one that passes when this one was refused
 */
export async function lookAt(look: Look): Promise<{ readonly seen: Seen; readonly mixed: Head | null }> {
  const { plan, options, start, begun, ends, head, taught, seed, worker } = look
  const data = { ...look.data, pairs: new Map([...look.data.pairs].filter(([name]) => takesPairs(plan, name))) }
  const window = offlineWindow(data)
  const contents = shownOnMap(window?.ids ?? data.warm).map((id) => data.items.get(id)!)
  const vectors = contents.map((item) => item.vectors)
  const map = itemMap(contents, rawVectors(head, vectors), await publishedVectors(head, vectors, worker), seed) ?? null
  if (window === undefined || options.judge === undefined) return { seen: { judged: null, pareto: null, mixed: null, map }, mixed: null }
  const asked = { data, window, candidate: head, start, options: options.judge, taught, worker }
  const judged = await judgeOffline(asked)
  const isContent = (stage: number): boolean =>
    plan.stages[stage]!.sources.every((name) => plan.sources.find((source) => source.name === name)?.kind === 'pairs')
  const content = ends.filter(({ stage }) => stage < plan.stages.length - 1 && isContent(stage)).at(-1)?.head ?? begun
  const pareto = judged.judgement.events === 0 ? null : await offlinePareto(content, asked)
  const k = judged.judgement.verdict === 'refused' ? (pareto?.chosen ?? null) : null
  if (k === null || k === 1) return { seen: { judged, pareto, mixed: null, map }, mixed: null }
  // The curve asks fewer events, and neither the start nor thresholds on spaces.
  const between = interpolateHeads(content, head, k)
  const mixed = { k, ...(await judgeOffline({ ...asked, candidate: between })) }
  return { seen: { judged, pareto, mixed, map }, mixed: mixed.judgement.verdict === 'pass' ? between : null }
}
