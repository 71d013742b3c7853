/**
 * Judges what an offline run made, on the events that it held out, and says what a report shows of it: guard and gate, the
 * figures of the raw content, of the head it began from and of the candidate, and heads between content and collaboration.
 * Invariant: nothing here was trained on; equal data and heads give equal figures.
 */

import type { ComputeWorker } from '../compute/index.ts'
import { spaceFigures } from '../schemas/index.ts'
import { evaluationDefaults, type EvaluationStream } from './evaluation.ts'
import type { GateRules } from './gate.ts'
import { HeadEncoder } from './head-encoder.ts'
import type { Head } from './head.ts'
import { numberedPairs, splitPairs, type GradedPairs } from './held-out-pairs.ts'
import { paretoSweep, tradeFigures, type ParetoCurve } from './interpolation.ts'
import { judge, judgeInFull, type JudgeInput, type JudgeOptions, type Judgement } from './judge.ts'
import type { OfflineData } from './offline-data.ts'
import { rawVectors } from './raw-vectors.ts'
import { retrievalReport, type RetrievalReport } from './retrieval-report.ts'
import { similarityIn } from './similarity.ts'
import { spaceInput } from './space-input.ts'
import type { ContentVectors } from './statistics.ts'
import type { TaughtItems } from './taught-items.ts'
import type { VectorSet } from './vector-set.ts'

/** Vector sets that are compared. */
export type SpaceName = 'raw' | 'start' | 'candidate'

export interface OfflineJudgement {
  readonly judgement: Judgement
  readonly retrieval: Readonly<Partial<Record<SpaceName, RetrievalReport>>>
  /** The same over histories of the target's label or cluster alone (SAIL's Filtered set); its events are others. */
  readonly filtered: Readonly<Partial<Record<SpaceName, RetrievalReport>>>
}

/** What is asked of every head: gathered once. */
export interface OfflineWindow extends Omit<JudgeInput, 'candidate' | 'live' | 'raw' | 'spaces'> {
  readonly ids: readonly string[]
  readonly contents: readonly ContentVectors[]
  readonly graded?: GradedPairs
}

/** Liked items and the window that was held out; undefined when nothing was. */
export function offlineWindow(data: OfflineData): OfflineWindow | undefined {
  if (data.cutTs === Infinity) return undefined
  const born = new Map<string, number>()
  for (const { targetId, eventTs } of data.likes) {
    if (data.items.has(targetId) && !born.has(targetId)) born.set(targetId, eventTs)
  }
  const ids = [...born.keys()].sort()
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const users = new Map<string, number>()
  const stream: EvaluationStream = {
    times: Float64Array.from(data.likes, ({ eventTs }) => eventTs),
    users: Int32Array.from(data.likes, ({ userId }) => {
      if (!users.has(userId)) users.set(userId, users.size)
      return users.get(userId)!
    }),
    items: Int32Array.from(data.likes, ({ targetId }) => numbers.get(targetId) ?? -1),
  }
  return {
    ids,
    contents: ids.map((id) => data.items.get(id)!.vectors),
    stream,
    since: Float64Array.from(ids, (id) => born.get(id)!),
    window: { from: data.cutTs, until: data.newestTs + 1 },
    ...splitPairs(
      numberedPairs(
        [...data.pairs.values()].flatMap(({ heldOut }) => heldOut),
        numbers,
      ),
    ),
  }
}

export interface OfflineJudgeInput {
  readonly data: OfflineData
  readonly window: OfflineWindow
  readonly candidate: Head
  /** The head that a run began from, when one was given. */
  readonly start: Head | undefined
  readonly options: JudgeOptions
  /** Items whose ID embeddings taught the candidate. */
  readonly taught: TaughtItems
  /** Thread of everything that is computed. */
  readonly worker: ComputeWorker
}

/** Guard, gate and figures of a candidate. */
export async function judgeOffline(input: OfflineJudgeInput): Promise<OfflineJudgement> {
  const { window, candidate, start, options, worker } = input
  const live = start && (await publishedVectors(start, window.contents, worker))
  const { judgement, scored } = await judgeInFull(
    {
      ...window,
      raw: rawVectors(candidate, window.contents),
      live,
      candidate: await publishedVectors(candidate, window.contents, worker),
      spaces: spaceInput({
        ids: window.ids,
        content: (id) => input.data.items.get(id),
        own: input.data.teachers.ofItems,
        taught: input.taught,
        graded: window.graded,
        seed: options.seed ?? evaluationDefaults.seed,
      }),
    },
    options,
    similarityIn(worker),
  )
  const retrieval: Partial<Record<SpaceName, RetrievalReport>> = {}
  const filtered: Partial<Record<SpaceName, RetrievalReport>> = {}
  if (scored === undefined) return { judgement, retrieval, filtered }
  const bootstrap = options.seed === undefined ? {} : { seed: options.seed }
  const { raw, live: begun, candidate: ours } = scored.sets
  for (const [name, set] of [['raw', raw] as const, ['start', begun] as const, ['candidate', ours] as const]) {
    if (set === undefined) continue
    retrieval[name] = retrievalReport(scored.plan, set.events, bootstrap)
    filtered[name] = retrievalReport(scored.filtered!, set.filtered!, bootstrap)
  }
  return { judgement, retrieval, filtered }
}

/** Thresholds on spaces are for the head that is kept: they cost more than the rest together. */
function withoutSpaces(rules: GateRules = {}): GateRules {
  return Object.fromEntries(Object.entries(rules).filter(([name]) => !(spaceFigures as readonly string[]).includes(name)))
}

/** Heads between the end of what taught content and the candidate, on fewer events: a curve, not a verdict. */
export function offlinePareto(
  content: Head,
  { candidate, window, options, worker }: Pick<OfflineJudgeInput, 'candidate' | 'window' | 'options' | 'worker'>,
): Promise<ParetoCurve> {
  const open = similarityIn(worker)
  const raw = rawVectors(candidate, window.contents)
  const gate = withoutSpaces(options.gate)
  return paretoSweep(content, candidate, async (head) =>
    tradeFigures(
      await judge(
        { ...window, raw, candidate: await publishedVectors(head, window.contents, worker) },
        { ...options, gate, maxEvents: Math.min(options.maxEvents ?? sweptEvents, sweptEvents), replicates: sweptReplicates },
        open,
      ),
    ),
  )
}

/** Events and replicates of each head on the curve: eleven heads are asked. */
const sweptEvents = 2000
const sweptReplicates = 200

/** What a head publishes for items, in full. */
export async function publishedVectors(head: Head, contents: readonly ContentVectors[], worker: ComputeWorker): Promise<VectorSet> {
  const encoder = await HeadEncoder.create(head, { worker })
  try {
    return { vectors: (await encoder.encode(contents)).published, dim: encoder.dim }
  } finally {
    await encoder.close()
  }
}
