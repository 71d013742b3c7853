/**
 * The fast form of the walk as ONNX nodes: one matrix product per level, the best and second best without a sort.
 * Invariant: where a row's margin reaches the recheck tolerance its codes are those of the float64 reference; float32 rounding
 * can only matter below it, and `settle` decides those rows again.
 *
 * Score of a codeword: r.c - |c|^2 / 2, so d2 = |r|^2 - 2 score. The half norm rides along as one more dimension,
 * [r, -1].[c, |c|^2 / 2], cheaper than a bias. Scores are folded to a grid [rows, high, low]: with A = maxima over `low` and
 * B = maxima over `high`, best = max A, its code is (argmax A, argmax B), and the second best stands in another line or another
 * column than the best, so it is max(second of A, second of B). Two vectorized passes replace ArgMax and give the margin.
 */

import { tensor, type Graph, type Tensor, type Value } from '../compute/index.ts'
import type { Codebooks, EncodeSettings } from './codebooks.ts'

/** A score no codeword reaches, for cells of the grid that hold none. */
const unreachable = 1e30
/** A limit that no difference of squared distances passes. */
const boundless = 3e38
/** Share of |x|^2 in a margin's scale: covers float32 rounding of residuals much shorter than the vector. */
const floorShare = 0.1

/** Codes per level laid out for the scores: `high` x `low` cells, at least 2 x 2 (TopK wants two). */
interface Grid {
  readonly high: number
  readonly low: number
}

/** One level's codewords as the graph reads them. */
export interface LevelTables {
  /** float32 [dim + 1, high * low]: codewords as columns, half squared norms below them. */
  readonly scores: Tensor<'float32'>
  /** float32 [size, dim + 1]: codewords as rows, a zero behind each. */
  readonly words: Tensor<'float32'>
}

/** `LevelTables` inside a graph: constants or inputs. */
export interface LevelValues {
  readonly scores: Value
  /** May be left out at the last level, where no residual follows. */
  readonly words?: Value
}

/** The sticky rule inside a graph. */
export interface StickyValues {
  /** int32 [n, levels]: parent's codes, -1 in rows without. */
  readonly old: Value
  /** float32 scalar: 1 + delta (1 when delta is infinite). */
  readonly factor: Value
  /** float32 scalar: 0, or very large when delta is infinite. */
  readonly slack: Value
}

/** What the walk gives. */
export interface WalkValues {
  /** int32 [n, levels]. */
  readonly codes: Value
  /** float32 [n]: smallest relative lead of any decision of the row. */
  readonly margins: Value
  /** float32 [n]: squared error that the codes leave. */
  readonly errors: Value
}

/** Near-square grid, lines of a multiple of 8 where there are enough codes. */
function gridOf(size: number): Grid {
  const root = Math.ceil(Math.sqrt(size))
  const low = size >= 64 ? Math.round(root / 8) * 8 : Math.max(2, root)
  return { high: Math.max(2, Math.ceil(size / low)), low }
}

/** Shapes of `LevelTables` of a level. */
export function tableShapes(size: number, dim: number): { scores: [number, number]; words: [number, number] } {
  const { high, low } = gridOf(size)
  return { scores: [dim + 1, high * low], words: [size, dim + 1] }
}

/** One level's codewords in the layouts that the graph reads. */
export function levelTables(codebook: Float32Array, size: number, dim: number): LevelTables {
  const shapes = tableShapes(size, dim)
  const cells = shapes.scores[1]
  const scores = new Float32Array(shapes.scores[0] * cells)
  const words = new Float32Array(size * (dim + 1))
  scores.fill(unreachable, dim * cells)
  for (let code = 0; code < size; code++) {
    let squared = 0
    for (let j = 0; j < dim; j++) {
      const value = codebook[code * dim + j]!
      scores[j * cells + code] = value
      words[code * (dim + 1) + j] = value
      squared += value * value
    }
    scores[dim * cells + code] = squared / 2
  }
  return { scores: tensor('float32', shapes.scores, scores), words: tensor('float32', shapes.words, words) }
}

/** `factor` and `slack` of a switching cost. */
export function switchingCost(delta: number): { factor: number; slack: number } {
  return delta === Infinity ? { factor: 1, slack: boundless } : { factor: 1 + delta, slack: 0 }
}

/**
 * Appends residual quantization to any graph, with the codebooks fixed in the model.
 * @param vectors - float32 [n, dim]: exactly the numbers that are published
 * @param parent - the parent's codes, int32 [n, levels], -1 in rows without, and what it costs to leave them
 */
export function appendEncode(
  graph: Graph,
  vectors: Value,
  codebooks: Codebooks,
  settings: Pick<EncodeSettings, 'normalize'>,
  parent?: { readonly old: Value; readonly delta: number },
): WalkValues {
  const tables = codebooks.levels.map((level, index) => levelTables(level, codebooks.sizes[index]!, codebooks.dim))
  const levels = tables.map(({ scores, words }) => ({ scores: graph.constant(scores), words: graph.constant(words) }))
  const cost = parent && switchingCost(parent.delta)
  const sticky = parent && cost && { old: parent.old, factor: graph.scalar(cost.factor), slack: graph.scalar(cost.slack) }
  return appendWalk(graph, vectors, codebooks.sizes, levels, settings, sticky)
}

/** `appendEncode` over codebooks that are values of the graph, so that a fit can change them from run to run. */
export function appendWalk(
  graph: Graph,
  vectors: Value,
  sizes: readonly number[],
  levels: readonly LevelValues[],
  settings: Pick<EncodeSettings, 'normalize'>,
  sticky?: StickyValues,
): WalkValues {
  const [rows, dim] = vectors.shape as [number | string, number]
  const column = [rows, 1]
  const x = settings.normalize ? graph.l2norm(vectors) : vectors
  const squared = graph.node('ReduceSumSquare', [x, graph.ints([1])], { dtype: 'float32', shape: column }, { keepdims: { int: 1 } })
  const floor = graph.scale(squared, floorShare)
  let residual = graph.node('Pad', [x, graph.ints([0, 0, 0, 1]), graph.scalar(-1)], { dtype: 'float32', shape: [rows, dim + 1] })
  let left = squared
  let onOldPrefix =
    sticky && graph.not(graph.less(sticky.old.shape[1] === 1 ? sticky.old : graph.slice(sticky.old, 1, 0, 1), graph.scalar(0, 'int32')))
  const codes: Value[] = []
  const margins: Value[] = []
  for (const [level, { scores: columns, words }] of levels.entries()) {
    const scores = graph.matmul(residual, columns)
    const top = bestTwo(graph, scores, gridOf(sizes[level]!), rows)
    const twice = (score: Value): Value => graph.scale(score, 2)
    const least = graph.sub(left, twice(top.best))
    const scale = graph.add(graph.add(left, least), floor)
    const lead = graph.div(graph.sub(twice(top.best), twice(top.second)), scale)
    let code = top.code
    let chosen = least
    let margin = lead
    if (sticky && onOldPrefix) {
      const old = graph.slice(sticky.old, 1, level, level + 1)
      const oldScore = graph.node('GatherElements', [scores, old], { dtype: 'float32', shape: column }, { axis: { int: 1 } })
      const oldLeft = graph.sub(left, twice(oldScore))
      const excess = graph.sub(graph.sub(oldLeft, graph.mul(sticky.factor, least)), sticky.slack)
      const keep = graph.and(onOldPrefix, graph.not(graph.less(graph.scalar(0), excess)))
      const excessScale = graph.mul(graph.add(sticky.factor, graph.scalar(1)), graph.add(scale, oldLeft))
      const decided = graph.div(graph.node('Abs', [excess], excess), excessScale)
      // An old code that leads clearly stays, however close the bound is (at delta 0 it is as close as can be).
      const leads = graph.equal(graph.cast(old, 'int64'), top.code)
      const kept = graph.where(leads, graph.node('Max', [lead, decided], lead), decided)
      margin = graph.where(keep, kept, graph.where(onOldPrefix, graph.node('Min', [lead, decided], lead), lead))
      code = graph.where(keep, graph.cast(old, 'int64'), code)
      chosen = graph.where(keep, oldLeft, least)
      onOldPrefix = keep
    }
    codes.push(graph.cast(code, 'int32'))
    margins.push(margin)
    left = chosen
    if (words !== undefined && level + 1 < levels.length) residual = graph.sub(residual, graph.gather(words, graph.squeeze(code, 1)))
  }
  // A row without a direction has |x|^2 = 0 instead of 1 after normalizing: no margin, so the reference decides it.
  if (settings.normalize) margins.push(squared)
  const margin = margins.length === 1 ? margins[0]! : graph.node('Min', margins, margins[0]!)
  return {
    codes: graph.concat(codes, 1),
    margins: graph.squeeze(margin, 1),
    errors: graph.squeeze(graph.node('Relu', [left], left), 1),
  }
}

/** Best and second best score of every row and the best one's code; see the header. All [rows, 1]. */
function bestTwo(graph: Graph, scores: Value, { high, low }: Grid, rows: number | string): { best: Value; second: Value; code: Value } {
  const grid = graph.reshape(scores, [rows, high, low])
  const lines = graph.topK(graph.reduceMax(grid, [2]), 2)
  const columns = graph.topK(graph.reduceMax(grid, [1]), 2)
  const second = graph.node('Max', [graph.slice(lines.values, 1, 1, 2), graph.slice(columns.values, 1, 1, 2)], {
    dtype: 'float32',
    shape: [rows, 1],
  })
  const line = graph.mul(graph.slice(lines.indices, 1, 0, 1), graph.scalar(low, 'int64'))
  return { best: graph.slice(lines.values, 1, 0, 1), second, code: graph.add(line, graph.slice(columns.indices, 1, 0, 1)) }
}
