/**
 * The step of one source as a graph: head over the batch's distinct items, the source's losses, gradients, AdamW. The graphs of
 * all sources name the head's parameters alike, so they train one head; a temperature belongs to its source.
 * Invariant: each distinct item goes through the head once; histories are a product with the pool matrix, targets pick their
 * rows.
 */

import { adamW, Graph, tensor, tensorOf, type Tensor, type Value } from '../compute/index.ts'
import type { Batch } from './batches.ts'
import { appendFused, appendProjections, appendWhitening, headInputs } from './head-graph.ts'
import type { Head } from './head.ts'
import { SidestreamError } from '../schemas/index.ts'
import { appendTeacher, createTeacher, idToItemNce, teacherInputs, type TeacherOutputs } from './id-losses.ts'
import { infoNce, matryoshkaNce, prefixView, temperature, type InfoNceInputs } from './losses.ts'
import { appendPooler, headPooler, poolerShapeDefaults, type PoolerShape } from './pooler.ts'
import { cosent, modalityNce, totalLoss, type CosentOutputs, type LossTerms, type ModalityInputs } from './pair-losses.ts'
import { fusedSide, type SourceOverride, type TrainingSource } from './sources.ts'

/** What a stage changes in a source's step. Whatever it is, its graph trains no parameter that the plain one does not know. */
export interface StepVariant extends SourceOverride {
  /** Hard negatives of a row, the most; 0: none. */
  readonly hardNegatives: number
  /** Whether in-batch negatives at or above lambda* are left out as well. */
  readonly maskInBatch: boolean
}

export const plainStep: StepVariant = { hardNegatives: 0, maskInBatch: false }

export interface StepOptions {
  /** History items that are pooled, the most. */
  readonly historyLength: number
  readonly weightDecay: number
  readonly clipNorm: number
  /** Weight of each prefix; null: 1 each. @default null */
  readonly prefixWeights?: readonly number[] | null
  /** Shape of the transformer of sources that pool by one. @default `poolerShapeDefaults` */
  readonly pooler?: PoolerShape
}

/** Outputs `loss`, `gradientNorm`, `tau` and one `loss/<term>` per term, scalars. Inputs: see `batchFeeds`. */
export function stepGraph(head: Head, source: TrainingSource, variant: StepVariant, options: StepOptions): Graph {
  const { weightDecay, clipNorm } = options
  const graph = new Graph({ name: source.name })
  const { loss, terms, tau } = sourceLoss(graph, head, source, options, variant)
  const learningRate = graph.input('learningRate', 'float32', [])
  graph.output('loss', loss)
  for (const [name, term] of Object.entries(terms)) graph.output(`loss/${name}`, term)
  graph.output('tau', tau)
  graph.output('gradientNorm', adamW(graph, loss, learningRate, { weightDecay, clipNorm }))
  return graph
}

/** A source's loss over a batch, and what it is made of. */
export interface SourceLoss {
  readonly loss: Value
  readonly terms: Readonly<Record<string, Value>>
  readonly tau: Value
}

/**
 * The loss over the arrays of a `Batch`, which become the graph's inputs under their names.
 * @param options.historyLength - that of the batches
 * @throws SIDESTREAM_USAGE_INVALID when a pattern names a modality that the head does not have
 */
export function sourceLoss(
  graph: Graph,
  head: Head,
  source: TrainingSource,
  { historyLength, prefixWeights: given = null, pooler = poolerShapeDefaults }: Omit<StepOptions, 'weightDecay' | 'clipNorm'>,
  variant: StepVariant = plainStep,
): SourceLoss {
  const prefixWeights = given ?? head.spec.prefixes.map(() => 1)
  const inputs = headInputs(graph, head, 'items')
  const projections = appendProjections(graph, head, appendWhitening(graph, head, inputs))
  const items = appendFused(graph, head, projections, inputs.presence)
  const targetRows = graph.input('targets', 'int64', ['rows'])
  if (source.kind === 'ids')
    return idLoss(graph, head, source, variant, { students: graph.gather(items, targetRows), targetRows, prefixWeights })
  const pool = graph.input('pool', 'float32', ['rows', 'items'])
  const weights = graph.input('weights', 'float32', ['rows'])
  const logTau = contrastTemperature(graph, source, variant)
  // A user's short view is the mean of the items' short views, exactly as a reader makes it.
  const sides = (rows: Value): Pick<InfoNceInputs, 'queries' | 'targets'> => ({
    queries: graph.matmul(pool, rows),
    targets: graph.gather(rows, targetRows),
  })
  const correction = source.pooler === 'transformer' ? poolerCorrection(graph, head, items, { ...pooler, historyLength }) : undefined
  const ofPrefix = (prefix: number): Pick<InfoNceInputs, 'queries' | 'targets'> => {
    const { queries, targets } = sides(prefixView(graph, items, prefix))
    return correction ? { queries: graph.add(queries, graph.slice(correction, 1, 0, prefix)), targets } : { queries, targets }
  }
  const allowed = allowedInBatch(graph, variant, targetRows, ofPrefix(head.spec.dims))
  const hard = hardItems(graph, variant, items)
  const nce = matryoshkaNce(
    graph,
    (prefix) => ({ ...ofPrefix(prefix), logTau, allowed, weights, ...(hard ? { hard: hard(prefix) } : {}) }),
    { prefixes: head.spec.prefixes, prefixWeights },
  )
  const losses = { ...source.losses, ...variant.losses }
  const terms: LossTerms = { nce, ...(source.kind === 'pairs' ? pairTerms() : {}) }
  return { loss: totalLoss(graph, terms, losses), terms: { ...terms }, tau: graph.exp(logTau) }

  /** What pairs train beside the contrast of the prefixes; a term of weight 0 is left out. */
  function pairTerms(): Omit<LossTerms, 'nce'> {
    const whole = { ...sides(items), logTau }
    const presence = sides(inputs.presence)
    const column = (value: Value, m: number): Value => graph.squeeze(graph.slice(value, 1, m, m + 1), 1)
    const modalities = projections.map((projection, m): ModalityInputs => {
      const rows = graph.l2norm(projection)
      return { ...sides(rows), queryPresence: column(presence.queries, m), targetPresence: column(presence.targets, m), logTau }
    })
    const { scored, cosentTau } = source
    // Where the source alone has no CoSENT, nothing of it is kept from stage to stage.
    const tauMode = source.losses.cosent > 0 ? source.tauMode : 'fixed'
    const any = (of: Value): Value => graph.cast(graph.less(graph.scalar(0), graph.reduceSum(of, [1])), 'float32')
    const side = (name: string): ModalityInputs => {
      if (name === fusedSide) return { ...whole, queryPresence: any(presence.queries), targetPresence: any(presence.targets) }
      const found = modalities[head.spec.modalities.findIndex((modality) => modality.name === name)]
      if (found !== undefined) return found
      const known = head.spec.modalities.map((modality) => modality.name).join(', ')
      throw new SidestreamError(
        'SIDESTREAM_USAGE_INVALID',
        `source ${source.name} has a pattern of ${name}; there are: ${known}, ${fusedSide}`,
      )
    }
    const patterns = source.patterns.map(({ query, target }): ModalityInputs => {
      const { queries, queryPresence } = side(query)
      const { targets, targetPresence } = side(target)
      return { queries, queryPresence, targets, targetPresence, logTau }
    })
    const scores = ({ queries, targets }: Pick<InfoNceInputs, 'queries' | 'targets'>): CosentOutputs => {
      const labels = graph.input('scores', 'float32', ['rows'])
      return cosent(graph, { queries, targets, labels, logTau: temperature(graph, `${source.name}.cosent`, { tau: cosentTau, tauMode }) })
    }
    return {
      ...(scored && losses.cosent > 0 ? { cosent: scores(whole).loss } : {}),
      // With one modality its contrast, and that of the fused vector, is the full prefix once more.
      ...(projections.length > 1 && losses.modality > 0 ? { modality: modalityNce(graph, modalities, { allowed, weights }).loss } : {}),
      ...(projections.length > 1 && losses.lateFusion > 0 ? { lateFusion: infoNce(graph, { ...whole, allowed, weights }).loss } : {}),
      ...(patterns.length > 0 && losses.patterns > 0 ? { patterns: modalityNce(graph, patterns, { allowed, weights }).loss } : {}),
    }
  }
}

/** ln of the temperature of the contrasts: the stage's, or the source's own. */
function contrastTemperature(graph: Graph, source: TrainingSource, { tau }: SourceOverride): Value {
  return temperature(graph, source.name, tau === undefined ? source : { tau, tauMode: 'fixed' })
}

/** What the transformer adds to the mean of a history, [rows, dims]. */
function poolerCorrection(
  graph: Graph,
  head: Head,
  items: Value,
  { historyLength, ...shape }: PoolerShape & Pick<StepOptions, 'historyLength'>,
): Value {
  const places = graph.input('history', 'int64', ['rows', historyLength])
  const mask = graph.input('historyMask', 'float32', ['rows', historyLength])
  return appendPooler(graph, headPooler(head, historyLength, shape), graph.gather(items, places), mask).correction
}

/** Items taught by their ID embeddings, at every prefix. */
function idLoss(
  graph: Graph,
  { spec }: Head,
  source: TrainingSource,
  variant: StepVariant,
  {
    students,
    targetRows,
    prefixWeights,
  }: { readonly students: Value; readonly targetRows: Value; readonly prefixWeights: readonly number[] },
): SourceLoss {
  const teacher = createTeacher({ entities: source.entities, dims: spec.dims, seed: spec.seed })
  const all = appendTeacher(graph, teacher, teacherInputs(graph, teacher, variant.hardNegatives > 0 ? 'teachers' : 'rows'))
  const hard = hardPlaces(graph, variant)
  const outputs = hard ? ownTeachers(graph, all) : all
  const logTau = contrastTemperature(graph, source, variant)
  const allowed = allowedInBatch(graph, variant, targetRows, { queries: students, targets: outputs.projected })
  const weights = graph.input('weights', 'float32', ['rows'])
  const away = hard && { items: hard.gathered(all.projected), mask: hard.mask }
  const { loss } = idToItemNce(graph, {
    ...outputs,
    students,
    logTau,
    allowed,
    weights,
    prefixes: spec.prefixes,
    prefixWeights,
    ...(away && { hard: away }),
  })
  return { loss, terms: { nce: loss }, tau: graph.exp(logTau) }
}

/** The teachers of the rows themselves, which stand before those of hard negatives. */
function ownTeachers(graph: Graph, { projected, known }: TeacherOutputs): TeacherOutputs {
  const places = graph.input('ownTeachers', 'int64', ['rows'])
  const flags = graph.gather(graph.unsqueeze(graph.cast(known, projected.dtype), 1), places)
  return { projected: graph.gather(projected, places), known: graph.less(graph.scalar(0, projected.dtype), graph.squeeze(flags, 1)) }
}

/** The rule of the batch, and lambda*'s: a target that is as close as a positive is no negative. */
function allowedInBatch(
  graph: Graph,
  { maskInBatch }: StepVariant,
  targetRows: Value,
  { queries, targets }: Pick<InfoNceInputs, 'queries' | 'targets'>,
): Value {
  const allowed = graph.input('allowed', 'bool', ['rows', 'rows'])
  if (!maskInBatch) return allowed
  const lambda = graph.input('lambda', 'float32', [])
  const cosines = graph.stopGradient(graph.matmul(graph.l2norm(queries), graph.l2norm(targets), { transposeB: true }))
  const same = graph.equal(graph.unsqueeze(targetRows, 1), graph.unsqueeze(targetRows, 0))
  return graph.and(allowed, graph.or(graph.less(cosines, lambda), same))
}

/** Hard negatives as the short views of their items, by prefix. */
function hardItems(graph: Graph, variant: StepVariant, items: Value): ((prefix: number) => NonNullable<InfoNceInputs['hard']>) | undefined {
  const hard = hardPlaces(graph, variant)
  return hard && ((prefix) => ({ items: hard.gathered(prefixView(graph, items, prefix)), mask: hard.mask }))
}

/** Declares which rows of a matrix [n, d] are hard negatives; `gathered` picks them, [rows, m, d]. */
function hardPlaces(
  graph: Graph,
  { hardNegatives }: StepVariant,
): { readonly gathered: (from: Value) => Value; readonly mask: Value } | undefined {
  if (hardNegatives === 0) return undefined
  const places = graph.reshape(graph.input('hard', 'int64', ['rows', hardNegatives]), ['places'])
  const mask = graph.input('hardMask', 'bool', ['rows', hardNegatives])
  return { mask, gathered: (from) => graph.reshape(graph.gather(from, places), ['rows', hardNegatives, from.shape[1]!]) }
}

/** A batch as the feeds of a source's `stepGraph`. Nothing large is copied. @param lambda - threshold of `maskInBatch` */
export function batchFeeds(
  batch: Batch,
  { spec: { modalities } }: Head,
  source: Pick<TrainingSource, 'kind' | 'scored' | 'entities'>,
  learningRate: number,
  lambda?: number,
): Record<string, Tensor> {
  const { rows, items } = batch
  const feeds: Record<string, Tensor> = {
    presence: tensor('float32', [items, modalities.length], batch.presence),
    targets: tensor('int64', [rows], batch.targets),
    allowed: tensor('bool', [rows, rows], batch.allowed),
    weights: tensor('float32', [rows], batch.teachers?.weights.slice(0, rows) ?? batch.weights),
    learningRate: tensorOf('float32', [], [learningRate]),
  }
  for (const [m, { name, dim }] of modalities.entries()) feeds[`content_${name}`] = tensor('float32', [items, dim], batch.vectors[m]!)
  if (source.kind !== 'ids') feeds['pool'] = tensor('float32', [rows, items], batch.pool)
  else if (batch.teachers) {
    const { vectors, presence, weights } = batch.teachers
    const taught = weights.length
    feeds['idPresence'] = tensor('float32', [taught, source.entities.length], presence)
    for (const [k, { name, dim }] of source.entities.entries()) feeds[`id_${name}`] = tensor('float32', [taught, dim], vectors[k]!)
    if (batch.hard)
      feeds['ownTeachers'] = tensor(
        'int64',
        [rows],
        BigInt64Array.from({ length: rows }, (_, i) => BigInt(i)),
      )
  }
  if (batch.history) {
    feeds['history'] = tensor('int64', [rows, batch.history.length], batch.history.items)
    feeds['historyMask'] = tensor('float32', [rows, batch.history.length], batch.history.mask)
  }
  if (batch.hard) {
    feeds['hard'] = tensor('int64', [rows, batch.hard.count], batch.hard.items)
    feeds['hardMask'] = tensor('bool', [rows, batch.hard.count], batch.hard.mask)
  }
  if (source.kind === 'pairs' && source.scored) feeds['scores'] = tensor('float32', [rows], batch.scores)
  if (lambda !== undefined) feeds['lambda'] = tensorOf('float32', [], [lambda])
  return feeds
}
