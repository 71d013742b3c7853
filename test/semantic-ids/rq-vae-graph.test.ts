import { deepStrictEqual, ok } from 'node:assert/strict'
import { after, test } from 'node:test'
import {
  ComputeWorker,
  fillNormal,
  gradients,
  Graph,
  Session,
  tensor,
  tensorOf,
  toModel,
  TrainingSession,
  type Tensor,
} from '../../compute/index.ts'
import {
  appendLoss,
  codebookName,
  initialParameters,
  meanName,
  stepGraph,
  type RqVaeLoss,
  type RqVaeShape,
} from '../../semantic-ids/rq-vae-graph.ts'

const worker = new ComputeWorker({ name: 'rq-vae-test' })
after(() => worker.close())

const shape: RqVaeShape = { inputDim: 5, hidden: [7], latentDim: 3, sizes: [4, 3] }
const rows = 6
type Parameters = Record<string, { dims: readonly number[]; data: Float64Array }>

/** Random parameters, and rows to encode, in float64. */
function world(): { parameters: Parameters; x: Float64Array } {
  const parameters: Parameters = {}
  for (const [index, [name, { dims, data }]] of Object.entries(initialParameters(shape, 3, { codebooks: 'gradient' })).entries()) {
    const values = new Float64Array(data.length)
    fillNormal(values, 11, index)
    parameters[name] = { dims, data: name.startsWith('codebook') ? values : values.map((value) => 0.6 * value) }
  }
  const x = new Float64Array(rows * shape.inputDim)
  fillNormal(x, 12, 0)
  return { parameters, x }
}

/** Rows through the layers of one part, plainly. */
function layers(x: Float64Array, parameters: Parameters, part: string): Float64Array {
  let y = x
  for (const layer of [0, 1]) {
    const { dims, data } = parameters[`${part}/${layer}/weights`]!
    const bias = parameters[`${part}/${layer}/bias`]!.data
    const [from, to] = dims as [number, number]
    const next = new Float64Array((y.length / from) * to)
    for (let at = 0; at < next.length; at++) {
      let sum = bias[at % to]!
      for (let j = 0; j < from; j++) sum += y[Math.floor(at / to) * from + j]! * data[j * to + (at % to)]!
      next[at] = layer === 0 ? Math.max(0, sum) : sum
    }
    y = next
  }
  return y
}

/** What counts as fixed in a gradient: codes, words, residuals, and the map from z to what the decoder reads. */
interface Fixed {
  readonly codes: number[][]
  readonly words: Float64Array[]
  readonly residuals: Float64Array[]
  readonly pass: (z: Float64Array) => Float64Array
}

function fixedOf({ parameters, x }: ReturnType<typeof world>, estimator: RqVaeLoss['estimator']): Fixed {
  const { latentDim: d } = shape
  const z = layers(x, parameters, 'encoder')
  const q = new Float64Array(z.length)
  let residual = z
  const fixed: { codes: number[][]; words: Float64Array[]; residuals: Float64Array[] } = { codes: [], words: [], residuals: [] }
  for (const [level, size] of shape.sizes.entries()) {
    const book = parameters[codebookName(level)]!.data
    const distance = (row: number, code: number): number =>
      Array.from({ length: d }, (_, j) => (residual[row * d + j]! - book[code * d + j]!) ** 2).reduce((a, b) => a + b)
    const codes = Array.from({ length: rows }, (_, row) => {
      const distances = Array.from({ length: size }, (__, code) => distance(row, code))
      return distances.indexOf(Math.min(...distances))
    })
    const words = Float64Array.from(z, (_, at) => book[codes[Math.floor(at / d)]! * d + (at % d)]!)
    fixed.codes.push(codes)
    fixed.words.push(words)
    fixed.residuals.push(residual)
    words.forEach((value, at) => (q[at]! += value))
    residual = residual.map((value, at) => value - words[at]!)
  }
  if (estimator === 'straight-through') return { ...fixed, pass: (moved) => moved.map((value, at) => value + q[at]! - z[at]!) }
  // The rotation in the plane of z and q that takes one direction to the other, written as a matrix, times |q| / |z|.
  const maps = Array.from({ length: rows }, (_, row) => {
    const [a, b] = [z, q].map((values) => values.slice(row * d, (row + 1) * d))
    const length = (v: Float64Array): number => Math.hypot(...v)
    const [u, v] = [a!.map((value) => value / length(a!)), b!.map((value) => value / length(b!))]
    const cosine = u!.reduce((sum, value, j) => sum + value * v![j]!, 0)
    return Float64Array.from({ length: d * d }, (__, at) => {
      const [i, j] = [Math.floor(at / d), at % d]
      const skew = v![i]! * u![j]! - u![i]! * v![j]!
      let square = 0
      for (let k = 0; k < d; k++) square += (v![i]! * u![k]! - u![i]! * v![k]!) * (v![k]! * u![j]! - u![k]! * v![j]!)
      return (length(b!) / length(a!)) * ((i === j ? 1 : 0) + skew + square / (1 + cosine))
    })
  })
  const pass = (moved: Float64Array): Float64Array =>
    moved.map((_, at) => {
      const [row, i] = [Math.floor(at / d), at % d]
      let sum = 0
      for (let j = 0; j < d; j++) sum += maps[row]![i * d + j]! * moved[row * d + j]!
      return sum
    })
  return { ...fixed, pass }
}

/** The documented loss with everything fixed that no gradient passes. */
function surrogate(parameters: Parameters, x: Float64Array, fixed: Fixed, commitment: number): number {
  const z = layers(x, parameters, 'encoder')
  const decoded = layers(fixed.pass(z), parameters, 'decoder')
  let total = decoded.reduce((sum, value, at) => sum + (value - x[at]!) ** 2, 0)
  let residual = z
  for (const level of shape.sizes.keys()) {
    const book = parameters[codebookName(level)]!.data
    const { latentDim: d } = shape
    fixed.residuals[level]!.forEach((value, at) => (total += (value - book[fixed.codes[level]![Math.floor(at / d)]! * d + (at % d)]!) ** 2))
    residual = residual.map((value, at) => value - fixed.words[level]![at]!)
    total += commitment * residual.reduce((sum, value) => sum + value ** 2, 0)
  }
  return total / rows
}

for (const estimator of ['straight-through', 'rotation'] as const) {
  test(`${estimator}: loss and gradients are those of central differences, with all fixed that no gradient passes`, async () => {
    const made = world()
    const { parameters, x } = made
    const commitment = 0.4
    const graph = new Graph({ dtype: 'float64' })
    const initial = Object.fromEntries(
      Object.entries(parameters).map(([name, { dims, data }]) => [name, tensor('float64', dims, data.slice())]),
    )
    const input = graph.input('x', 'float64', ['n', shape.inputDim])
    const values = appendLoss(graph, input, shape, initial, { commitment, estimator, codebooks: 'gradient', emaDecay: 0 })
    const names = Object.keys(parameters)
    const found = gradients(
      graph,
      values.loss,
      names.map((name) => graph.states.get(name)!.value),
    )
    graph.output('loss', values.loss)
    names.forEach((name, i) => graph.output(`d ${name}`, found[i]!))
    const session = await Session.create(toModel(graph), { worker })
    const outputs = await session.run({ x: tensor('float64', [rows, shape.inputDim], x.slice()) })
    const fixed = fixedOf(made, estimator)
    const close = (actual: number, expected: number, what: string): void =>
      ok(Math.abs(actual - expected) < 1e-6 * Math.max(1, Math.abs(expected)), `${what}: ${actual} is not ${expected}`)
    close(outputs['loss']!.data[0] as number, surrogate(parameters, x, fixed, commitment), 'loss')
    const step = 1e-6
    for (const name of names) {
      const { data } = parameters[name]!
      for (let at = 0; at < data.length; at++) {
        const value = data[at]!
        const lossAt = (moved: number): number => {
          data[at] = moved
          const loss = surrogate(parameters, x, fixed, commitment)
          data[at] = value
          return loss
        }
        const slope = (lossAt(value + step) - lossAt(value - step)) / (2 * step)
        const actual = outputs[`d ${name}`]!.data[at] as number
        ok(Math.abs(actual - slope) < 1e-5 * Math.max(1, Math.abs(slope)), `${name}[${at}]: ${actual} is not ${slope}`)
      }
    }
  })
}

test('running means: codewords become the decayed means of the rows that took them, untaken ones stay', async () => {
  const small: RqVaeShape = { inputDim: 2, hidden: [], latentDim: 2, sizes: [3] }
  const initial: Record<string, Tensor<'float32'>> = initialParameters(small, 1, { codebooks: 'ema' })
  const identity = tensorOf('float32', [2, 2], [1, 0, 0, 1])
  Object.assign(initial, {
    'encoder/0/weights': identity,
    [codebookName(0)]: tensorOf('float32', [3, 2], [0, 0, 4, 4, 9, 9]),
    [meanName(0)]: tensorOf('float32', [3, 3], [0, 0, 2, 4, 4, 1, 0, 0, 0]),
  })
  const options = { commitment: 0.25, estimator: 'straight-through', codebooks: 'ema', emaDecay: 0.5, weightDecay: 0 } as const
  const session = await TrainingSession.create(stepGraph(small, initial, options), { worker })
  const x = tensorOf('float32', [3, 2], [1, 0, 3, 4, 5, 6])
  const { codes } = await session.step({ x, rate: tensorOf('float32', [], [0]) })
  deepStrictEqual([...(codes!.data as Int32Array)], [0, 1, 1])
  const state = await session.state()
  // Sums .5 * [0, 0] + .5 * [1, 0] over counts .5 * 2 + .5 * 1; .5 * [4, 4] + .5 * [8, 10] over .5 + 1; the third has neither.
  deepStrictEqual([...(state[meanName(0)]!.data as Float32Array)], [0.5, 0, 1.5, 6, 7, 1.5, 0, 0, 0])
  const expected = [1 / 3, 0, 4, 14 / 3, 9, 9]
  ;(state[codebookName(0)]!.data as Float32Array).forEach((value, at) => ok(Math.abs(value - expected[at]!) < 1e-6))
  await session.close()
})
