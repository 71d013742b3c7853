/**
 * Judges what an offline run made, on the events that it held out, and says what a report shows of it: guard and gate, the
 * figures of the raw content, of the head it began from and of the candidate, and heads between content and collaboration.
 * Invariant: nothing here was trained on; equal data and heads give equal figures.
 */

import type { ComputeWorker } from '../compute/index.ts'
import { planEvaluation, type EvaluationPlan, type EvaluationStream } from './evaluation.ts'
import { scoreVectors, unitRows } from './evaluation-scores.ts'
import { HeadEncoder } from './head-encoder.ts'
import type { Head } from './head.ts'
import type { HeldOutPairs } from './held-out-pairs.ts'
import { paretoSweep, tradeFigures, type ParetoCurve } from './interpolation.ts'
import { judge, judgeDefaults, type JudgeInput, type JudgeOptions, type Judgement, type VectorSet } from './judge.ts'
import type { OfflineData } from './offline-data.ts'
import type { OpenSimilarity } from './ports.ts'
import { rawVectors } from './raw-vectors.ts'
import { clusterAgreement, pairAuc, retrievalMetrics } from './retrieval-metrics.ts'
import { rowsOf } from './score-rows.ts'
import { retrievalReport, type RetrievalReport } from './retrieval-report.ts'
import { similarityIn } from './similarity.ts'
import { kendallAgreement, topKIntersection } from './space-agreement.ts'
import type { ContentVectors } from './statistics.ts'

/** Vector sets that are compared. */
export type SpaceName = 'raw' | 'start' | 'candidate'

/** What SAIL measures on a space, beside ranking; null where there is nothing to measure. */
export interface SpaceFigures {
  /** AUC of (history, next item) against all other items, and the distance of the two in standard deviations. */
  readonly separability: number | null
  readonly dPrime: number | null
  /** Share of events whose target leads back to their history. */
  readonly bijective: number | null
  /** NMI of the clusters of histories and of their targets. */
  readonly nmi: number | null
  /** Agreement with the items' own ID embeddings: Kendall's tau, and the share of the 100 nearest in both. */
  readonly kendall: number | null
  readonly top100: number | null
  /** AUC of held-out graded pairs: those of the median score and above against the others. */
  readonly pairAuc: number | null
}

export interface OfflineJudgement {
  readonly judgement: Judgement
  readonly retrieval: Readonly<Partial<Record<SpaceName, RetrievalReport>>>
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
  const judgement = await judge({ ...window, raw: sets.raw!, live: sets.start, candidate: sets.candidate! }, options, open)
  const retrieval: Partial<Record<SpaceName, RetrievalReport>> = {}
  const spaces: Partial<Record<SpaceName, SpaceFigures>> = {}
  if (judgement.clauses.some(({ name, verdict }) => name === 'finite-vectors' && verdict === 'fail'))
    return { judgement, retrieval, spaces }
  const plan = planEvaluation(window.stream, window.since, {
    ...judgeDefaults,
    ...options,
    ...window.window,
    coldBefore: window.window.from,
  })
  for (const name of Object.keys(sets) as SpaceName[]) {
    const set = sets[name]!
    const scores = await scoreVectors(plan, set.vectors, set.dim, open)
    retrieval[name] = retrievalReport(plan, scores, options.seed === undefined ? {} : { seed: options.seed })
    spaces[name] = await spaceFigures(data, window, plan, set, itemKind, open)
  }
  return { judgement, retrieval, spaces }
}

/** Heads between the end of what taught content and the candidate, on fewer events: a curve, not a verdict. */
export function offlinePareto(
  content: Head,
  { candidate, window, options, worker }: Pick<OfflineJudgeInput, 'candidate' | 'window' | 'options' | 'worker'>,
): Promise<ParetoCurve> {
  const open = similarityIn(worker)
  const raw = rawVectors(candidate, window.contents)
  return paretoSweep(content, candidate, async (head) =>
    tradeFigures(
      await judge(
        { ...window, raw, candidate: await publishedVectors(head, window.contents, worker) },
        { ...options, maxEvents: Math.min(options.maxEvents ?? sweptEvents, sweptEvents), replicates: sweptReplicates },
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

/** Events and items that the figures look at, the most: each is compared with every item, or clustered. */
const askedEvents = 2000
const askedItems = 2000

async function spaceFigures(
  data: OfflineData,
  window: OfflineWindow,
  plan: EvaluationPlan,
  { vectors, dim }: VectorSet,
  itemKind: string | undefined,
  open: OpenSimilarity,
): Promise<SpaceFigures> {
  const items = unitRows(vectors, dim, plan.order)
  const count = Math.min(plan.events, askedEvents)
  const events = Int32Array.from({ length: count }, (_, i) => Math.floor((i * plan.events) / count))
  const queries = new Float32Array(count * dim)
  events.forEach((event, e) => {
    for (let h = event * plan.historyLength; h < (event + 1) * plan.historyLength && plan.histories[h]! >= 0; h++) {
      for (let d = 0; d < dim; d++) queries[e * dim + d]! += items[plan.histories[h]! * dim + d]!
    }
  })
  const relevance = { offsets: Int32Array.from({ length: count + 1 }, (_, i) => i), items: events.map((event) => plan.targets[event]!) }
  const targets = rowsOf(items, dim, relevance.items)
  const found = count === 0 ? undefined : await retrievalMetrics({ queries, items, dim, relevance }, open)
  return {
    separability: finite(found?.separability.auc),
    dPrime: finite(found?.separability.dPrime),
    bijective: finite(found?.bijective),
    nmi: count < 2 ? null : finite(clusterAgreement(queries, targets, dim)),
    ...(await idAgreement(data, window, { vectors, dim }, itemKind, open)),
    pairAuc: gradedAuc(data, window, { vectors, dim }),
  }
}

/** Against the recommender's vectors of the same items. */
async function idAgreement(
  { teachers }: OfflineData,
  { ids }: OfflineWindow,
  { vectors, dim }: VectorSet,
  itemKind: string | undefined,
  open: OpenSimilarity,
): Promise<Pick<SpaceFigures, 'kendall' | 'top100'>> {
  const kind = teachers.kinds.find(({ name }) => name === itemKind)
  const all = kind === undefined ? [] : [...ids.keys()].filter((number) => teachers.embedding(kind.name, ids[number]!) !== undefined)
  if (kind === undefined || all.length < 3) return { kendall: null, top100: null }
  const count = Math.min(all.length, askedItems)
  const chosen = Int32Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]!)
  const own = rowsOf(vectors, dim, chosen)
  const theirs = new Float32Array(count * kind.dim)
  chosen.forEach((number, i) => theirs.set(teachers.embedding(kind.name, ids[number]!)!.vector, i * kind.dim))
  const pair = {
    a: { queries: own, items: own, dim },
    b: { queries: theirs, items: theirs, dim: kind.dim },
    self: Int32Array.from(chosen.keys()),
  }
  return {
    kendall: finite(await kendallAgreement(pair, {}, open)),
    top100: finite(await topKIntersection(pair, Math.min(100, count - 1), open)),
  }
}

function gradedAuc({ pairs }: OfflineData, { ids }: OfflineWindow, { vectors, dim }: VectorSet): number | null {
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const graded = [...pairs.values()].flatMap(({ heldOut }) =>
    heldOut.filter(({ queryId, targetId, score }) => score !== undefined && numbers.has(queryId) && numbers.has(targetId)),
  )
  if (graded.length === 0) return null
  const ascending = Float64Array.from(graded, ({ score }) => score!).sort()
  const [least, median] = [ascending[0]!, ascending[Math.floor(ascending.length / 2)]!]
  const side = (id: (pair: (typeof graded)[number]) => string): Float32Array =>
    rowsOf(
      vectors,
      dim,
      Int32Array.from(graded, (pair) => numbers.get(id(pair))!),
    )
  // With two grades the median is one of them: the lowest grade never counts as close.
  const labels = graded.map(({ score }) => (score! >= median && score! > least ? 1 : 0))
  return finite(
    pairAuc(
      side(({ queryId }) => queryId),
      side(({ targetId }) => targetId),
      dim,
      labels,
    ),
  )
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null
}
