/**
 * Encoding by beam as ONNX nodes. No residual is ever computed: with P = sum of (x.c_t - (|c_t|^2 + penalty_t) / 2) less the inner
 * products of the path's codewords with each other, the cost of a path is |x|^2 - 2 P. The products x.c come from one matrix
 * product per level, the inner products of two levels' codewords from tables made once per codebook.
 * Invariant: where a row's margin reaches the recheck tolerance its codes are those of the float64 reference.
 *
 * A margin is the smallest lead of the last path that stays over the first that does not, at the last level of the best ID over
 * the second best. The best few of W x K candidates are found in two steps: they stand in the lines of the grid with the
 * largest maxima.
 */

import { tensor, type Graph, type Tensor, type Value } from '../compute/index.ts'
import type { Codebooks, WalkSettings } from './codebooks.ts'
import { appendFsq } from './fsq-graph.ts'
import { boundedMargins, isKnown, keptOrFree, squaredNorm, withHalfNorms, type StickyValues, type WalkValues } from './walk-values.ts'

/** Share of the lengths involved in a margin's scale: what float32 rounding stays far below at the default tolerance. */
const scaleShare = 0.3
/** Candidates from which the two steps pay. */
const manyCandidates = 128

/** Partial IDs of every row: `width` of them. */
interface Paths {
  readonly width: number
  /** float32 [n, width]: P, largest first. */
  readonly scores: Value
  /** One per level so far: int64 [n, width]. */
  readonly codes: readonly Value[]
}

/**
 * Appends the beam over all levels with codewords, then the finite-scalar level of the best.
 * @param vectors - float32 [n, dim]
 */
export function appendBeam(
  graph: Graph,
  vectors: Value,
  { dim, sizes, levels, penalties, fsq }: Codebooks,
  settings: WalkSettings,
  sticky?: StickyValues,
): WalkValues {
  const rows = vectors.shape[0]!
  const width = settings.beam!
  const x = settings.normalize ? graph.l2norm(vectors) : vectors
  const squared = squaredNorm(graph, x)
  const input = withHalfNorms(graph, x)
  const twice = (value: Value): Value => graph.scale(value, 2)
  const maximum = (a: Value, b: Value): Value => graph.node('Max', [a, b], a)
  const crossTables = crossTermTables(levels, sizes, dim).map((row) => row.map((table) => graph.constant(table)))
  const margins: Value[] = []
  const scores: Value[] = []
  let largest = squared
  let paths: Paths = { width: 1, scores: graph.zerosLike(squared), codes: [] }
  for (const [level, words] of levels.entries()) {
    const size = sizes[level]!
    const own = graph.matmul(input, graph.constant(scoreColumns(words, size, dim, penalties?.[level])))
    scores.push(own)
    const last = level + 1 === levels.length
    const candidates = continuations(graph, own, size, paths, crossTables[level]!, rows)
    const count = paths.width * size
    const stay = Math.min(last ? 1 : width, count)
    const top = bestOf(graph, candidates, count, Math.min(stay + 1, count), rows)
    const staying = graph.slice(top.values, 1, 0, stay)
    const worst = graph.slice(top.values, 1, stay - 1, stay)
    largest = maximum(largest, graph.sub(squared, twice(worst)))
    if (stay < count) {
      const lead = graph.sub(twice(worst), twice(graph.slice(top.values, 1, stay, stay + 1)))
      margins.push(graph.div(lead, graph.scale(graph.add(squared, largest), scaleShare)))
    }
    paths = { width: stay, scores: staying, codes: codesOf(graph, graph.slice(top.indices, 1, 0, stay), size, paths) }
  }
  let codes = graph.cast(graph.concat(paths.codes, 1), 'int32')
  let score = paths.scores
  let keep: Value | undefined
  if (sticky) {
    const old = levels.length === sizes.length ? sticky.old : graph.slice(sticky.old, 1, 0, levels.length)
    const oldScore = scoreOf(graph, old, scores, crossTables, rows)
    const cost = graph.sub(squared, twice(score))
    const oldCost = graph.sub(squared, twice(oldScore))
    const excess = graph.sub(graph.sub(oldCost, graph.mul(sticky.factor, cost)), sticky.slack)
    const known = isKnown(graph, sticky.old)
    keep = graph.and(known, graph.not(graph.less(graph.scalar(0), excess)))
    const reach = graph.scale(graph.add(squared, maximum(largest, magnitudeOf(graph, old, levels, dim, oldCost))), scaleShare)
    const decided = graph.div(graph.node('Abs', [excess], excess), graph.mul(graph.add(sticky.factor, graph.scalar(1)), reach))
    const free = margins.length === 0 ? undefined : smallest(graph, margins)
    // The old ID stays at an infinite cost whatever leads; else the best one must be known to compare with it, unless it is the old.
    const boundless = graph.less(graph.scalar(1e30), sticky.slack)
    const both = free === undefined ? decided : graph.node('Min', [free, decided], decided)
    const plain = free ?? graph.add(graph.scale(decided, 0), graph.scalar(1))
    const agree = graph.cast(graph.equal(codes, old), 'float32')
    const same = graph.less(
      graph.scalar(0.5),
      graph.node('ReduceMin', [agree, graph.ints([1])], { dtype: 'float32', shape: [rows, 1] }, { keepdims: { int: 1 } }),
    )
    const stays = graph.where(boundless, decided, graph.where(same, plain, both))
    margins.splice(0, margins.length, graph.where(known, stays, plain))
    codes = graph.where(keep, old, codes)
    score = graph.where(keep, oldScore, score)
  }
  let error = graph.sub(squared, twice(score))
  const words = (level: number): Value =>
    graph.gather(graph.constant(tensor('float32', [sizes[level]!, dim], levels[level]!)), codeColumn(graph, codes, level, levels.length))
  for (const [level, costs] of (penalties ?? []).entries()) {
    if (costs === undefined) continue
    error = graph.sub(
      error,
      graph.gather(graph.constant(tensor('float32', [sizes[level]!, 1], costs)), codeColumn(graph, codes, level, levels.length)),
    )
  }
  // One decision for all levels with codewords.
  const whole = margins.length === 0 ? graph.add(graph.scale(squared, 0), graph.scalar(1)) : smallest(graph, margins)
  const perLevel = levels.map(() => whole)
  if (fsq !== undefined) {
    const residual = levels.reduce((rest, _, level) => graph.sub(rest, words(level)), x)
    const { code, margin } = appendFsq(graph, residual, fsq, largest)
    codes = graph.concat([codes, sticky && keep ? keptOrFree(graph, sticky, keep, code, levels.length) : code], 1)
    perLevel.push(margin)
  }
  return {
    codes,
    margins: boundedMargins(graph, perLevel, settings.normalize ? [squared] : []),
    errors: graph.squeeze(graph.node('Relu', [error], error), 1),
  }
}

function smallest(graph: Graph, margins: readonly Value[]): Value {
  return margins.length === 1 ? margins[0]! : graph.node('Min', margins, margins[0]!)
}

/** One level's code of every row as an index, int64 [n]. @param codes - int32 [n, levels] */
function codeColumn(graph: Graph, codes: Value, level: number, levels: number): Value {
  const own = levels === 1 ? codes : graph.slice(codes, 1, level, level + 1)
  return graph.squeeze(graph.cast(own, 'int64'), 1)
}

/** Codewords as columns, half of squared norm and penalty below them, float32 [dim + 1, size]. */
function scoreColumns(words: Float32Array, size: number, dim: number, penalties: Float32Array | undefined): Tensor<'float32'> {
  const out = new Float32Array((dim + 1) * size)
  for (let code = 0; code < size; code++) {
    let squared = 0
    for (let j = 0; j < dim; j++) {
      const value = words[code * dim + j]!
      out[j * size + code] = value
      squared += value * value
    }
    out[dim * size + code] = (squared + (penalties?.[code] ?? 0)) / 2
  }
  return tensor('float32', [dim + 1, size], out)
}

/** Per level and earlier level: minus the inner products of their codewords, float32 [size of the earlier, size]. */
function crossTermTables(levels: readonly Float32Array[], sizes: readonly number[], dim: number): Tensor<'float32'>[][] {
  return levels.map((words, level) =>
    levels.slice(0, level).map((before, earlier) => {
      const size = sizes[level]!
      const out = new Float32Array(sizes[earlier]! * size)
      for (let a = 0; a < sizes[earlier]!; a++) {
        for (let b = 0; b < size; b++) {
          let sum = 0
          for (let j = 0, p = a * dim, q = b * dim; j < dim; j++, p++, q++) sum += before[p]! * words[q]!
          out[a * size + b] = -sum
        }
      }
      return tensor('float32', [sizes[earlier]!, size], out)
    }),
  )
}

/** P of every path's every continuation, float32 [n, width * size]. */
function continuations(
  graph: Graph,
  own: Value,
  size: number,
  { width, scores, codes }: Paths,
  tables: readonly Value[],
  rows: number | string,
): Value {
  if (codes.length === 0) return own
  const cross = codes.map((code, earlier) => graph.gather(tables[earlier]!, code))
  let sum = graph.add(graph.unsqueeze(own, 1), graph.unsqueeze(scores, 2))
  for (const part of cross) sum = graph.add(sum, part)
  return graph.reshape(sum, [rows, width * size])
}

/** The `k` best of `count` candidates, best first, and where they stand (int64). Both [n, k]. */
function bestOf(graph: Graph, candidates: Value, count: number, k: number, rows: number | string): { values: Value; indices: Value } {
  const low = 32
  const high = count / low
  if (count < manyCandidates || !Number.isInteger(high) || high < 2 * k) return graph.topK(candidates, k)
  const grid = graph.reshape(candidates, [rows, high, low])
  const lines = graph.topK(graph.reduceMax(grid, [2]), k).indices
  const near = graph.node(
    'GatherND',
    [grid, graph.unsqueeze(lines, 2)],
    { dtype: 'float32', shape: [rows, k, low] },
    { batch_dims: { int: 1 } },
  )
  const top = graph.topK(graph.reshape(near, [rows, k * low]), k)
  const { quotient, remainder } = divide(graph, top.indices, low)
  const line = graph.node('GatherElements', [lines, quotient], { dtype: 'int64', shape: [rows, k] }, { axis: { int: 1 } })
  return { values: top.values, indices: graph.add(graph.mul(line, graph.scalar(low, 'int64')), remainder) }
}

function divide(graph: Graph, index: Value, by: number): { quotient: Value; remainder: Value } {
  const quotient = graph.node('Div', [index, graph.scalar(by, 'int64')], index)
  return { quotient, remainder: graph.sub(index, graph.mul(quotient, graph.scalar(by, 'int64'))) }
}

/** Codes of the paths that candidates continue. @param chosen - int64 [n, k], places among [width * size] */
function codesOf(graph: Graph, chosen: Value, size: number, { width, codes }: Paths): Value[] {
  if (codes.length === 0) return [chosen]
  if (width === 1 && chosen.shape[1] === 1) return [...codes, chosen]
  const { quotient: path, remainder: code } = divide(graph, chosen, size)
  return [...codes.map((earlier) => graph.node('GatherElements', [earlier, path], chosen, { axis: { int: 1 } })), code]
}

/** P of given IDs, float32 [n, 1]; rows with codes of -1 get some number. @param old - int32 [n, levels] */
function scoreOf(graph: Graph, old: Value, scores: readonly Value[], tables: readonly (readonly Value[])[], rows: number | string): Value {
  const levels = scores.length
  const valid = graph.node('Max', [old, graph.scalar(0, 'int32')], old)
  const column = (level: number): Value => (levels === 1 ? valid : graph.slice(valid, 1, level, level + 1))
  let sum: Value | undefined
  const plus = (value: Value): void => void (sum = sum === undefined ? value : graph.add(sum, value))
  for (const [level, own] of scores.entries()) {
    plus(graph.node('GatherElements', [own, column(level)], { dtype: 'float32', shape: [rows, 1] }, { axis: { int: 1 } }))
    for (const [earlier, table] of tables[level]!.entries()) {
      const pair = graph.concat([graph.cast(column(earlier), 'int64'), graph.cast(column(level), 'int64')], 1)
      plus(graph.unsqueeze(graph.node('GatherND', [table, pair], { dtype: 'float32', shape: [rows] }), 1))
    }
  }
  return sum!
}

/** What rounding of the old ID's cost is measured by, float32 [n, 1]: the squared lengths of its codewords, and its cost. */
function magnitudeOf(graph: Graph, old: Value, levels: readonly Float32Array[], dim: number, cost: Value): Value {
  let sum = graph.node('Abs', [cost], cost)
  const valid = graph.node('Max', [old, graph.scalar(0, 'int32')], old)
  for (const [level, words] of levels.entries()) {
    const size = words.length / dim
    const lengths = new Float32Array(size)
    for (let code = 0; code < size; code++) {
      for (let at = code * dim; at < (code + 1) * dim; at++) lengths[code] = lengths[code]! + words[at]! * words[at]!
    }
    sum = graph.add(
      sum,
      graph.gather(graph.constant(tensor('float32', [size, 1], lengths)), codeColumn(graph, valid, level, levels.length)),
    )
  }
  return sum
}
