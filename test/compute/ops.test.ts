/**
 * Walks the table of operations: the forward value against a plain reference, every gradient against central
 * differences. An operation without a case here does not compile, and fails at run time too.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { after, test } from 'node:test'
import {
  ComputeWorker,
  fillNormal,
  gradients,
  Graph,
  isDifferentiable,
  opTable,
  Session,
  tensor,
  tensorOf,
  toModel,
} from '../../compute/index.ts'
import type { Dim, OpName, Tensor, Value } from '../../compute/index.ts'

interface Case {
  readonly inputs: readonly Tensor[]
  /** Free dims of the inputs, by position, when they differ from the sizes. */
  readonly shapes?: readonly (readonly Dim[])[]
  readonly build: (graph: Graph, ...inputs: Value[]) => Value
  /** The same computed plainly. */
  readonly expected: readonly number[]
}

const worker = new ComputeWorker({ name: 'ops-test' })
after(() => worker.close())

let stream = 0
function normal(dims: readonly number[], map: (x: number) => number = (x) => x): Tensor<'float64'> {
  const data = new Float64Array(dims.reduce((a, b) => a * b, 1))
  fillNormal(data, 42, stream++)
  return tensor('float64', dims, data.map(map))
}
const single = (source: Tensor): Tensor => tensor('float32', source.dims, Float32Array.from(source.data as Float64Array))
const int = (dims: readonly number[], values: readonly number[]): Tensor => tensorOf('int64', dims, values)
const bool = (dims: readonly number[], values: readonly number[]): Tensor => tensorOf('bool', dims, values)
const list = (value: Tensor): number[] => Array.from(value.data as Float64Array, Number)
const positive = (x: number): number => 0.3 + Math.abs(x)

/** Case of an elementwise function of one input. */
function unary(call: (graph: Graph, x: Value) => Value, reference: (x: number) => number, map?: (x: number) => number): Case {
  const x = normal([3, 4], map)
  return { inputs: [x], shapes: [['n', 4]], build: call, expected: list(x).map(reference) }
}

/** Cases of an elementwise function of two inputs: equal shapes, a row and a column broadcast, a scalar. */
function binary(
  call: (graph: Graph, a: Value, b: Value) => Value,
  reference: (a: number, b: number) => number,
  map?: (x: number) => number,
): Case[] {
  const a = normal([3, 4])
  const sizes: [number[], (i: number) => number][] = [
    [[3, 4], (i) => i],
    [[4], (i) => i % 4],
    [[3, 1], (i) => Math.floor(i / 4)],
    [[], () => 0],
  ]
  return sizes.flatMap(([dims, at]) => {
    const b = normal(dims, map)
    const expected = list(a).map((value, i) => reference(value, list(b)[at(i)]!))
    const swapped: Case = { inputs: [b, a], build: (graph, y, x) => call(graph, x, y), expected }
    return [{ inputs: [a, b], build: call, expected }, swapped]
  })
}

function product(a: number[], b: number[], m: number, k: number, n: number, ta = false, tb = false): number[] {
  return Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n]
    let sum = 0
    for (let p = 0; p < k; p++) sum += a[ta ? p * m + i : i * k + p]! * b[tb ? j * k + p : p * n + j]!
    return sum
  })
}

function matmulCases(): Case[] {
  const cases: Case[] = []
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const a = normal(transposeA ? [3, 2] : [2, 3])
      const b = normal(transposeB ? [4, 3] : [3, 4])
      const batchA = normal([2, ...a.dims])
      cases.push({
        inputs: [a, b],
        build: (graph, x, y) => graph.matmul(x, y, { transposeA, transposeB }),
        expected: product(list(a), list(b), 2, 3, 4, transposeA, transposeB),
      })
      cases.push({
        inputs: [batchA, b],
        build: (graph, x, y) => graph.matmul(x, y, { transposeA, transposeB }),
        expected: [0, 1].flatMap((i) => product(list(batchA).slice(i * 6, i * 6 + 6), list(b), 2, 3, 4, transposeA, transposeB)),
      })
    }
  }
  return cases
}

const rowsOf = (x: Tensor): number[][] => {
  const width = x.dims.at(-1)!
  const flat = list(x)
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, i * width + width))
}
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
/** 1 + erf(x/√2) over 2 by its series around 0; exact enough for |x| < 6. */
function normalDistribution(x: number): number {
  let [term, total] = [x, x]
  for (let k = 1; k < 200; k++) total += term *= (x * x) / (2 * k + 1)
  return 0.5 + (total * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}

function standardized(row: number[]): number[] {
  const mean = sum(row) / row.length
  const variance = sum(row.map((x) => (x - mean) ** 2)) / row.length
  return row.map((x) => (x - mean) / Math.sqrt(variance + 2 ** -17))
}

function reductionCases(name: 'reduceSum' | 'reduceMean' | 'reduceMax', reduce: (values: number[]) => number): Case[] {
  const x = normal([2, 3, 5])
  const at = (i: number, j: number, k: number): number => list(x)[(i * 3 + j) * 5 + k]!
  const [is, js, ks] = [
    [0, 1],
    [0, 1, 2],
    [0, 1, 2, 3, 4],
  ]
  const shapes = [['n', 3, 5]] as const
  const one = (axes: number[] | undefined, expected: number[]): Case[] =>
    [false, true].map((keepDims) => ({ inputs: [x], shapes, build: (graph, value) => graph[name](value, axes, { keepDims }), expected }))
  return [
    ...one(
      [2],
      is.flatMap((i) => js.map((j) => reduce(ks.map((k) => at(i, j, k))))),
    ),
    ...one(
      [-1],
      is.flatMap((i) => js.map((j) => reduce(ks.map((k) => at(i, j, k))))),
    ),
    ...one(
      [1],
      is.flatMap((i) => ks.map((k) => reduce(js.map((j) => at(i, j, k))))),
    ),
    ...one(
      [0],
      js.flatMap((j) => ks.map((k) => reduce(is.map((i) => at(i, j, k))))),
    ),
    ...one(
      [0, 2],
      js.map((j) => reduce(is.flatMap((i) => ks.map((k) => at(i, j, k))))),
    ),
    ...one(undefined, [reduce(list(x))]),
  ]
}

function softmaxOf(row: number[], allowed: number[] = row.map(() => 1)): number[] {
  const powers = row.map((x, i) => (allowed[i] ? Math.exp(x) : 0))
  const total = sum(powers)
  return powers.map((power) => (total === 0 ? 0 : power / total))
}

function cases(): Record<OpName, Case[]> {
  const x34 = normal([3, 4])
  const y34 = normal([3, 4])
  const tied = tensorOf('float64', [2, 3], [1, 1, 0, -2, 5, 5])
  const mask = bool([3, 4], [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0])
  const maskRows = rowsOf(mask)
  const parts = [normal([2, 3]), normal([2, 1]), normal([2, 4])]
  const indices = [2, 0, 2, 2, 1]
  const rows5 = normal([5, 4])
  return {
    add: binary(
      (graph, a, b) => graph.add(a, b),
      (a, b) => a + b,
    ),
    sub: binary(
      (graph, a, b) => graph.sub(a, b),
      (a, b) => a - b,
    ),
    mul: binary(
      (graph, a, b) => graph.mul(a, b),
      (a, b) => a * b,
    ),
    div: binary(
      (graph, a, b) => graph.div(a, b),
      (a, b) => a / b,
      positive,
    ),
    neg: [
      unary(
        (graph, x) => graph.neg(x),
        (x) => -x,
      ),
    ],
    exp: [unary((graph, x) => graph.exp(x), Math.exp)],
    log: [unary((graph, x) => graph.log(x), Math.log, positive)],
    sqrt: [unary((graph, x) => graph.sqrt(x), Math.sqrt, positive)],
    sigmoid: [
      unary(
        (graph, x) => graph.sigmoid(x),
        (x) => 1 / (1 + Math.exp(-x)),
      ),
    ],
    relu: [
      unary(
        (graph, x) => graph.relu(x),
        (x) => Math.max(x, 0),
      ),
    ],
    tanh: [unary((graph, x) => graph.tanh(x), Math.tanh)],
    gelu: [{ inputs: [single(x34)], build: (graph, x) => graph.gelu(x), expected: list(x34).map((x) => x * normalDistribution(x)) }],
    clip: [
      unary(
        (graph, x) => graph.clip(x, -0.5, 0.7),
        (x) => Math.min(0.7, Math.max(-0.5, x)),
      ),
    ],
    matmul: matmulCases(),
    transpose: [
      { inputs: [x34], build: (graph, x) => graph.transpose(x), expected: [0, 1, 2, 3].flatMap((j) => rowsOf(x34).map((row) => row[j]!)) },
      {
        inputs: [tensorOf('float64', [2, 3, 2], list(x34))],
        build: (graph, x) => graph.transpose(x, [2, 0, 1]),
        expected: [0, 1].flatMap((k) => [0, 1].flatMap((i) => [0, 1, 2].map((j) => list(x34)[(i * 3 + j) * 2 + k]!))),
      },
    ],
    reshape: [
      { inputs: [x34], shapes: [['n', 4]], build: (graph, x) => graph.reshape(x, ['n', 2, 2]), expected: list(x34) },
      { inputs: [x34], shapes: [['n', 4]], build: (graph, x) => graph.reshape(x, ['flat']), expected: list(x34) },
    ],
    reshapeLike: [
      {
        inputs: [x34, normal([6, 2])],
        shapes: [
          ['n', 4],
          ['m', 2],
        ],
        build: (graph, x, like) => graph.reshapeLike(x, like),
        expected: list(x34),
      },
    ],
    unsqueeze: [{ inputs: [x34], build: (graph, x) => graph.unsqueeze(x, 1), expected: list(x34) }],
    squeeze: [{ inputs: [normal([3, 1, 2])], build: (graph: Graph, x: Value) => graph.squeeze(x, 1), expected: [] }].map((c) => ({
      ...c,
      expected: list(c.inputs[0]!),
    })),
    expandLike: [
      {
        inputs: [tensorOf('float64', [1, 4], [1, -2, 3, 4]), x34],
        shapes: [
          [1, 4],
          ['n', 4],
        ],
        build: (graph, x, like) => graph.expandLike(x, like),
        expected: [1, -2, 3, 4, 1, -2, 3, 4, 1, -2, 3, 4],
      },
    ],
    concat: [
      {
        inputs: parts,
        build: (graph, ...values) => graph.concat(values, 1),
        expected: [0, 1].flatMap((i) => parts.flatMap((part) => rowsOf(part)[i]!)),
      },
      {
        inputs: [x34, y34],
        shapes: [
          ['n', 4],
          ['m', 4],
        ],
        build: (graph, a, b) => graph.concat([a, b], 0),
        expected: [...list(x34), ...list(y34)],
      },
    ],
    slice: [
      {
        inputs: [x34],
        shapes: [['n', 4]],
        build: (graph, x) => graph.slice(x, -1, 1, 3),
        expected: rowsOf(x34).flatMap((row) => row.slice(1, 3)),
      },
    ],
    reduceSum: reductionCases('reduceSum', sum),
    reduceMean: reductionCases('reduceMean', (values) => sum(values) / values.length),
    reduceMax: reductionCases('reduceMax', (values) => Math.max(...values)),
    softmax: [
      { inputs: [x34], build: (graph, x) => graph.softmax(x), expected: rowsOf(x34).flatMap((row) => softmaxOf(row)) },
      {
        inputs: [x34],
        build: (graph, x) => graph.softmax(x, 0),
        expected: list(x34).map((_, at) => softmaxOf([0, 1, 2].map((i) => rowsOf(x34)[i]![at % 4]!))[Math.floor(at / 4)]!),
      },
      {
        inputs: [x34, mask],
        build: (graph, x, allowed) => graph.softmax(x, -1, allowed),
        expected: rowsOf(x34).flatMap((row, i) => softmaxOf(row, maskRows[i])),
      },
    ],
    logSumExp: [
      {
        inputs: [x34],
        build: (graph: Graph, x: Value) => graph.logSumExp(x),
        expected: rowsOf(x34).map((row) => Math.log(sum(row.map(Math.exp)))),
      },
      {
        inputs: [normal([2, 4]), bool([2, 4], [1, 0, 1, 1, 0, 0, 0, 1])],
        build: (graph: Graph, x: Value, allowed: Value) => graph.logSumExp(x, -1, allowed),
        expected: [] as number[],
      },
    ].map((c) =>
      c.expected.length > 0
        ? c
        : {
            ...c,
            expected: rowsOf(c.inputs[0]!).map((row, i) =>
              Math.log(sum(row.map((x, j) => (rowsOf(c.inputs[1]!)[i]![j] ? Math.exp(x) : 0)))),
            ),
          },
    ),
    logSoftmax: [
      { inputs: [x34], build: (graph, x) => graph.logSoftmax(x), expected: rowsOf(x34).flatMap((row) => softmaxOf(row).map(Math.log)) },
    ],
    l2norm: [
      {
        inputs: [x34],
        build: (graph, x) => graph.l2norm(x),
        expected: rowsOf(x34).flatMap((row) => row.map((x) => x / Math.hypot(...row))),
      },
    ],
    layerNorm: [
      {
        inputs: [x34],
        shapes: [['n', 4]],
        build: (graph, x) => graph.layerNorm(x),
        expected: rowsOf(x34).flatMap((row) => standardized(row)),
      },
      {
        inputs: [tensorOf('float64', [2, 1, 3], [1, 2, 4, -3, 5, 5])],
        build: (graph, x) => graph.layerNorm(x),
        expected: [...standardized([1, 2, 4]), ...standardized([-3, 5, 5])],
      },
    ],
    gather: [
      {
        inputs: [x34, int([5], indices)],
        shapes: [['n', 4], ['m']],
        build: (graph, x, at) => graph.gather(x, at),
        expected: indices.flatMap((i) => rowsOf(x34)[i]!),
      },
      {
        inputs: [x34, int([2, 2], [2, 2, 0, 2])],
        build: (graph, x, at) => graph.gather(x, at),
        expected: [2, 2, 0, 2].flatMap((i) => rowsOf(x34)[i]!),
      },
    ],
    scatterAdd: [
      {
        inputs: [rows5, int([5], indices), x34],
        shapes: [['m', 4], ['m'], ['n', 4]],
        build: (graph, rows, at, like) => graph.scatterAdd(rows, at, like),
        expected: [0, 1, 2].flatMap((i) =>
          [0, 1, 2, 3].map((j) =>
            sum(
              rowsOf(rows5)
                .filter((_, r) => indices[r] === i)
                .map((row) => row[j]!),
            ),
          ),
        ),
      },
    ],
    scatterRows: [
      {
        inputs: [x34, int([2], [2, 0]), parts[2]!],
        build: (graph, x, at, rows) => graph.scatterRows(x, at, rows),
        expected: [rowsOf(parts[2]!)[1]!, rowsOf(x34)[1]!, rowsOf(parts[2]!)[0]!].flat(),
      },
    ],
    where: [
      {
        inputs: [mask, x34, y34],
        build: (graph, c, a, b) => graph.where(c, a, b),
        expected: list(mask).map((c, i) => list(c ? x34 : y34)[i]!),
      },
      {
        inputs: [mask, tensorOf('float64', [], [7]), y34],
        build: (graph, c, a, b) => graph.where(c, a, b),
        expected: list(mask).map((c, i) => (c ? 7 : list(y34)[i]!)),
      },
    ],
    cast: [
      {
        inputs: [single(x34)],
        build: (graph, x) => graph.mul(graph.cast(x, 'float64'), graph.scalar(2, 'float64')),
        expected: list(x34).map((x) => 2 * Math.fround(x)),
      },
    ],
    identity: [
      unary(
        (graph, x) => graph.identity(x),
        (x) => x,
      ),
    ],
    stopGradient: [
      unary(
        (graph, x) => graph.stopGradient(x),
        (x) => x,
      ),
    ],
    equal: [
      { inputs: [int([4], [1, 2, 3, 4]), int([4], [1, 0, 3, 0])], build: (graph, a, b) => graph.equal(a, b), expected: [1, 0, 1, 0] },
    ],
    less: [{ inputs: [x34, y34], build: (graph, a, b) => graph.less(a, b), expected: list(x34).map((a, i) => Number(a < list(y34)[i]!)) }],
    not: [{ inputs: [mask], build: (graph, x) => graph.not(x), expected: list(mask).map((x) => 1 - x) }],
    and: [{ inputs: [bool([4], [0, 0, 1, 1]), bool([4], [0, 1, 0, 1])], build: (graph, a, b) => graph.and(a, b), expected: [0, 0, 0, 1] }],
    or: [{ inputs: [bool([4], [0, 0, 1, 1]), bool([4], [0, 1, 0, 1])], build: (graph, a, b) => graph.or(a, b), expected: [0, 1, 1, 1] }],
    argMax: [{ inputs: [tied], build: (graph, x) => graph.argMax(x), expected: [0, 1] }],
    argMin: [{ inputs: [tied], build: (graph, x) => graph.argMin(x, 0), expected: [1, 0, 0] }],
  }
}

for (const [name, list_] of Object.entries(cases()) as [OpName, Case[]][]) {
  test(`${name}: forward equals the plain computation, gradient equals central differences`, async () => {
    ok(list_.length > 0)
    for (const example of list_) await check(name, example)
  })
}

test('layerNorm: a row of equal entries becomes zero', async () => {
  const { graph, y } = built({ inputs: [tensorOf('float64', [1, 3], [5, 5, 5])], build: (g, x) => g.layerNorm(x), expected: [] })
  graph.output('y', y)
  const { y: found } = await run(graph, (session) => session.run({ in0: tensorOf('float64', [1, 3], [5, 5, 5]) }))
  deepStrictEqual(list(found!), [0, 0, 0])
})

test('the table holds an operation for every case and the other way round', () => {
  deepStrictEqual(Object.keys(cases()).toSorted(), Object.keys(opTable).toSorted())
})

async function check(name: OpName, example: Case): Promise<void> {
  const feeds = Object.fromEntries(example.inputs.map((input, i) => [`in${i}`, input]))
  const { graph, y } = built(example)
  graph.output('y', y)
  const forward = (await run(graph, (session) => session.run(feeds)))['y']!
  const exact = y.dtype === 'float32' ? 2e-6 : 1e-12
  close(list(forward), example.expected, exact, `${name}: forward`)
  if (isDifferentiable(name)) await checkGradient(name, example, feeds, forward.dims)
}

async function checkGradient(name: OpName, example: Case, feeds: Record<string, Tensor>, dims: readonly number[]): Promise<void> {
  const { graph, values, y } = built(example)
  const real = values.filter(({ dtype }) => dtype.startsWith('float'))
  // A weight per entry of y, so that no two entries' gradients can be mixed up unseen.
  const weights = graph.input('weights', y.dtype, y.shape)
  const drawn = normal(dims)
  const all = { ...feeds, weights: y.dtype === 'float32' ? single(drawn) : drawn }
  graph.output('loss', graph.reduceSum(graph.mul(y, weights)))
  gradients(graph, y, real, weights).forEach((gradient, i) => graph.output(`d${real[i]!.name}`, gradient))
  const tolerance = y.dtype === 'float32' || real[0]!.dtype === 'float32' ? 1e-3 : 1e-7
  await run(graph, async (session) => {
    const analytic = await session.run(all)
    for (const { name: input } of real) {
      close(list(analytic[`d${input}`]!), await centralDifferences(session, all, input), tolerance, `${name}: gradient of ${input}`)
    }
  })
}

function built({ inputs, shapes, build }: Case): { graph: Graph; values: Value[]; y: Value } {
  const graph = new Graph({ dtype: 'float64' })
  const values = inputs.map((input, i) => graph.input(`in${i}`, input.dtype, shapes?.[i] ?? input.dims))
  return { graph, values, y: build(graph, ...values) }
}

async function run<T>(graph: Graph, body: (session: Session) => Promise<T>): Promise<T> {
  const session = await Session.create(toModel(graph), { worker, optimization: 'basic' })
  try {
    return await body(session)
  } finally {
    await session.close()
  }
}

async function centralDifferences(session: Session, feeds: Record<string, Tensor>, name: string): Promise<number[]> {
  const input = feeds[name]!
  const step = input.dtype === 'float32' ? 5e-3 : 1e-5
  const losses = async (sign: number): Promise<number[]> => {
    const runs = Array.from({ length: input.data.length }, (_, i) => {
      const data = (input.data as Float64Array).slice()
      data[i]! += sign * step
      return session.run({ ...feeds, [name]: { ...input, data } }, { outputs: ['loss'] })
    })
    return (await Promise.all(runs)).map((outputs) => Number(outputs['loss']!.data[0]))
  }
  const [up, down] = await Promise.all([losses(1), losses(-1)])
  return up.map((value, i) => (value - down[i]!) / (2 * step))
}

function close(actual: readonly number[], expected: readonly number[], tolerance: number, what: string): void {
  strictEqual(actual.length, expected.length, what)
  actual.forEach((value, i) => {
    const allowed = tolerance * Math.max(1, Math.abs(expected[i]!))
    ok(Math.abs(value - expected[i]!) <= allowed, `${what}, entry ${i}: ${value} instead of ${expected[i]}`)
  })
}
