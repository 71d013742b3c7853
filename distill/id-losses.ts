/**
 * ID-to-item distillation as graph nodes, after SAIL-Embedding (arXiv 2510.12709, section 4): the recommender's ID embeddings of
 * an item are mapped into the head's space together and teach the head where the item belongs. The paper names a feature
 * projection and no shape; ours is a sum of linear maps, so that a missing kind of ID is simply left out.
 * Invariants: ID embeddings are constants; the projection trains beside the head and is no part of it, so it is gone when
 * the head is served; an item without any ID embedding changes nothing.
 */

import { fillNormal, zeros, type Dim, type Graph, type Tensor, type Value } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { infoNce, prefixView, type HardNegatives, type LossOutputs } from './losses.ts'

/** One kind of ID embedding: of the item itself, its author, its category, … */
export interface TeacherEntity {
  readonly name: string
  /** Dims of its embeddings. */
  readonly dim: number
}

export interface TeacherOptions {
  /** At least one; names differ. */
  readonly entities: readonly TeacherEntity[]
  /** Dims of the student: the head's `dims`. */
  readonly dims: number
  /**
   * Seed of the random start of the projection.
   * @default 0
   */
  readonly seed?: number
}

/** A projection that can be trained. */
export interface Teacher {
  readonly entities: readonly TeacherEntity[]
  readonly dims: number
  /** `teacher.<entity>.W` [dim, dims] for each entity, and `teacher.b` [dims]. */
  readonly parameters: ReadonlyMap<string, Tensor>
}

/**
 * A projection before any training: each W normal with standard deviation 1 / sqrt(dim), so that kinds of different dims
 * start with the same say, b = 0.
 * @throws SIDESTREAM_USAGE_INVALID
 */
export function createTeacher({ entities, dims, seed = 0 }: TeacherOptions): Teacher {
  if (entities.length === 0) throw invalid('a teacher needs at least one kind of ID embedding')
  if (new Set(entities.map(({ name }) => name)).size < entities.length) throw invalid('names of ID embeddings must differ')
  requireWhole('dims of the teacher', dims)
  const parameters = new Map<string, Tensor<'float32'>>()
  for (const [stream, { name, dim }] of entities.entries()) {
    requireWhole(`dim of ID embedding ${name}`, dim)
    const weight = zeros('float32', [dim, dims])
    fillNormal(weight.data, seed, stream)
    for (let i = 0; i < weight.data.length; i++) weight.data[i]! /= Math.sqrt(dim)
    parameters.set(weightOf(name), weight)
  }
  parameters.set(bias, zeros('float32', [dims]))
  return { entities, dims, parameters }
}

/** What a teacher's graph reads; K kinds. */
export interface TeacherInputs {
  /** ID embeddings in the order of `entities`, [B, dim of k]; any finite values where absent. */
  readonly vectors: readonly Value[]
  /** 1 where row and kind meet, else 0; [B, K]. */
  readonly presence: Value
}

/** What it gives. */
export interface TeacherOutputs {
  /** [B, dims], not of unit length. */
  readonly projected: Value
  /** bool [B]: rows with an ID embedding of any kind. */
  readonly known: Value
}

/** Declares a teacher's inputs in a graph: `id_<entity>` and `idPresence`, over `rows` items. */
export function teacherInputs(graph: Graph, { entities }: Teacher, rows: Dim = 'rows'): TeacherInputs {
  return {
    vectors: entities.map(({ name, dim }) => graph.input(`id_${name}`, graph.dtype, [rows, dim])),
    presence: graph.input('idPresence', graph.dtype, [rows, entities.length]),
  }
}

/** Feature projection: t = sum_k presence_k W_k l2(id_k) + b. Declares the teacher's parameters, so once per graph. */
export function appendTeacher(graph: Graph, { entities, parameters }: Teacher, { vectors, presence }: TeacherInputs): TeacherOutputs {
  const parameter = (name: string): Value => graph.parameter(name, parameters.get(name)!, { clock: 'teacher' })
  const maps = entities.map(({ name }, k) => {
    const unit = graph.l2norm(graph.stopGradient(vectors[k]!))
    return graph.matmul(graph.mul(unit, graph.slice(presence, 1, k, k + 1)), parameter(weightOf(name)))
  })
  return {
    projected: graph.add(
      maps.reduce((sum, map) => graph.add(sum, map)),
      parameter(bias),
    ),
    known: graph.less(graph.scalar(0, presence.dtype), graph.reduceSum(presence, [1])),
  }
}

export interface IdToItemInputs extends TeacherOutputs {
  /** The head's distilled vectors of the items, [B, dims]. */
  readonly students: Value
  /** ln of the temperature, a scalar. */
  readonly logTau: Value
  /** bool [B, B] as in `infoNce`: which teachers stand in a student's denominator; its own must. All when left out. */
  readonly allowed?: Value
  /**
   * How far each teacher is trusted, [B], by how often its item was shown; equal when left out. At 0 the item is not taught,
   * and its teacher stays a negative of the others.
   */
  readonly weights?: Value
  /** Other items' projected teachers that a student must not be close to, [B, m, dims]. */
  readonly hard?: HardNegatives
  /**
   * Prefix lengths, each aligned with the same prefix of the teacher; their losses are added.
   * @default all dims only
   */
  readonly prefixes?: readonly number[]
  /** Weight of each prefix, one above 0; 0 leaves it out. @default 1 each */
  readonly prefixWeights?: readonly number[]
}

/**
 * Weighted InfoNCE from student to projected teacher. It stays contrastive because both sides learn: a plain cosine would be
 * best when both collapse. Rows without an ID embedding are neither students nor negatives; without any teacher the loss is 0.
 */
export function idToItemNce(graph: Graph, inputs: IdToItemInputs): LossOutputs {
  const { students, projected, known, logTau, allowed, weights, hard, prefixWeights } = inputs
  const { prefixes = [students.shape[1] as number] } = inputs
  const trusted = graph.cast(known, students.dtype)
  // A row that is not taught may see every teacher: its own must stay, and its weight is 0.
  const seen = graph.or(graph.unsqueeze(known, 0), graph.unsqueeze(graph.not(known), 1))
  const rows = {
    logTau,
    allowed: allowed ? graph.and(allowed, seen) : seen,
    weights: weights ? graph.mul(weights, trusted) : trusted,
  }
  const view = (prefix: number, side: Value): Value => prefixView(graph, side, prefix)
  const away = (prefix: number): { readonly hard?: HardNegatives } =>
    hard === undefined ? {} : { hard: { ...hard, items: graph.slice(hard.items, 2, 0, prefix) } }
  return prefixes
    .flatMap((prefix, k): LossOutputs[] => {
      const weight = prefixWeights?.[k] ?? 1
      if (weight === 0) return []
      const sides = { queries: view(prefix, students), targets: view(prefix, projected), ...away(prefix) }
      const { loss, perRow } = infoNce(graph, { ...rows, ...sides })
      return [weight === 1 ? { loss, perRow } : { loss: graph.scale(loss, weight), perRow: graph.scale(perRow, weight) }]
    })
    .reduce((sum, term) => ({ loss: graph.add(sum.loss, term.loss), perRow: graph.add(sum.perRow, term.perRow) }))
}

const bias = 'teacher.b'

function weightOf(entity: string): string {
  return `teacher.${entity}.W`
}

function requireWhole(what: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) throw invalid(`${what} must be a whole number >= 1, not ${value}`)
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
