/** ID-to-item distillation: golden numbers, central differences, and what a missing ID embedding may not do. */
import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { adamW, Graph, tensor, tensorOf, TrainingSession, type Tensor } from '../../compute/index.ts'
import { appendTeacher, createTeacher, idToItemNce, teacherInputs, type Teacher } from '../../distill/index.ts'
import { checkDifferences, close, flat, golden, normalRows, openLoss, reordered, type Inputs, type LossRun } from './loss-graph.ts'

const { student, ids, id_present: presence, W, b, tau } = golden.id_to_item.inputs
const transposed = (x: number[][]): number[][] => x[0]!.map((_, j) => x.map((row) => row[j]!))

const entities = [
  { name: 'item', dim: 3 },
  { name: 'author', dim: 2 },
]
/** The golden file's W is [dims, dim of k]; a parameter is [dim of k, dims]. */
const teacher: Teacher = {
  entities,
  dims: 4,
  parameters: new Map([
    ['teacher.item.W', tensorOf('float64', [3, 4], flat(transposed(W[0])))],
    ['teacher.author.W', tensorOf('float64', [2, 4], flat(transposed(W[1])))],
    ['teacher.b', tensorOf('float64', [4], b)],
  ]),
}
const goldenInputs = {
  student: student as number[][],
  item: ids[0] as number[][],
  author: ids[1] as number[][],
  presence: presence as number[][],
  weights: golden.id_to_item.outputs.teacher_weight as number[],
  logTau: Math.log(tau),
}

/** Gradients that training uses. */
const learned = ['d/student', 'd/logTau', 'd/teacher.item.W', 'd/teacher.author.W', 'd/teacher.b']

function open(t: TestContext, inputs: Inputs = goldenInputs, prefixes?: number[]): Promise<LossRun> {
  return openLoss(t, inputs, (graph, values) => {
    const outputs = appendTeacher(graph, teacher, { vectors: [values['item']!, values['author']!], presence: values['presence']! })
    const { loss, perRow } = idToItemNce(graph, {
      ...outputs,
      students: values['student']!,
      logTau: values['logTau']!,
      ...(values['weights'] ? { weights: values['weights'] } : {}),
      ...(prefixes ? { prefixes } : {}),
    })
    return { loss, perRow, projected: outputs.projected }
  })
}

const rowsOf = ({ data }: Tensor, width: number): number[][] =>
  Array.from({ length: data.length / width }, (_, i) => Array.from(data.slice(i * width, (i + 1) * width), Number))

test('ID-to-item gives the golden numbers; a teacher of weight 0 stays a negative', async (t) => {
  const found = await (await open(t))()
  const { outputs, gradients } = golden.id_to_item
  close(found['projected']!, outputs.projected)
  close(found['perRow']!, outputs.loss_per_row)
  close(found['loss']!, outputs.loss)
  close(found['d/student']!, gradients.student)
  close(found['d/teacher.item.W']!, transposed(gradients.W[0]))
  close(found['d/teacher.author.W']!, transposed(gradients.W[1]))
  close(found['d/teacher.b']!, gradients.b)
})

test('gradients by students and temperature equal central differences, ID embeddings get none', async (t) => {
  const run = await open(t, goldenInputs, [2, 4])
  await checkDifferences(run, goldenInputs, ['student', 'logTau'])
  const found = await run()
  for (const name of ['item', 'author']) ok(found[`d/${name}`]!.data.every((x) => Number(x) === 0))
})

test('prefixes are aligned each with its own, and add up', async (t) => {
  const [both, short, long] = [await open(t, goldenInputs, [2, 4]), await open(t, goldenInputs, [2]), await open(t)]
  const [sum, first, second] = [await both(), await short(), await long()]
  close(sum['loss']!, Number(first['loss']!.data[0]) + Number(second['loss']!.data[0]))
  ok(first['d/student']!.data.every((x, i) => i % 4 < 2 || Number(x) === 0))
})

test('what stands in the place of a missing ID embedding changes nothing', async (t) => {
  const run = await open(t)
  const found = await run()
  // Row 1 has no author, row 2 no item.
  const other = await run({ author: goldenInputs.author.with(1, [7, -8]), item: goldenInputs.item.with(2, [0, 0, 0]) })
  for (const name of ['loss', 'perRow', ...learned]) deepStrictEqual(other[name], found[name])
})

test('an item without any ID embedding is neither taught nor a negative, whatever its weight', async (t) => {
  const rows = {
    ...goldenInputs,
    student: [[4, 4, -4, 4], ...student],
    item: [[1, 2, 3], ...ids[0]],
    author: [[1, 2], ...ids[1]],
    presence: [[0, 0], ...presence],
    weights: [1, ...goldenInputs.weights],
  }
  const found = await (await open(t, rows))()
  close(found['loss']!, golden.id_to_item.outputs.loss)
  close(found['d/student']!, [[0, 0, 0, 0], ...golden.id_to_item.gradients.student])
  close(found['d/teacher.b']!, golden.id_to_item.gradients.b)
})

test('without a teacher the loss is 0 with no gradient', async (t) => {
  const run = await open(t)
  for (const changed of [{ weights: [0, 0, 0, 0] }, { presence: presence.map(() => [0, 0]) }]) {
    const found = await run(changed)
    strictEqual(found['loss']!.data[0], 0)
    ok(found['perRow']!.data.every((x) => Number.isFinite(Number(x))))
    for (const name of learned) ok(found[name]!.data.every((x) => Number(x) === 0))
  }
})

test('rows in another order have their losses and gradients in that order', async (t) => {
  const run = await open(t)
  const found = await run()
  const places = [2, 0, 3, 1]
  const moved = await run(
    Object.fromEntries(
      (['student', 'item', 'author', 'presence', 'weights'] as const).map((name) => [
        name,
        reordered<never>(goldenInputs[name] as never[], places),
      ]),
    ),
  )
  close(moved['loss']!, golden.id_to_item.outputs.loss)
  close(moved['perRow']!, reordered<number>(golden.id_to_item.outputs.loss_per_row, places))
  close(moved['d/student']!, reordered(rowsOf(found['d/student']!, 4), places))
  close(moved['d/teacher.item.W']!, transposed(golden.id_to_item.gradients.W[0]))
})

test('forbidden teachers leave the denominator', async (t) => {
  const inputs = { student, t: normalRows(4, 4, 3), allowed: [[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]] } // prettier-ignore
  const run = await openLoss(
    t,
    inputs,
    (graph, values) => ({
      ...idToItemNce(graph, {
        students: values['student']!,
        projected: values['t']!,
        known: graph.constant(tensorOf('bool', [4], [1, 1, 1, 1])),
        logTau: graph.scalar(0),
        allowed: values['allowed']!,
      }),
    }),
    ['allowed'],
  )
  const found = await run()
  strictEqual(Number(found['perRow']!.data[0]), 0)
  ok(Number(found['perRow']!.data[1]) > 0)
})

test('a teacher starts seeded, each kind of ID with the same say whatever its dims', () => {
  const options = { entities: [{ name: 'item', dim: 64 }, { name: 'author', dim: 400 }], dims: 256 } // prettier-ignore
  const first = createTeacher(options)
  deepStrictEqual([...first.parameters.keys()], ['teacher.item.W', 'teacher.author.W', 'teacher.b'])
  deepStrictEqual(createTeacher({ ...options, seed: 0 }), first)
  notDeepStrictEqual(createTeacher({ ...options, seed: 1 }), first)
  for (const { name, dim } of options.entities) {
    const { data, dims } = first.parameters.get(`teacher.${name}.W`)!
    deepStrictEqual(dims, [dim, 256])
    const square = Array.from(data, Number).reduce((sum, x) => sum + x * x, 0)
    ok(Math.abs(square / 256 - 1) < 0.05, `${name}: ${square / 256}`)
  }
})

test('teachers that cannot be are refused', () => {
  const item = { name: 'item', dim: 3 }
  for (const options of [
    { entities: [], dims: 4 },
    { entities: [item, item], dims: 4 },
    { entities: [{ ...item, dim: 0 }], dims: 4 },
    { entities: [item], dims: 1.5 },
  ]) {
    throws(() => createTeacher(options), { code: 'SIDESTREAM_USAGE_INVALID' })
  }
})

test('training brings students to where their teachers say, in float32', async () => {
  const graph = new Graph()
  const made = createTeacher({ entities, dims: 8, seed: 4 })
  const outputs = appendTeacher(graph, made, teacherInputs(graph, made, 6))
  const students = graph.parameter('students', tensorOf('float32', [6, 8], flat(normalRows(6, 8, 1))))
  const { loss } = idToItemNce(graph, { ...outputs, students, logTau: graph.scalar(Math.log(0.1)), prefixes: [4, 8] })
  graph.output('loss', loss)
  adamW(graph, loss, graph.scalar(0.05))
  const session = await TrainingSession.create(graph)
  const feed = (rows: number, columns: number, seed: number): Tensor =>
    tensor('float32', [rows, columns], Float32Array.from(flat(normalRows(rows, columns, seed))))
  const step = async (): Promise<number> => {
    const feeds = { id_item: feed(6, 3, 2), id_author: feed(6, 2, 3), idPresence: tensorOf('float32', [6, 2], [1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 1]) } // prettier-ignore
    return Number((await session.step(feeds))['loss']!.data[0])
  }
  try {
    const first = await step()
    for (let i = 0; i < 60; i++) await step()
    const last = await step()
    ok(last < first / 10, `${first} to ${last}`)
  } finally {
    await session.close()
  }
})
