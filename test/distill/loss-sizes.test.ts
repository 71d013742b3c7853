/** All losses and the pooler in one float32 training graph with free batch size: batches of one row and of many. */
import { ok } from 'node:assert/strict'
import { test } from 'node:test'
import { adamW, fillNormal, Graph, tensor, tensorOf, TrainingSession, type Tensor } from '../../compute/index.ts'
import {
  appendPooler,
  appendTeacher,
  cosent,
  createPooler,
  createTeacher,
  idToItemNce,
  infoNce,
  matryoshkaNce,
  modalityNce,
  prefixView,
  teacherInputs,
  temperature,
  totalLoss,
} from '../../distill/index.ts'

const [dims, length] = [8, 3]
const entities = [{ name: 'item', dim: 5 }]

function everyLoss(): Graph {
  const graph = new Graph()
  const input = (name: string, shape: readonly (string | number)[]) => graph.input(name, 'float32', shape)
  const [history, mask, target] = [
    input('history', ['rows', length, dims]),
    input('mask', ['rows', length]),
    input('target', ['rows', dims]),
  ]
  const start = new Float32Array(dims * dims)
  fillNormal(start, 1, 0)
  const head = graph.parameter('head', tensor('float32', [dims, dims], start))
  const items = graph.reshape(graph.l2norm(graph.matmul(graph.reshape(history, ['flat', dims]), head)), ['rows', length, dims])
  const pooler = createPooler({ dims, heads: 2, layers: 2, historyLength: length })
  const queries = appendPooler(graph, pooler, items, mask).pooled
  const targets = graph.matmul(target, head)
  const logTau = temperature(graph, 'all', { tau: 0.05, tauMode: 'learned' })
  const has = input('has', ['rows'])
  const teacher = createTeacher({ entities, dims })
  const pairs = totalLoss(graph, {
    nce: matryoshkaNce(
      graph,
      (prefix) => ({ queries: prefixView(graph, queries, prefix), targets: prefixView(graph, targets, prefix), logTau }),
      { prefixes: [4, dims] },
    ),
    cosent: cosent(graph, { queries, targets, labels: input('labels', ['rows']), logTau }).loss,
    modality: modalityNce(graph, [{ queries, targets, queryPresence: has, targetPresence: has, logTau }]).loss,
    lateFusion: infoNce(graph, { queries, targets, logTau }).loss,
  })
  const ids = idToItemNce(graph, {
    ...appendTeacher(graph, teacher, teacherInputs(graph, teacher)),
    students: targets,
    logTau,
    weights: has,
  })
  const loss = graph.add(pairs, ids.loss)
  graph.output('loss', loss)
  graph.output('gradientNorm', adamW(graph, loss, graph.scalar(0.01)))
  return graph
}

test('every loss trains on batches of any size, and stays finite where there is nothing to compare', async () => {
  const session = await TrainingSession.create(everyLoss())
  const step = async (rows: number, { has = 1, labels = true, filled = 1 } = {}): Promise<number> => {
    const normal = (...shape: number[]): Tensor => {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1))
      fillNormal(data, rows, shape.length)
      return tensor('float32', shape, data)
    }
    const every = (value: number, ...shape: number[]): Tensor =>
      tensor('float32', shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value))
    const found = await session.step({
      history: normal(rows, length, dims),
      mask: every(filled, rows, length),
      target: normal(rows, dims),
      has: every(has, rows),
      labels: labels
        ? tensorOf(
            'float32',
            [rows],
            Array.from({ length: rows }, (_, i) => i % 3),
          )
        : every(1, rows),
      id_item: normal(rows, 5),
      idPresence: every(has, rows, 1),
    })
    for (const name of ['loss', 'gradientNorm']) ok(Number.isFinite(Number(found[name]!.data[0])), `${name} of ${rows} rows`)
    return Number(found['loss']!.data[0])
  }
  try {
    const first = await step(40)
    for (let i = 0; i < 40; i++) await step(40)
    const last = await step(40)
    ok(last < 0.8 * first, `${first} to ${last}`)
    for (const rows of [1, 2, 7]) await step(rows)
    for (const bare of [{ has: 0 }, { labels: false }, { filled: 0 }, { has: 0, labels: false, filled: 0 }]) await step(7, bare)
    for (const [name, { data }] of Object.entries(await session.state()))
      ok(
        (data as Float32Array).every((x) => Number.isFinite(Number(x))),
        name,
      )
  } finally {
    await session.close()
  }
})
