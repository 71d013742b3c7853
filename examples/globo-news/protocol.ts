/**
 * The globo-news protocol: clicks of one news portal in time order, content vectors of 250 dims, next-click evaluation on
 * 2 October 2017. Loads the files, fixes the split, and holds the reference figures.
 * Invariant: nothing after the cut is seen by anything but the evaluation's histories.
 */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createGunzip } from 'node:zlib'
import { parse } from 'csv-parse'
import { planEvaluation, SampleBuilder, scoreVectors, summarize } from '../../distill/index.ts'
import type { EvaluationPlan, EvaluationScores, EvaluationStream, EvaluationSummary, VectorSet } from '../../distill/index.ts'
import type { DistillSample } from '../../schemas/index.ts'
import { readFloats } from '../read-floats.ts'

/** End of training, start and end of the test day (UTC, milliseconds). */
export const cutTs = Date.UTC(2017, 9, 2)
export const untilTs = Date.UTC(2017, 9, 3)

export interface Globo {
  readonly userIds: readonly string[]
  readonly itemIds: readonly string[]
  /** Clicks in time order; clicks of equal time keep the file's order. */
  readonly clicks: EvaluationStream
  /** Row-major float32, shape [itemIds.length, dim]. */
  readonly vectors: Float32Array
  readonly dim: number
  /** First click of each item; Infinity when it has none. */
  readonly since: Float64Array
  /** 1 = clicked before the cut. */
  readonly warm: Uint8Array
}

/** Reads the folder's `clicks_embedded.csv.gz` and `article_emb250.f32` with its ids. */
export async function loadGlobo(dir: string): Promise<Globo> {
  const itemIds = (await readFile(join(dir, 'article_emb250.ids.txt'), 'utf8')).split('\n').filter((line) => line !== '')
  const vectors = await readFloats(join(dir, 'article_emb250.f32'))
  const itemNumbers = new Map(itemIds.map((id, i) => [id, i]))
  const userNumbers = new Map<string, number>()
  const rows: { time: number; user: number; item: number }[] = []
  const parser = createReadStream(join(dir, 'clicks_embedded.csv.gz'))
    .pipe(createGunzip())
    .pipe(parse({ columns: false, from_line: 2 }))
  for await (const [userId, , itemId, time] of parser as AsyncIterable<string[]>) {
    let user = userNumbers.get(userId!)
    if (user === undefined) userNumbers.set(userId!, (user = userNumbers.size))
    rows.push({ time: Number(time), user, item: itemNumbers.get(itemId!) ?? -1 })
  }
  rows.sort((a, b) => a.time - b.time)
  const clicks = {
    times: Float64Array.from(rows, ({ time }) => time),
    users: Int32Array.from(rows, ({ user }) => user),
    items: Int32Array.from(rows, ({ item }) => item),
  }
  const since = new Float64Array(itemIds.length).fill(Infinity)
  rows.forEach(({ item, time }) => item >= 0 && (since[item] = Math.min(since[item]!, time)))
  const warm = Uint8Array.from(since, (first) => (first < cutTs ? 1 : 0))
  return { userIds: [...userNumbers.keys()], itemIds, clicks, vectors, dim: vectors.length / itemIds.length, since, warm }
}

/** The scored events of the test day: every 14th. */
export function planGlobo({ clicks, since }: Globo): EvaluationPlan {
  return planEvaluation(clicks, since, { from: cutTs, until: untilTs, every: 14 })
}

/** Vectors minus the mean over warm articles: the baseline's input. */
export function centered({ vectors, dim, warm }: Globo): Float32Array {
  const mean = new Float64Array(dim)
  let count = 0
  warm.forEach((flag, i) => {
    if (!flag) return
    count++
    for (let d = 0; d < dim; d++) mean[d]! += vectors[i * dim + d]!
  })
  return vectors.map((x, at) => x - mean[at % dim]! / count)
}

/** One way to make item vectors, and what it should measure. */
export interface Arm {
  readonly name: string
  readonly reference: readonly number[]
  /** Seeds to train with; one run when nothing is trained. */
  readonly seeds: readonly number[]
  /** Vectors of all items by item number. */
  vectors(globo: Globo, seed: number): Promise<VectorSet> | VectorSet
}

/** The training rows: one sample per click before the cut, or of some other stretch, as the streaming job makes them. */
export function trainingSamples({ clicks, userIds, itemIds }: Globo, from = -Infinity, until = cutTs): DistillSample[] {
  const builder = new SampleBuilder({ positiveBehaviors: new Set(['click']) })
  const samples: DistillSample[] = []
  for (let i = 0; i < clicks.times.length && clicks.times[i]! < until; i++) {
    const itemId = itemIds[clicks.items[i]!]
    if (itemId === undefined) continue
    const sample = builder.add({ userId: userIds[clicks.users[i]!]!, itemId, eventTs: clicks.times[i]!, behaviors: ['click'] })
    if (sample && sample.eventTs >= from) samples.push(sample)
  }
  return samples
}

/** Scores one vector set on the plan. */
export async function evaluateGlobo(
  plan: EvaluationPlan,
  { vectors, dim }: VectorSet,
): Promise<{ readonly scores: EvaluationScores; readonly summary: EvaluationSummary }> {
  const scores = await scoreVectors(plan, vectors, dim)
  return { scores, summary: summarize(plan, scores) }
}

/** The columns of the reference table, in order. */
export const columns = [
  'warmUni',
  'warmPop',
  'warmRecall10',
  'coldUni',
  'coldPop',
  'coldRecall10',
  'recall10',
  'recall50',
] as const satisfies readonly (keyof EvaluationSummary)[]

export type Column = (typeof columns)[number]

/** What an independent implementation measured under the same protocol. Tolerance: AUC .003, recall .006. */
export const reference = {
  raw: [0.704, 0.612, 0.113, 0.711, 0.547, 0.106, 0.11, 0.188],
  centered: [0.678, 0.598, 0.124, 0.725, 0.563, 0.113, 0.119, 0.206],
  halfWhitened: [0.685, 0.601, 0.144, 0.731, 0.553, 0.136, 0.14, 0.244],
  reach: [0.753, 0.625, 0.155, 0.723, 0.568, 0.149, 0.152, 0.26],
} as const

/** How far a figure may be from the reference. */
export function tolerance(column: Column): number {
  return column.includes('ecall') ? 0.006 : 0.003
}
