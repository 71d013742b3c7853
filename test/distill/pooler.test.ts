/** The transformer pooler against a plain float64 form of it: values, gradients, masks, and where training starts. */
import { deepStrictEqual, notDeepStrictEqual, ok, throws } from 'node:assert/strict'
import { after, test, type TestContext } from 'node:test'
import fc from 'fast-check'
import {
  adamW,
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
  type Value,
} from '../../compute/index.ts'
import { appendPooler, createPooler, infoNce, meanPool, poolerDefaults, poolerShapes, type Pooler } from '../../distill/index.ts'
import { flat, normalRows, reordered } from './loss-graph.ts'
import { plainPool, type PoolerNumbers } from './pooler-reference.ts'

const worker = new ComputeWorker({ name: 'pooler-test' })
after(() => worker.close())

/** A history with places that may be empty. */
type Places = readonly (readonly number[] | undefined)[]

function unit(row: readonly number[]): number[] {
  const length = Math.hypot(...row)
  return row.map((x) => x / length)
}

const small = { dims: 6, width: 8, layers: 2, heads: 2, historyLength: 4 }
const items = normalRows(12, small.dims, 3).map(unit)
/** Full, with gaps in front, behind and between, of one item, and empty. */
const histories: Places[] = [
  [items[0], items[1], items[2], items[3]],
  [undefined, undefined, items[4], items[5]],
  [items[6], items[7], items[8], undefined],
  [items[9], undefined, items[10], undefined],
  [undefined, items[11], undefined, undefined],
  [undefined, undefined, undefined, undefined],
]

/** A pooler whose every parameter is random, so that nothing is hidden by a zero. */
function anywhere(seed: number, options: typeof small = small): Pooler {
  const made = createPooler({ ...options, seed })
  const parameters = new Map<string, Tensor>()
  for (const [stream, [name, { dims, data }]] of [...made.parameters].entries()) {
    const moved = new Float32Array(data.length)
    fillNormal(moved, seed, 100 + stream)
    parameters.set(name, tensor('float32', dims, moved.map((x, i) => Number(data[i]) + 0.3 * x))) // prettier-ignore
  }
  return { ...made, parameters }
}

function numbersOf({ parameters }: Pooler): Map<string, number[]> {
  return new Map(Array.from(parameters, ([name, { data }]) => [name, Array.from(data, Number)]))
}

function feedsOf(rows: readonly Places[], dims: number, empty = 0): { items: Tensor; mask: Tensor } {
  const length = rows[0]!.length
  return {
    items: tensorOf('float32', [rows.length, length, dims], rows.flatMap((row) => row.flatMap((item) => item ?? Array<number>(dims).fill(empty)))), // prettier-ignore
    mask: tensorOf('float32', [rows.length, length], rows.flatMap((row) => row.map((item) => Number(item !== undefined)))), // prettier-ignore
  }
}

/** A session that pools any number of histories of `length` places. */
async function openPooler(t: TestContext, pooler: Pooler, length: number = small.historyLength) {
  const graph = new Graph()
  const { dims } = pooler.spec
  const [history, mask] = [graph.input('items', 'float32', ['rows', length, dims]), graph.input('mask', 'float32', ['rows', length])]
  const { pooled, correction } = appendPooler(graph, pooler, history, mask)
  graph.output('pooled', pooled)
  graph.output('correction', correction)
  graph.output('mean', meanPool(graph, history, mask))
  const session = await Session.create(toModel(graph), { worker })
  t.after(() => session.close())
  return async (rows: readonly Places[], empty = 0): Promise<Record<'pooled' | 'correction' | 'mean', number[][]>> => {
    const found = await session.run(feedsOf(rows, dims, empty))
    const rowsOf = ({ data }: Tensor): number[][] => rows.map((_, i) => Array.from(data.slice(i * dims, (i + 1) * dims), Number))
    return { pooled: rowsOf(found['pooled']!), correction: rowsOf(found['correction']!), mean: rowsOf(found['mean']!) }
  }
}

function near(actual: readonly number[], expected: readonly number[], tolerance: number, what: string): void {
  const scale = Math.max(...expected.map(Math.abs), 1e-3)
  for (const [i, value] of expected.entries())
    ok(Math.abs(actual[i]! - value) <= tolerance * scale, `${what}, entry ${i}: ${actual[i]}, expected ${value}`)
}

const plain = (row: Places, pooler: Pooler, numbers: PoolerNumbers = numbersOf(pooler)): number[] =>
  plainPool(
    row.filter((item) => item !== undefined),
    pooler.spec,
    numbers,
  )

test('values equal the plain form, wherever the padding stands', async (t) => {
  for (const [seed, options] of [small, { ...small, layers: 1, heads: 1 }, { ...small, layers: 3, width: 12, heads: 4 }].entries()) {
    const pooler = anywhere(seed, options)
    const { pooled } = await (await openPooler(t, pooler))(histories)
    for (const [i, row] of histories.entries()) near(pooled[i]!, plain(row, pooler), 2e-5, `history ${i}`)
  }
})

test('gradients equal central differences of the plain form, for every parameter and the items', async () => {
  const pooler = anywhere(7)
  const upstream = normalRows(histories.length, small.dims, 11)
  const graph = new Graph()
  const shape = [histories.length, small.historyLength]
  const history = graph.input('items', 'float32', [...shape, small.dims])
  const { pooled } = appendPooler(graph, pooler, history, graph.input('mask', 'float32', shape))
  const loss = graph.reduceSum(graph.mul(pooled, graph.constant(tensorOf('float32', [histories.length, small.dims], flat(upstream)))))
  const wrt = [...Array.from(graph.states.values(), ({ value }) => value), history]
  for (const [i, gradient] of gradients(graph, loss, wrt).entries()) graph.output(`d/${wrt[i]!.name}`, gradient)
  const session = await Session.create(toModel(graph), { worker })
  const found = await session.run(feedsOf(histories, small.dims)).finally(() => session.close())

  const plainLoss = (numbers: PoolerNumbers, rows: readonly Places[] = histories): number =>
    rows.reduce((sum, row, i) => sum + plain(row, pooler, numbers).reduce((s, x, j) => s + x * upstream[i]![j]!, 0), 0)
  const step = 1e-5
  const numbers = numbersOf(pooler)
  for (const [name, values] of numbers) {
    const differences = values.map((value, at) => {
      const lossAt = (x: number): number => plainLoss(new Map(numbers).set(name, values.with(at, x)))
      return (lossAt(value + step) - lossAt(value - step)) / (2 * step)
    })
    near(Array.from(found[`d/${name}`]!.data, Number), differences, 1e-4, `gradient of ${name}`)
  }
  const byItems = histories.flatMap((row, i) =>
    row.flatMap((item, place) =>
      Array.from({ length: small.dims }, (_, j) => {
        if (item === undefined) return 0
        const lossAt = (x: number): number => plainLoss(numbers, histories.with(i, row.with(place, item.with(j, x))))
        return (lossAt(item[j]! + step) - lossAt(item[j]! - step)) / (2 * step)
      }),
    ),
  )
  near(Array.from(found['d/items']!.data, Number), byItems, 1e-4, 'gradient of the items')
})

test('before any training the pooled history is the mean pool to the bit, for any options and histories', async (t) => {
  const places = fc.array(fc.option(fc.integer({ min: 0, max: items.length - 1 }), { nil: undefined }), { minLength: 4, maxLength: 4 })
  for (const options of [small, { dims: 6 * 2, heads: 3 }, { ...small, layers: 1, width: 20, heads: 5, seed: 9 }]) {
    const pool = await openPooler(t, createPooler(options))
    const wide = (item: readonly number[]): number[] => Array.from({ length: options.dims }, (_, j) => item[j % 6]!)
    await fc.assert(
      fc.asyncProperty(fc.array(places, { minLength: 1, maxLength: 6 }), async (drawn) => {
        const { pooled, mean, correction } = await pool(drawn.map((row) => row.map((at) => (at === undefined ? at : wide(items[at]!)))))
        deepStrictEqual(pooled, mean)
        ok(correction.every((row) => row.every((x) => x === 0)))
      }),
      { numRuns: 15, seed: 1 },
    )
  }
})

test('what stands in a masked place changes nothing, and an empty history gives zero', async (t) => {
  const pool = await openPooler(t, anywhere(1))
  const { pooled } = await pool(histories)
  deepStrictEqual((await pool(histories, -40)).pooled, pooled)
  ok(pooled[5]!.every((x) => x === 0))
  const shifted = await pool([[items[9], items[10], undefined, undefined]])
  near(shifted.pooled[0]!, pooled[3]!, 1e-5, 'the same history elsewhere')
})

test('histories in another order are pooled as before; items in another order are not', async (t) => {
  const pool = await openPooler(t, anywhere(2))
  const { pooled } = await pool(histories)
  const places = [3, 0, 5, 1, 4, 2]
  for (const [i, row] of (await pool(reordered(histories, places))).pooled.entries()) near(row, pooled[places[i]!]!, 1e-5, `row ${i}`)
  const { pooled: turned } = await pool([histories[0]!.toReversed()])
  ok(turned[0]!.some((x, j) => Math.abs(x - pooled[0]![j]!) > 1e-2))
})

test('a short graph and a long one pool the same history alike', async (t) => {
  const pooler = anywhere(3)
  const [long, short] = [await openPooler(t, pooler), await openPooler(t, pooler, 2)]
  const history = [items[1], items[2]]
  near((await short([history])).pooled[0]!, (await long([[undefined, undefined, ...history]])).pooled[0]!, 1e-5, 'pooled')
})

test('training finds that the newest item decides, which the mean pool cannot', async () => {
  const dims = 8
  const rows = 32
  const graph = new Graph()
  const [history, mask] = [graph.input('items', 'float32', [rows, 4, dims]), graph.input('mask', 'float32', [rows, 4])]
  const { pooled } = appendPooler(graph, createPooler({ dims, layers: 1, heads: 2, historyLength: 4 }), history, mask)
  const newest = graph.reshape(graph.slice(history, 1, 3, 4), [rows, dims])
  const logTau = graph.scalar(Math.log(0.2))
  const lossOf = (queries: Value): Value => infoNce(graph, { queries, targets: newest, logTau }).loss
  const loss = lossOf(pooled)
  graph.output('loss', loss)
  graph.output('mean', lossOf(meanPool(graph, history, mask)))
  adamW(graph, loss, graph.scalar(0.01))
  const session = await TrainingSession.create(graph, { worker })
  // Fresh histories at every step, so that nothing can be learned by heart.
  const step = async (seed: number): Promise<Record<'loss' | 'mean', number>> => {
    const drawn = normalRows(rows * 4, dims, seed).map(unit)
    const places = Array.from({ length: rows }, (_, i) => drawn.slice(i * 4, i * 4 + 4))
    const found = await session.step(feedsOf(places, dims))
    return { loss: Number(found['loss']!.data[0]), mean: Number(found['mean']!.data[0]) }
  }
  try {
    const first = await step(0)
    deepStrictEqual(first.loss, first.mean)
    for (let seed = 1; seed < 300; seed++) await step(seed)
    const last = await step(300)
    ok(last.loss < 0.6 * last.mean, `${last.loss} beside ${last.mean} of the mean pool`)
  } finally {
    await session.close()
  }
})

test('defaults are the paper’s layers at the width of the items, from a seed', () => {
  const { spec, parameters } = createPooler({ dims: 16 })
  deepStrictEqual(spec, { ...poolerDefaults, dims: 16, width: 16 })
  deepStrictEqual(Array.from(parameters, ([name, { dims }]) => [name, dims]), [...poolerShapes(spec)]) // prettier-ignore
  deepStrictEqual(createPooler({ dims: 16 }).parameters, parameters)
  notDeepStrictEqual(createPooler({ dims: 16, seed: 1 }).parameters, parameters)
})

test('poolers and histories that cannot be are refused', () => {
  for (const options of [{ dims: 0 }, { dims: 6 }, { dims: 8, heads: 3 }, { dims: 8, layers: 1.5 }, { dims: 8, historyLength: 0 }])
    throws(() => createPooler(options), { code: 'SIDESTREAM_USAGE_INVALID' })
  const graph = new Graph()
  const [history, mask] = [graph.input('items', 'float32', ['rows', 11, 8]), graph.input('mask', 'float32', ['rows', 11])]
  throws(() => appendPooler(graph, createPooler({ dims: 8 }), history, mask), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /historyLength 10/,
  })
})
