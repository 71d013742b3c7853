/**
 * The two sides of training rows as the loss of their source has them: a history goes through the pooler that its source trains,
 * an item and its ID embeddings are the head's vector and the projected teacher.
 * Invariant: nothing is computed in a way of its own: poolers and projections are the graphs that training uses, with what
 * it has learned so far.
 */

import { Graph, Session, tensor, toModel, type ComputeWorker, type Tensor } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { TeacherRows, TrainingRow } from './batches.ts'
import { appendTeacher, createTeacher, teacherInputs } from './id-losses.ts'
import { appendPooler, headPooler } from './pooler.ts'
import { rowVectors, type ItemVectors } from './row-vectors.ts'
import type { TrainingSource } from './sources.ts'
import type { Trained, Trainer, TrainingPlan } from './trainer.ts'

/** Vectors are row-major float32, as many as are asked for, and not always of unit length. */
export interface RowSides {
  /** Whether a row teaches: of `ids`, whether its item has a teacher that is trusted. One entry per row. */
  teaches(rows: readonly TrainingRow[]): boolean[]
  queries(rows: readonly TrainingRow[]): Promise<Float32Array>
  /** Items as what queries are drawn to and pushed away from. */
  targets(ids: readonly string[]): Promise<Float32Array>
}

export interface RowSidesInput {
  readonly source: TrainingSource
  readonly trained: Trained
  /** All items that will be asked for. */
  readonly items: ItemVectors
  readonly trainer: Pick<Trainer, 'historyLength' | 'pooler' | 'worker'>
  readonly teachers: TrainingPlan['teachers']
}

/** How a source sees its rows. @throws SIDESTREAM_USAGE_INVALID for a source of ids without teachers */
export function rowSides({ source, trained, items, trainer, teachers }: RowSidesInput): RowSides {
  const { historyLength, worker } = trainer
  const { vectors, dim, places } = items
  const itemVectors = (ids: readonly string[]): Float32Array => {
    const out = new Float32Array(ids.length * dim)
    for (const [i, id] of ids.entries()) out.set(vectors.subarray(places.get(id)! * dim, (places.get(id)! + 1) * dim), i * dim)
    return out
  }
  if (source.kind === 'ids') {
    const rowsOf = (ids: readonly string[]): TeacherRows => teachersOf(source, teachers)(source, ids)
    const idsOf = (rows: readonly TrainingRow[]): string[] => rows.map(({ targetId }) => targetId)
    return {
      teaches: (rows) => {
        const { weights, presence } = rowsOf(idsOf(rows))
        const kinds = source.entities.length
        return rows.map((_, i) => weights[i]! > 0 && presence.subarray(i * kinds, (i + 1) * kinds).some((flag) => flag > 0))
      },
      queries: async (rows) => itemVectors(idsOf(rows)),
      targets: (ids) => projectTeachers(source, trained, rowsOf(ids), worker),
    }
  }
  return {
    teaches: (rows) => rows.map(() => true),
    queries: async (rows) =>
      source.pooler === 'transformer' ? poolHistories(trained, rows, items, trainer) : rowVectors(rows, items, historyLength).queries,
    targets: async (ids) => itemVectors(ids),
  }
}

/** The plan's teachers. @throws SIDESTREAM_USAGE_INVALID when it has none */
export function teachersOf(
  { name }: Pick<TrainingSource, 'name'>,
  teachers: TrainingPlan['teachers'],
): NonNullable<TrainingPlan['teachers']> {
  if (teachers !== undefined) return teachers
  throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `source ${name} needs ID embeddings: give the plan its teachers`)
}

/** Rows of one run; short ones are filled up, so that a row does not depend on its company. */
const block = 256

/** Histories as the trained transformer pools them, [rows, dims]; not of unit length. */
async function poolHistories(
  { head, parameters }: Trained,
  rows: readonly TrainingRow[],
  { vectors, dim, places }: ItemVectors,
  { historyLength: length, pooler, worker }: RowSidesInput['trainer'],
): Promise<Float32Array> {
  const fresh = headPooler(head, length, pooler)
  const graph = new Graph({ name: 'pooler' })
  const history = graph.input('history', 'float32', [block, length, dim])
  const mask = graph.input('mask', 'float32', [block, length])
  graph.output('rows', appendPooler(graph, { ...fresh, parameters: overlaid(fresh.parameters, parameters) }, history, mask).pooled)
  return inBlocks(graph, worker, rows.length, dim, (from, until) => {
    const feeds = { history: new Float32Array(block * length * dim), mask: new Float32Array(block * length) }
    for (let i = from; i < until; i++) {
      for (const [k, id] of rows[i]!.history.slice(-length).entries()) {
        const at = (i - from) * length + k
        feeds.history.set(vectors.subarray(places.get(id)! * dim, (places.get(id)! + 1) * dim), at * dim)
        feeds.mask[at] = 1
      }
    }
    return { history: tensor('float32', [block, length, dim], feeds.history), mask: tensor('float32', [block, length], feeds.mask) }
  })
}

/** Teachers in the head's space by the trained projection, [rows, dims]; not of unit length. */
async function projectTeachers(
  { entities }: TrainingSource,
  { head, parameters }: Trained,
  { vectors, presence }: TeacherRows,
  worker: ComputeWorker,
): Promise<Float32Array> {
  const { dims, seed } = head.spec
  const fresh = createTeacher({ entities, dims, seed })
  const teacher = { ...fresh, parameters: overlaid(fresh.parameters, parameters) }
  const graph = new Graph({ name: 'teacher' })
  graph.output('rows', appendTeacher(graph, teacher, teacherInputs(graph, teacher, block)).projected)
  const part = (all: Float32Array, width: number, from: number, until: number): Tensor => {
    const out = new Float32Array(block * width)
    out.set(all.subarray(from * width, until * width))
    return tensor('float32', [block, width], out)
  }
  return inBlocks(graph, worker, presence.length / entities.length, dims, (from, until) => ({
    idPresence: part(presence, entities.length, from, until),
    ...Object.fromEntries(entities.map(({ name, dim }, k) => [`id_${name}`, part(vectors[k]!, dim, from, until)])),
  }))
}

/** What was trained, where it was. */
function overlaid(initial: ReadonlyMap<string, Tensor>, trained: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  return new Map(Array.from(initial, ([name, start]) => [name, trained.get(name) ?? start]))
}

/** Runs a graph of `block` rows with output `rows` over as many as there are, row-major [count, dim]. */
async function inBlocks(
  graph: Graph,
  worker: ComputeWorker,
  count: number,
  dim: number,
  feeds: (from: number, until: number) => Record<string, Tensor>,
): Promise<Float32Array> {
  const out = new Float32Array(count * dim)
  const session = await Session.create(toModel(graph), { name: graph.name, worker })
  try {
    for (let from = 0; from < count; from += block) {
      const until = Math.min(count, from + block)
      const { rows } = await session.run(feeds(from, until), { transfer: true })
      out.set((rows!.data as Float32Array).subarray(0, (until - from) * dim), from * dim)
    }
  } finally {
    await session.close()
  }
  return out
}
