/** Sessions: order, who owns which buffer, errors, closing, and what keeps the process alive. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import {
  ComputeWorker,
  findProviders,
  Graph,
  passedOverText,
  Session,
  sharedFloat32,
  tensor,
  tensorOf,
  tensorRows,
  toModel,
} from '../../compute/index.ts'
import type { TensorMap } from '../../compute/index.ts'
import { checkout, nodeOptions, running, throughTsx } from '../checkout.ts'

function doubling(): Uint8Array {
  const graph = new Graph()
  const x = graph.input('x', 'float32', ['n', 2])
  graph.output('double', graph.scale(x, 2))
  graph.output('sum', graph.reduceSum(x))
  return toModel(graph)
}

test('runs under way at once are answered in order, each with its own result', async (t) => {
  const session = await Session.create(doubling(), { threads: 2 })
  t.after(() => session.close())
  const order: number[] = []
  const runs = Array.from({ length: 20 }, async (_, i) => {
    const { sum } = await session.run({ x: tensorOf('float32', [1, 2], [i, i]) })
    order.push(Number(sum!.data[0]) / 2)
  })
  await Promise.all(runs)
  deepStrictEqual(
    order,
    Array.from({ length: 20 }, (_, i) => i),
  )
})

test('inputs stay with the caller unless they are given away', async (t) => {
  const session = await Session.create(doubling())
  t.after(() => session.close())
  const kept = tensorOf('float32', [2, 2], [1, 2, 3, 4])
  const { double } = await session.run({ x: kept })
  deepStrictEqual([...kept.data], [1, 2, 3, 4])
  deepStrictEqual([...double!.data], [2, 4, 6, 8])
  await session.run({ x: kept }, { transfer: true })
  strictEqual(kept.data.length, 0, 'a transferred array is empty')
})

test('inputs that were given away can be had back and used again', async (t) => {
  const session = await Session.create(doubling())
  t.after(() => session.close())
  let feeds: TensorMap = { x: tensorOf('float32', [2, 2], [1, 2, 3, 4]) }
  for (let run = 0; run < 3; run++) {
    let back: TensorMap | undefined
    const { double } = await session.run(feeds, { transfer: true, reclaim: (inputs) => (back = inputs) })
    deepStrictEqual([...double!.data], [2, 4, 6, 8])
    deepStrictEqual([...back!['x']!.data], [1, 2, 3, 4])
    feeds = back!
  }
})

test('shared memory stays with the caller, and is read anew by every run', async (t) => {
  const session = await Session.create(doubling())
  t.after(() => session.close())
  const numbers = sharedFloat32(8)
  numbers.set([1, 2, 3, 4, 5, 6, 7, 8])
  const rows = (from: number, to: number): TensorMap => ({ x: tensor('float32', [to - from, 2], numbers.subarray(2 * from, 2 * to)) })
  const double = async (from: number, to: number): Promise<number[]> => {
    const answer = await session.run(rows(from, to), { transfer: true })
    return [...(answer['double']!.data as Float32Array)]
  }
  deepStrictEqual(await double(1, 3), [6, 8, 10, 12])
  numbers.fill(1)
  deepStrictEqual(await double(1, 3), [2, 2, 2, 2])
  deepStrictEqual(await double(3, 4), [2, 2])
  strictEqual(numbers.length, 8)
})

test('inputs that are held feed every run; rows can be run some at a time', async (t) => {
  const graph = new Graph({ name: 'scaled' })
  const x = graph.input('x', 'float32', ['rows', 2])
  graph.output('scaled', graph.mul(x, graph.input('by', 'float32', [1, 2])))
  const session = await Session.create(toModel(graph))
  t.after(() => session.close())
  await rejects(session.run({ x: tensorOf('float32', [1, 2], [1, 2]) }), { code: 'SIDESTREAM_SESSION_FAILED' })
  const by = tensorOf('float32', [1, 2], [1, 10])
  await session.hold({ by })
  strictEqual(by.data.length, 2, 'held inputs are copied')
  const seven = tensor(
    'float32',
    [7, 2],
    Float32Array.from({ length: 14 }, (_, at) => at),
  )
  const expected = [...seven.data].map((value, at) => (at % 2 === 0 ? value : 10 * value))
  for (const batch of [undefined, 1, 3, 7, 100]) {
    const { scaled } = await session.run({ x: seven }, batch === undefined ? {} : { batch })
    deepStrictEqual([scaled!.dims, [...scaled!.data]], [[7, 2], expected], `batch ${batch}`)
  }
  const sums = await Session.create(doubling())
  t.after(() => sums.close())
  await rejects(sums.run({ x: seven }, { batch: 3 }), { code: 'SIDESTREAM_SESSION_FAILED', message: /output sum has no row for each/ })
  await session.hold({ by: tensorOf('float32', [1, 2], [0, 1]) })
  deepStrictEqual([...(await session.run({ x: tensorOf('float32', [1, 2], [3, 4]) }))['scaled']!.data], [0, 4])
})

test('a view sends its own rows, not the buffer behind it', async (t) => {
  const session = await Session.create(doubling())
  t.after(() => session.close())
  const whole = tensor('float32', [4, 2], new Float32Array([1, 2, 3, 4, 5, 6, 7, 8]))
  const { double } = await session.run({ x: tensorRows(whole, 1, 3) })
  deepStrictEqual([...double!.data], [6, 8, 10, 12])
  strictEqual(whole.data.length, 8)
})

test('only the outputs asked for come back', async (t) => {
  const session = await Session.create(doubling())
  t.after(() => session.close())
  deepStrictEqual(session.outputNames, ['double', 'sum'])
  deepStrictEqual(Object.keys(await session.run({ x: tensorOf('float32', [1, 2], [1, 2]) }, { outputs: ['sum'] })), ['sum'])
})

test('a bad feed and a bad model fail with the code and the cause, and the session goes on', async (t) => {
  const session = await Session.create(doubling(), { name: 'encode' })
  t.after(() => session.close())
  await rejects(session.run({ x: tensorOf('float32', [1, 3], [1, 2, 3]) }), (error: Error & { code: string }) => {
    strictEqual(error.code, 'SIDESTREAM_SESSION_FAILED')
    ok(error.message.includes('encode') && error.cause instanceof Error)
    return true
  })
  await rejects(session.run({}), { code: 'SIDESTREAM_SESSION_FAILED' })
  strictEqual((await session.run({ x: tensorOf('float32', [1, 2], [1, 2]) }))['sum']!.data[0], 3)
  await rejects(Session.create(new Uint8Array([1, 2, 3])), { code: 'SIDESTREAM_SESSION_FAILED' })
})

test('an execution provider that cannot be had is named, with those that ONNX Runtime knows', async () => {
  await rejects(Session.create(doubling(), { providers: ['nosuch'] }), { code: 'SIDESTREAM_SESSION_FAILED', message: /nosuch.*knows.*cpu/ })
})

test('of the providers that are wanted, those that cannot be used are passed over with the reason', async (t) => {
  const worker = new ComputeWorker()
  t.after(() => worker.close())
  deepStrictEqual(await findProviders(worker, ['cpu']), { used: ['cpu'], passedOver: [] })
  const found = await findProviders(worker, ['nosuch', 'cpu'])
  deepStrictEqual(found, { used: ['cpu'], passedOver: [{ provider: 'nosuch', why: 'this build of ONNX Runtime does not know it' }] })
  strictEqual(
    passedOverText(found),
    'execution provider nosuch cannot be used (this build of ONNX Runtime does not know it); computed by cpu',
  )
  const message = /nosuch cannot be used .*knows .*cpu.*name cpu as well/
  await rejects(findProviders(worker, ['nosuch']), { code: 'SIDESTREAM_SESSION_FAILED', message })
})

test('close answers what is under way, then refuses', async () => {
  const session = await Session.create(doubling())
  const running = session.run({ x: tensorOf('float32', [1, 2], [1, 2]) })
  await session.close()
  strictEqual((await running)['sum']!.data[0], 3)
  await rejects(session.run({ x: tensorOf('float32', [1, 2], [1, 2]) }), { code: 'SIDESTREAM_CLOSED' })
  await session.close()
})

test('a session that shares a worker leaves it to the others when it closes', async (t) => {
  const worker = new ComputeWorker()
  t.after(() => worker.close())
  const [a, b] = await Promise.all([Session.create(doubling(), { worker }), Session.create(doubling(), { worker })])
  await a.close()
  await rejects(a.run({ x: tensorOf('float32', [1, 2], [1, 2]) }), { code: 'SIDESTREAM_CLOSED' })
  strictEqual((await b.run({ x: tensorOf('float32', [1, 2], [1, 2]) }))['sum']!.data[0], 3)
})

test('a forgotten session does not keep the process alive, a run under way does: compiled, and from sources through tsx', async () => {
  const ways = [
    { door: running(new URL('../../compute/index.ts', import.meta.url)), options: nodeOptions },
    { door: new URL('compute/index.ts', checkout), options: throughTsx },
  ]
  for (const { door, options } of ways) {
    const script = `
      import { Graph, Session, tensorOf, toModel } from ${JSON.stringify(door.href)}
      const graph = new Graph()
      const x = graph.input('x', 'float32', ['n', 2])
      graph.output('sum', graph.reduceSum(x))
      const session = await Session.create(toModel(graph))
      session.run({ x: tensorOf('float32', [1, 2], [20, 22]) }).then(({ sum }) => console.log('answer', sum.data[0]))
    `
    const run = await promisify(execFile)(process.execPath, [...options, '--input-type=module', '-e', script], { timeout: 30_000 })
    strictEqual(run.stdout.trim(), 'answer 42')
  }
})
