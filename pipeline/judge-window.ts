/**
 * Gathers what the judge needs from the owner's state: the liked items of the window with their histories, when each item
 * was first liked, and the same content encoded by candidate and live head.
 * Invariant: everything is as of the window's end, in item order; the feature store is never read.
 */

import { ComputeWorker } from '../compute/index.ts'
import {
  evaluationDefaults,
  HeadEncoder,
  judge,
  nobodyTaught,
  numberedPairs,
  rawVectors,
  similarityIn,
  spaceInput,
  splitPairs,
} from '../distill/index.ts'
import type { Checkpoint, EvaluationStream, Head, Judgement, VectorSet } from '../distill/index.ts'
import type { DistillSample, ItemContent } from '../schemas/index.ts'
import { semanticIdView } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { catalogueAsOf } from './content-state.ts'
import { judgeOptions } from './judge-options.ts'
import { pairsFirstSeen, pairSources } from './pair-state.ts'
import type { Project } from './project.ts'
import { firstLiked, samplesOfRounds } from './samples-state.ts'
import { ownEmbeddings } from './teacher-state.ts'

export interface JudgeRequest {
  readonly project: Project
  readonly state: State
  readonly candidate: Pick<Checkpoint, 'head' | 'taught'>
  /** Undefined when nothing is live. */
  readonly live: Head | undefined
  /** Half-open, event time. */
  readonly window: { readonly from: number; readonly until: number }
}

/** The liked items of a window and everything they are ranked against. */
export interface WindowEvents {
  /** Items that were liked before the window's end and have content, in item order. */
  readonly ids: readonly string[]
  readonly contents: readonly Pick<ItemContent, 'vectors' | 'labels'>[]
  readonly stream: EvaluationStream
  /** When each item was first liked, [ids.length]. */
  readonly since: Float64Array
}

/** Reads the events of a window from the owner's state. */
export function readWindow({ config, codec }: Project, state: State, { from, until }: JudgeRequest['window']): WindowEvents {
  const roundOf = (ts: number): number => Math.floor(ts / config.training.roundMs)
  const born = new Map<string, number>()
  for (const [itemId, eventTs] of firstLiked(state)) if (eventTs < until) born.set(itemId, eventTs)
  const ids: string[] = []
  const contents: Pick<ItemContent, 'vectors' | 'labels'>[] = []
  for (const { itemId, value } of catalogueAsOf(state, until)) {
    if (!born.has(itemId)) continue
    ids.push(itemId)
    const { vectors, labels } = codec.decode('item-content', value)
    contents.push({ vectors, ...(labels && { labels }) })
  }
  const samples = samplesOfRounds(state, codec, roundOf(from - evaluationDefaults.popularityMs), roundOf(until - 1) + 1)
  const since = Float64Array.from(ids, (id) => born.get(id)!)
  return { ids, contents, since, stream: streamOf(samples, ids, since, from) }
}

/** The judgment of a candidate on a complete window. Same state, same answer. */
export async function judgeWindow(request: JudgeRequest): Promise<Judgement> {
  const { project, state, candidate, live, window } = request
  const events = readWindow(project, state, window)
  const vectors = events.contents.map((item) => item.vectors)
  const { config, codec } = project
  const numbers = new Map(events.ids.map((id, number) => [id, number]))
  // Content pairs that came in the window, among its items; none when no source of pairs is read from the topic.
  const { pairs, graded } = splitPairs(numberedPairs(pairsFirstSeen(state, codec, pairSources(config), window), numbers))
  const worker = new ComputeWorker({ name: 'judge' })
  try {
    return await judge(
      {
        ...(pairs && { pairs }),
        window,
        stream: events.stream,
        since: events.since,
        candidate: await encodeAll(project, candidate.head, vectors, worker),
        live: live && (await encodeAll(project, live, vectors, worker)),
        raw: rawVectors(candidate.head, vectors),
        spaces: spaceInput({
          ids: events.ids,
          content: (id) => events.contents[numbers.get(id) ?? -1],
          own: ownEmbeddings(config, state, codec, window.until),
          taught: candidate.taught ?? nobodyTaught,
          graded,
          seed: config.seed,
        }),
      },
      judgeOptions(project.config),
      similarityIn(worker),
    )
  } finally {
    await worker.close()
  }
}

/**
 * The liked items as one stream. Before the first sample of a user stand the items of its history, so that histories reach
 * back past the samples kept; everything born before the window is liked once by nobody, so that what is warm is known without
 * keeping every old sample. Both stand before anything that is counted as popularity.
 */
function streamOf(samples: readonly DistillSample[], ids: readonly string[], since: Float64Array, from: number): EvaluationStream {
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const users = new Map<string, number>()
  const first = Math.min(from, samples[0]?.eventTs ?? from) - 86_400_000
  const rows: [time: number, user: number, item: number][] = []
  since.forEach((ts, item) => ts < from && rows.push([first, -1, item]))
  const later: [number, number, number][] = []
  for (const { userId, targetId, eventTs, history } of samples) {
    let user = users.get(userId)
    if (user === undefined) {
      users.set(userId, (user = users.size))
      for (const id of history) rows.push([first + 1, user, numbers.get(id) ?? -1])
    }
    later.push([eventTs, user, numbers.get(targetId) ?? -1])
  }
  const all = [...rows.filter(([time]) => time === first), ...rows.filter(([time]) => time !== first), ...later]
  return {
    times: Float64Array.from(all, ([time]) => time),
    users: Int32Array.from(all, ([, user]) => user),
    items: Int32Array.from(all, ([, , item]) => item),
  }
}

async function encodeAll(
  { config }: Project,
  head: Head,
  contents: readonly ItemContent['vectors'][],
  worker: ComputeWorker,
): Promise<VectorSet> {
  const prefix = config.views[semanticIdView(config)]!.prefix
  const encoder = await HeadEncoder.create(head, { worker, threads: config.training.threads, ...(prefix === 'full' ? {} : { prefix }) })
  try {
    return { vectors: (await encoder.encode(contents)).published, dim: encoder.dim }
  } finally {
    await encoder.close()
  }
}
