/**
 * Judges what an offline run made, on the events that it held out, and says what a report shows of it: guard and gate, the
 * figures of the raw content, of the head it began from and of the candidate, and heads between content and collaboration.
 * Invariant: nothing here was trained on; equal data and heads give equal figures.
 */

import type { ComputeWorker } from '../compute/index.ts'
import { spaceFigures, type SpaceFigure } from '../schemas/index.ts'
import { clusterItems } from './content-clusters.ts'
import { evaluationDefaults, planEvaluation, type EvaluationOptions, type EvaluationPlan, type EvaluationStream } from './evaluation.ts'
import { scoreVectors } from './evaluation-scores.ts'
import { gate, type GateRules, type JudgedFigure } from './gate.ts'
import { guardDefaults } from './guard.ts'
import { HeadEncoder } from './head-encoder.ts'
import type { Head } from './head.ts'
import type { HeldOutPairs } from './held-out-pairs.ts'
import { paretoSweep, tradeFigures, type ParetoCurve } from './interpolation.ts'
import { judge, judgeDefaults, withGateRows, type JudgeInput, type JudgeOptions, type Judgement, type VectorSet } from './judge.ts'
import type { OfflineData } from './offline-data.ts'
import { rawVectors } from './raw-vectors.ts'
import { retrievalReport, type RetrievalReport } from './retrieval-report.ts'
import { similarityIn } from './similarity.ts'
import { measureSpace, type MeasuredSpace, type SpaceFigures } from './space-figures.ts'
import type { ContentVectors } from './statistics.ts'

/** Vector sets that are compared. */
export type SpaceName = 'raw' | 'start' | 'candidate'

export interface OfflineJudgement {
  readonly judgement: Judgement
  readonly retrieval: Readonly<Partial<Record<SpaceName, RetrievalReport>>>
  /** The same over histories of the target's label or cluster alone (SAIL's Filtered set); its events are others. */
  readonly filtered: Readonly<Partial<Record<SpaceName, RetrievalReport>>>
  readonly spaces: Readonly<Partial<Record<SpaceName, SpaceFigures>>>
}

/** What is asked of every head: gathered once. */
export interface OfflineWindow extends Omit<JudgeInput, 'candidate' | 'live' | 'raw'> {
  readonly ids: readonly string[]
  readonly contents: readonly ContentVectors[]
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
  const pairs = heldOutPairs(data, numbers)
  return {
    ids,
    contents: ids.map((id) => data.items.get(id)!.vectors),
    stream,
    since: Float64Array.from(ids, (id) => born.get(id)!),
    window: { from: data.cutTs, until: data.newestTs + 1 },
    ...(pairs && { pairs }),
  }
}

/** Pairs without a score belong together; graded ones only say how well. */
function heldOutPairs({ pairs }: OfflineData, numbers: ReadonlyMap<string, number>): HeldOutPairs | undefined {
  const queries: number[] = []
  const targets: number[] = []
  for (const { heldOut } of pairs.values()) {
    for (const { queryId, targetId, score } of heldOut) {
      const [query, target] = [numbers.get(queryId), numbers.get(targetId)]
      if (query === undefined || target === undefined || score !== undefined) continue
      queries.push(query)
      targets.push(target)
    }
  }
  return queries.length === 0 ? undefined : { queries: Int32Array.from(queries), targets: Int32Array.from(targets) }
}

export interface OfflineJudgeInput {
  readonly data: OfflineData
  readonly window: OfflineWindow
  readonly candidate: Head
  /** The head that a run began from, when one was given. */
  readonly start: Head | undefined
  readonly options: JudgeOptions
  /** Kind of ID embedding that is joined by the item itself, to compare with. */
  readonly itemKind?: string | undefined
  /** Thread of everything that is computed. */
  readonly worker: ComputeWorker
}

/** Guard, gate and figures of a candidate. */
export async function judgeOffline(input: OfflineJudgeInput): Promise<OfflineJudgement> {
  const { data, window, candidate, start, options, itemKind, worker } = input
  const open = similarityIn(worker)
  const sets: Partial<Record<SpaceName, VectorSet>> = {
    raw: rawVectors(candidate, window.contents),
    ...(start && { start: await publishedVectors(start, window.contents, worker) }),
    candidate: await publishedVectors(candidate, window.contents, worker),
  }
  const { ofSpaces, ofJudge } = splitGate(options.gate)
  const judgement = await judge(
    { ...window, raw: sets.raw!, live: sets.start, candidate: sets.candidate! },
    { ...options, gate: ofJudge },
    open,
  )
  const retrieval: Partial<Record<SpaceName, RetrievalReport>> = {}
  const filtered: Partial<Record<SpaceName, RetrievalReport>> = {}
  const measured: Partial<Record<SpaceName, MeasuredSpace>> = {}
  if (isBroken(judgement)) return { judgement, retrieval, filtered, spaces: {} }
  const plan = planOf(window, options)
  const consistent = planOf(window, { ...options, keep: 'same-label', reach: filteredReach, labels: labelsOf(data, window, options) })
  const bootstrap = options.seed === undefined ? {} : { seed: options.seed }
  for (const name of Object.keys(sets) as SpaceName[]) {
    const set = sets[name]!
    retrieval[name] = retrievalReport(plan, await scoreVectors(plan, set.vectors, set.dim, open), bootstrap)
    filtered[name] = retrievalReport(consistent, await scoreVectors(consistent, set.vectors, set.dim, open), bootstrap)
    measured[name] = await measureSpace({ data, window, plan, itemKind }, set, open)
  }
  return {
    judgement: withSpaceGate(judgement, ofSpaces, measured, options),
    retrieval,
    filtered,
    spaces: Object.fromEntries(Object.entries(measured).map(([name, { figures }]) => [name, figures])),
  }
}

/** How far back a history of one label reaches (SAIL's Filtered set). */
const filteredReach = 1000
/** Most clusters of items without a label: as fine as a label is. */
const labelClusters = 100

function planOf(window: OfflineWindow, options: Omit<EvaluationOptions, 'from' | 'until'>): EvaluationPlan {
  return planEvaluation(window.stream, window.since, {
    ...judgeDefaults,
    ...options,
    ...window.window,
    coldBefore: window.window.from,
  })
}

/** First label of each item, else its cluster by content, by number; -1 = neither. */
function labelsOf(data: OfflineData, { ids }: OfflineWindow, { seed = evaluationDefaults.seed }: JudgeOptions): Int32Array {
  const labelOf = clusterItems([{ history: ids }], (id) => data.items.get(id), { clusters: labelClusters, seed })
  const numbers = new Map<string, number>()
  return Int32Array.from(ids, (id) => {
    const label = labelOf(id)
    if (label === '') return -1
    if (!numbers.has(label)) numbers.set(label, numbers.size)
    return numbers.get(label)!
  })
}

function isBroken({ clauses }: Judgement): boolean {
  return clauses.some(({ name, verdict }) => name === 'finite-vectors' && verdict === 'fail')
}

/** Thresholds on what only a run over files measures, and the others. */
function splitGate(rules: GateRules = {}): { readonly ofSpaces: GateRules; readonly ofJudge: GateRules } {
  const isSpace = (name: string): boolean => (spaceFigures as readonly string[]).includes(name)
  const own = (wanted: boolean): GateRules => Object.fromEntries(Object.entries(rules).filter(([name]) => isSpace(name) === wanted))
  return { ofSpaces: own(true), ofJudge: own(false) }
}

function withSpaceGate(
  judgement: Judgement,
  rules: GateRules,
  { raw, start, candidate }: Partial<Record<SpaceName, MeasuredSpace>>,
  { minEvents = guardDefaults.minEvents }: JudgeOptions,
): Judgement {
  const events = (name: JudgedFigure): number => candidate!.behind[name as SpaceFigure]
  const rows = gate(rules, { candidate: candidate!.figures, raw: raw!.figures, live: start?.figures ?? null, events }, minEvents)
  return withGateRows(judgement, rows)
}

/** Heads between the end of what taught content and the candidate, on fewer events: a curve, not a verdict. */
export function offlinePareto(
  content: Head,
  { candidate, window, options, worker }: Pick<OfflineJudgeInput, 'candidate' | 'window' | 'options' | 'worker'>,
): Promise<ParetoCurve> {
  const open = similarityIn(worker)
  const raw = rawVectors(candidate, window.contents)
  const { ofJudge } = splitGate(options.gate)
  return paretoSweep(content, candidate, async (head) =>
    tradeFigures(
      await judge(
        { ...window, raw, candidate: await publishedVectors(head, window.contents, worker) },
        { ...options, gate: ofJudge, maxEvents: Math.min(options.maxEvents ?? sweptEvents, sweptEvents), replicates: sweptReplicates },
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
