/**
 * The fast form of the walk as ONNX nodes: one matrix product per level, the best and second best without a sort.
 * Invariant: where a row's margin reaches the recheck tolerance its codes are those of the float64 reference; float32 rounding
 * can only matter below it, and `settle` decides those rows again.
 *
 * Score of a codeword: r.c - (|c|^2 + penalty) / 2, so cost = |r|^2 - 2 score. The half norm rides along as one more dimension,
 * [r, -1].[c, (|c|^2 + penalty) / 2], cheaper than a bias. Scores are folded to a grid [rows, high, low]: with A = maxima over `low` and
 * B = maxima over `high`, best = max A, its code is (argmax A, argmax B), and the second best stands in another line or another
 * column than the best, so it is max(second of A, second of B). Two vectorized passes replace ArgMax and give the margin.
 */

import { tensor, type Graph, type Tensor, type Value } from '../compute/index.ts'
import type { WalkSettings } from './codebooks.ts'
import { appendFsq } from './fsq-graph.ts'
import type { Fsq } from './fsq.ts'
import {
  boundedMargins,
  isKnown,
  keptOrFree,
  squaredNorm,
  withHalfNorms,
  withoutHalfNorms,
  type StickyValues,
  type WalkValues,
} from './walk-values.ts'
import { appendWhole } from './whole-graph.ts'

/** A score no codeword reaches, for cells of the grid that hold none. */
const unreachable = 3e38
/** Share of |x|^2 in a margin's scale: covers float32 rounding of residuals much shorter than the vector. */
const floorShare = 0.1

/** Codes per level laid out for the scores: `high` x `low` cells, at least 2 x 2 (TopK wants two). */
interface Grid {
  readonly high: number
  readonly low: number
}

/** One level's codewords as the graph reads them. */
export interface LevelTables {
  /** float32 [dim + 1, high * low]: codewords as columns, below them half of squared norm and penalty. */
  readonly scores: Tensor<'float32'>
  /** float32 [size, dim + 1]: codewords as rows, a zero behind each. */
  readonly words: Tensor<'float32'>
  /** float32 [size, 1]; left out where no code has a penalty. */
  readonly penalties?: Tensor<'float32'>
}

/** `LevelTables` inside a graph: constants or inputs. */
export interface LevelValues {
  readonly scores: Value
  /** May be left out at the last level, unless a finite-scalar level follows or whole IDs are kept. */
  readonly words?: Value
  readonly penalties?: Value
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
export function levelTables(codebook: Float32Array, size: number, dim: number, penalties?: Float32Array): LevelTables {
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
    scores[dim * cells + code] = (squared + (penalties?.[code] ?? 0)) / 2
  }
  return {
    scores: tensor('float32', shapes.scores, scores),
    words: tensor('float32', shapes.words, words),
    ...(penalties && { penalties: tensor('float32', [size, 1], penalties) }),
  }
}

/**
 * Appends the greedy walk over codebooks that are values of the graph, so that a fit can change them from run to run.
 * @param vectors - float32 [n, dim]
 * @param sizes - of all levels, the finite-scalar one too
 */
export function appendWalk(
  graph: Graph,
  vectors: Value,
  sizes: readonly number[],
  levels: readonly LevelValues[],
  settings: WalkSettings,
  sticky?: StickyValues,
  fsq?: Fsq,
): WalkValues {
  const rows = vectors.shape[0]!
  const column = [rows, 1]
  const maximum = (a: Value, b: Value): Value => graph.node('Max', [a, b], a)
  const x = settings.normalize ? graph.l2norm(vectors) : vectors
  const squared = squaredNorm(graph, x)
  /** Largest squared length so far: what float32 rounding is measured by. */
  let largest = squared
  let residual = withHalfNorms(graph, x)
  let left = squared
  /** What residuals brought to unit length magnify rounding by, inverted. */
  let shrink: Value | undefined
  const whole = sticky !== undefined && settings.sticky === 'whole'
  let onOldPrefix = sticky && isKnown(graph, sticky.old)
  /** Penalties of the codes so far. */
  let spent: Value | undefined
  const codes: Value[] = []
  const margins: Value[] = []
  /** What all decisions of a row depend on. */
  const bounds: Value[] = []
  const toUnit = (): void => {
    const bare = codes.length === 0 ? x : withoutHalfNorms(graph, residual)
    const unit = graph.l2norm(bare)
    const length = graph.node('Min', [graph.sqrt(squaredNorm(graph, bare)), graph.scalar(1)], squared)
    // The first vector loses nothing: its rounding is relative to its length.
    if (codes.length > 0) shrink = shrink === undefined ? length : graph.mul(shrink, length)
    residual = withHalfNorms(graph, unit)
    left = squaredNorm(graph, unit)
    largest = left
    // Without a direction the length is 0 instead of 1: no margin, so the reference decides.
    bounds.push(left)
  }
  for (const [level, { scores: columns, words, penalties }] of levels.entries()) {
    if (settings.normalizeResiduals) toUnit()
    const scores = graph.matmul(residual, columns)
    const top = bestTwo(graph, scores, gridOf(sizes[level]!), rows, sizes[level]!)
    const twice = (score: Value): Value => graph.scale(score, 2)
    const least = graph.sub(left, twice(top.best))
    largest = maximum(largest, left)
    const scale = graph.add(graph.add(left, least), graph.scale(largest, floorShare))
    const lead = graph.div(graph.sub(twice(top.best), twice(top.second)), scale)
    let code = top.code
    let chosen = least
    let margin = lead
    if (sticky && onOldPrefix && !whole) {
      const old = graph.slice(sticky.old, 1, level, level + 1)
      const oldScore = graph.node('GatherElements', [scores, old], { dtype: 'float32', shape: column }, { axis: { int: 1 } })
      const oldLeft = graph.sub(left, twice(oldScore))
      const excess = graph.sub(graph.sub(oldLeft, graph.mul(sticky.factor, least)), sticky.slack)
      const keep = graph.and(onOldPrefix, graph.not(graph.less(graph.scalar(0), excess)))
      const excessScale = graph.mul(graph.add(sticky.factor, graph.scalar(1)), graph.add(scale, oldLeft))
      const decided = graph.div(graph.node('Abs', [excess], excess), excessScale)
      // An old code that leads clearly stays, however close the bound is (at delta 0 it is as close as can be).
      const leads = graph.equal(graph.cast(old, 'int64'), top.code)
      const kept = graph.where(leads, maximum(lead, decided), decided)
      margin = graph.where(keep, kept, graph.where(onOldPrefix, graph.node('Min', [lead, decided], lead), lead))
      code = graph.where(keep, graph.cast(old, 'int64'), code)
      chosen = graph.where(keep, oldLeft, least)
      onOldPrefix = keep
    }
    codes.push(graph.cast(code, 'int32'))
    margins.push(shrink === undefined ? margin : graph.mul(margin, shrink))
    const price = penalties && graph.gather(penalties, graph.squeeze(code, 1))
    left = price === undefined ? chosen : graph.sub(chosen, price)
    if (price !== undefined) spent = spent === undefined ? price : graph.add(spent, price)
    largest = maximum(largest, left)
    if (words !== undefined && codes.length < sizes.length) residual = graph.sub(residual, graph.gather(words, graph.squeeze(code, 1)))
  }
  if (whole) {
    const free = { codes, margins, cost: spent === undefined ? left : graph.add(left, spent), left, largest, residual }
    const kept = appendWhole(graph, { x, squared, levels, sticky, free, wantsResidual: fsq !== undefined })
    codes.splice(0, codes.length, ...kept.codes)
    margins.splice(0, margins.length, ...kept.margins)
    ;({ left, largest, residual } = kept)
    onOldPrefix = kept.keep
  }
  if (fsq !== undefined) {
    if (settings.normalizeResiduals) toUnit()
    const { code, margin } = appendFsq(graph, withoutHalfNorms(graph, residual), fsq, largest)
    codes.push(sticky && onOldPrefix ? keptOrFree(graph, sticky, onOldPrefix, code, levels.length) : code)
    margins.push(shrink === undefined ? margin : graph.mul(margin, shrink))
  }
  // A row without a direction has |x|^2 = 0 instead of 1 after normalizing: no margin, so the reference decides it.
  if (settings.normalize) bounds.push(squared)
  return {
    codes: graph.concat(codes, 1),
    margins: boundedMargins(graph, margins, bounds),
    errors: graph.squeeze(graph.node('Relu', [left], left), 1),
  }
}

/** Best and second best score of every row and the best one's code; see the header. All [rows, 1]. */
function bestTwo(
  graph: Graph,
  scores: Value,
  { high, low }: Grid,
  rows: number | string,
  size: number,
): { best: Value; second: Value; code: Value } {
  const grid = graph.reshape(scores, [rows, high, low])
  const lines = graph.topK(graph.reduceMax(grid, [2]), 2)
  const columns = graph.topK(graph.reduceMax(grid, [1]), 2)
  const second = graph.node('Max', [graph.slice(lines.values, 1, 1, 2), graph.slice(columns.values, 1, 1, 2)], {
    dtype: 'float32',
    shape: [rows, 1],
  })
  const line = graph.mul(graph.slice(lines.indices, 1, 0, 1), graph.scalar(low, 'int64'))
  const cell = graph.add(line, graph.slice(columns.indices, 1, 0, 1))
  // Scores that overflow name cells that hold no codeword; their margins are no numbers, so the reference decides.
  const code = graph.node('Min', [cell, graph.scalar(size - 1, 'int64')], cell)
  return { best: graph.slice(lines.values, 1, 0, 1), second, code }
}
