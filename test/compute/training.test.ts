/** Training: it learns, it repeats bit for bit, it survives a restart bit for bit, a failed step changes nothing. */
import { deepStrictEqual, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import {
  adamW,
  adamWDefaults,
  ComputeWorker,
  constantAfterWarmup,
  fillNormal,
  Graph,
  oneCycleSchedule,
  tensor,
  tensorOf,
  TrainingSession,
  uniformInt,
} from '../../compute/index.ts'
import type { AdamWOptions, TensorMap } from '../../compute/index.ts'

const [items, dim, hidden, batch] = [300, 24, 16, 128]

function normal(dims: readonly number[], stream: number, scale = 1) {
  const data = new Float32Array(dims.reduce((a, b) => a * b, 1))
  fillNormal(data, 5, stream)
  return tensor(
    'float32',
    dims,
    data.map((x) => x * scale),
  )
}

/** A two-layer head over gathered rows: equal indices meet in one batch, so the scatter of the gradient is in play. */
function headGraph(options: AdamWOptions = {}): Graph {
  const graph = new Graph()
  const rows = graph.input('rows', 'float32', ['distinct', dim])
  const picks = graph.input('picks', 'int64', ['batch'])
  const targets = graph.input('targets', 'float32', ['batch', 8])
  const first = graph.parameter('first', normal([dim, hidden], 1, 0.2))
  const bias = graph.parameter('bias', tensor('float32', [hidden], new Float32Array(hidden)))
  const second = graph.parameter('second', normal([hidden, 8], 2, 0.2))
  const logScale = graph.parameter('log_scale', tensorOf('float32', [], [0]), { min: -0.05, max: 0.05 })
  const encoded = graph.matmul(graph.gelu(graph.linear(rows, first, bias)), second)
  const error = graph.sub(graph.mul(graph.gather(encoded, picks), graph.exp(logScale)), targets)
  const loss = graph.reduceMean(graph.mul(error, error))
  graph.output('loss', loss)
  graph.output('norm', adamW(graph, loss, graph.input('lr', 'float32', []), options))
  return graph
}

const rows = normal([items, dim], 3)
const table = normal([items, 8], 4)

function feedsOf(step: number): TensorMap {
  const picks = BigInt64Array.from({ length: batch }, (_, i) => BigInt(uniformInt(9, step, i, 40)))
  const targets = new Float32Array(batch * 8)
  picks.forEach((pick, i) => targets.set(table.data.subarray(Number(pick) * 8, Number(pick) * 8 + 8), i * 8))
  return {
    rows,
    picks: tensor('int64', [batch], picks),
    targets: tensor('float32', [batch, 8], targets),
    lr: tensorOf('float32', [], [0.01]),
  }
}

async function train(session: TrainingSession, from: number, to: number): Promise<number[]> {
  // All steps under way at once: they must run in order.
  const steps = await Promise.all(Array.from({ length: to - from }, (_, i) => session.step(feedsOf(from + i))))
  return steps.map((outputs) => Number(outputs['loss']!.data[0]))
}

const bytes = (state: TensorMap): Record<string, string> =>
  Object.fromEntries(
    Object.entries(state).map(([name, { data }]) => [name, Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex')]),
  )

async function withSession<T>(
  options: { threads?: number; state?: TensorMap },
  body: (session: TrainingSession) => Promise<T>,
): Promise<T> {
  const session = await TrainingSession.create(headGraph(), options)
  try {
    return await body(session)
  } finally {
    await session.close()
  }
}

test('the loss falls and a bounded parameter stays inside its bounds', async () => {
  await withSession({}, async (session) => {
    const losses = await train(session, 0, 60)
    ok(losses.at(-1)! < 0.5 * losses[0]!, `from ${losses[0]} to ${losses.at(-1)}`)
    const scale = Number((await session.state())['log_scale']!.data[0])
    ok(Math.abs(scale) <= Math.fround(0.05), `log_scale ${scale}`)
  })
})

for (const threads of [1, 2]) {
  test(`the same steps twice give the same bytes, ${threads} threads`, async () => {
    const once = () =>
      withSession({ threads }, async (session) => ({ losses: await train(session, 0, 10), state: bytes(await session.state()) }))
    const [a, b] = [await once(), await once()]
    deepStrictEqual(a, b)
  })

  test(`10 steps = 5 steps, a restart from the saved state and 5 more, ${threads} threads`, async () => {
    const whole = await withSession({ threads }, async (session) => ({
      losses: await train(session, 0, 10),
      state: bytes(await session.state()),
    }))
    const half = await withSession({ threads }, async (session) => ({ losses: await train(session, 0, 5), state: await session.state() }))
    const rest = await withSession({ threads, state: half.state }, async (session) => ({
      losses: await train(session, 5, 10),
      state: bytes(await session.state()),
    }))
    deepStrictEqual([...half.losses, ...rest.losses], whole.losses)
    deepStrictEqual(rest.state, whole.state)
  })
}

test('a failed step leaves the state as it was, and the next one goes on', async () => {
  await withSession({}, async (session) => {
    await train(session, 0, 2)
    const before = bytes(await session.state())
    const picks = tensor('int64', [batch], new BigInt64Array(batch).fill(10_000n))
    await rejects(session.step({ ...feedsOf(2), picks }), { code: 'SIDESTREAM_SESSION_FAILED' })
    deepStrictEqual(bytes(await session.state()), before)
    await train(session, 2, 3)
    notDeepStrictEqual(bytes(await session.state()), before)
  })
})

test('a state of another graph is refused by name', async () => {
  const state = await withSession({}, (session) => session.state())
  delete (state as Record<string, unknown>)['optimizer/m/first']
  await rejects(TrainingSession.create(headGraph(), { state }), { code: 'SIDESTREAM_SHAPE_MISMATCH', message: /optimizer\/m\/first/ })
})

test('two training sessions share a worker without mixing their states', async (t) => {
  const worker = new ComputeWorker()
  t.after(() => worker.close())
  const [a, b] = await Promise.all([TrainingSession.create(headGraph(), { worker }), TrainingSession.create(headGraph(), { worker })])
  await train(a, 0, 3)
  notDeepStrictEqual(bytes(await a.state()), bytes(await b.state()))
  await train(b, 0, 3)
  deepStrictEqual(bytes(await a.state()), bytes(await b.state()))
  await a.close()
  await train(b, 3, 4)
})

test('clipping bounds what a step sees; the reported norm is the one before', async (t) => {
  const graph = new Graph()
  const p = graph.parameter('p', tensorOf('float32', [2], [0, 0]))
  const loss = graph.reduceSum(graph.mul(p, graph.input('slope', 'float32', [2])))
  graph.output('norm', adamW(graph, loss, graph.scalar(0.1), { clipNorm: 1, weightDecay: 0 }))
  const session = await TrainingSession.create(graph)
  t.after(() => session.close())
  const { norm } = await session.step({ slope: tensorOf('float32', [2], [30, 40]) })
  strictEqual(norm!.data[0], 50)
  const moment = Array.from((await session.state())['optimizer/m/p']!.data as Float32Array)
  moment.forEach((value, i) => ok(Math.abs(value - [0.06, 0.08][i]!) < 1e-7))
})

test('weight decay shrinks matrices only, unless a parameter says otherwise', async (t) => {
  const graph = new Graph({ dtype: 'float64' })
  const one = (dims: number[]) =>
    tensorOf(
      'float64',
      dims,
      Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => 1),
    )
  const [matrix, bias, still] = [
    graph.parameter('matrix', one([2, 2])),
    graph.parameter('bias', one([2])),
    graph.parameter('still', one([2, 2]), { decay: false }),
  ]
  const touch = (x: typeof matrix) => graph.reduceSum(graph.scale(x, 0))
  adamW(graph, graph.add(graph.add(touch(matrix), touch(bias)), touch(still)), graph.scalar(0.5), { weightDecay: 0.1 })
  const session = await TrainingSession.create(graph, { optimization: 'basic' })
  t.after(() => session.close())
  await session.step({})
  const state = await session.state()
  deepStrictEqual([...state['matrix']!.data], [0.95, 0.95, 0.95, 0.95])
  deepStrictEqual([...state['bias']!.data, ...state['still']!.data], [1, 1, 1, 1, 1, 1])
})

test('AdamW defaults are the documented ones', () => {
  deepStrictEqual(adamWDefaults, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-4, clipNorm: 1 })
})

test('one cycle: first, top and last rate as PyTorch has them', () => {
  const rate = oneCycleSchedule({ totalSteps: 100, max: 1e-3 })
  const expected: [number, number][] = [
    [0, 4e-5],
    [29, 1e-3],
    [99, 4e-9],
  ]
  for (const [step, value] of expected) ok(Math.abs(rate(step) - value) < 1e-12, `step ${step}: ${rate(step)}`)
  // Half way down the cosine from step 29 to 99.
  ok(Math.abs(rate(64) - (1e-3 + 4e-9) / 2) < 1e-12)
  for (let step = 1; step < 100; step++) ok(step <= 29 ? rate(step) > rate(step - 1) : rate(step) < rate(step - 1))
})

test('constant after warm-up: rises over the warm-up, then stays', () => {
  const rate = constantAfterWarmup({ max: 0.2, warmupSteps: 4 })
  deepStrictEqual([0, 1, 3, 4, 1e6].map(rate), [0.05, 0.1, 0.2, 0.2, 0.2])
})

/** Two losses over one shared weight; each has a parameter of its own. */
function sharingGraph(name: 'left' | 'right'): Graph {
  const graph = new Graph({ name })
  const x = graph.input('x', 'float32', ['n', 4])
  const shared = graph.parameter('shared', normal([4, 3], 11))
  const own = graph.parameter(`own.${name}`, tensorOf('float32', [], [0.5]), { clock: name })
  const loss = graph.reduceMean(graph.mul(graph.matmul(x, shared), own))
  graph.output('loss', loss)
  adamW(graph, loss, graph.input('lr', 'float32', []))
  return graph
}

const sharingFeeds = (step: number): TensorMap => ({ x: normal([5, 4], 20 + step), lr: tensorOf('float32', [], [0.01]) })

test('graphs that share a state train the same weight in turn, and go on from a saved state to the bit', async () => {
  const left = await TrainingSession.create(sharingGraph('left'))
  const right = await left.withGraph(sharingGraph('right'))
  try {
    await left.step(sharingFeeds(0))
    await right.step(sharingFeeds(1))
    const saved = await left.state()
    deepStrictEqual(Object.keys(saved).sort(), Object.keys(await right.state()).sort())
    const resumed = await TrainingSession.create(sharingGraph('left'), { state: saved })
    const resumedRight = await resumed.withGraph(sharingGraph('right'), { state: saved })
    for (const [l, r] of [
      [left, right],
      [resumed, resumedRight],
    ] as const) {
      await Promise.all([r.step(sharingFeeds(2)), l.step(sharingFeeds(3)), r.step(sharingFeeds(4))])
    }
    deepStrictEqual(bytes(await resumed.state()), bytes(await left.state()))
    await resumed.close()
    strictEqual(Number((await left.state())['optimizer/steps']!.data[0]), 5)
    strictEqual(Number((await left.state())['optimizer/steps/right']!.data[0]), 3)
    await left.setState(left.initialState((state) => state.startsWith('optimizer/')))
    strictEqual(Number((await right.state())['optimizer/steps']!.data[0]), 0)
    ok((await right.state())['shared']!.data.some((value, i) => value !== normal([4, 3], 11).data[i]))
    await rejects(async () => left.setState({ nothing: tensorOf('float32', [], [0]) }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  } finally {
    await left.close()
  }
})

test('the first step of a parameter with a clock of its own is one learning rate long, however late it comes', async () => {
  const left = await TrainingSession.create(sharingGraph('left'))
  try {
    const right = await left.withGraph(sharingGraph('right'))
    for (let step = 0; step < 20; step++) await left.step(sharingFeeds(step))
    await right.step(sharingFeeds(30))
    const moved = Math.abs(Number((await left.state())['own.right']!.data[0]) - 0.5)
    ok(Math.abs(moved - 0.01) < 1e-5, `moved ${moved}`)
  } finally {
    await left.close()
  }
})

test('a graph that disagrees on a shared state is refused by name', async () => {
  const left = await TrainingSession.create(sharingGraph('left'))
  try {
    const other = new Graph({ name: 'other' })
    const loss = other.reduceMean(other.parameter('shared', normal([4, 2], 11)))
    adamW(other, loss, other.input('lr', 'float32', []))
    await rejects(left.withGraph(other), { code: 'SIDESTREAM_SHAPE_MISMATCH', message: /shared/ })
  } finally {
    await left.close()
  }
})
