/** The written model: loads in plain ONNX Runtime, has the same bytes every time, holds only what its outputs need. */
import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import * as ort from 'onnxruntime-node'
import { gradients, Graph, tensorOf, toModel } from '../../compute/index.ts'

function headModel(): Uint8Array {
  const graph = new Graph({ name: 'head' })
  const x = graph.input('content', 'float32', ['batch', 2])
  const w = graph.parameter('w', tensorOf('float32', [2, 2], [1, 0, 0, 2]))
  const y = graph.l2norm(graph.matmul(x, w))
  // A gradient nobody asked to write: it must not be in the file.
  gradients(graph, graph.reduceSum(y), [w])
  graph.output('embedding', y)
  return toModel(graph, { metadata: { trained_until: '42' } })
}

test('an inference graph loads in plain onnxruntime-node and computes', async () => {
  const session = await ort.InferenceSession.create(headModel())
  deepStrictEqual([session.inputNames, session.outputNames], [['content'], ['embedding']])
  const { embedding } = await session.run({ content: new ort.Tensor('float32', Float32Array.of(3, 2, 0, 0), [2, 2]) })
  deepStrictEqual(embedding!.dims, [2, 2])
  const y = Array.from(embedding!.data as Float32Array)
  ;[0.6, 0.8, 0, 0].forEach((value, i) => ok(Math.abs(y[i]! - value) < 1e-6))
  await session.release()
})

test('an inference graph loads in Python onnxruntime', async (t) => {
  const run = promisify(execFile)
  const importable = await run('python3', ['-c', 'import onnxruntime']).then(
    () => true,
    () => false,
  )
  if (!importable) return t.skip('python3 has no onnxruntime here')
  const folder = await mkdtemp(join(tmpdir(), 'sidestream-model-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'head.onnx')
  await writeFile(file, headModel())
  const script = `import sys, numpy, onnxruntime
s = onnxruntime.InferenceSession(sys.argv[1])
print(s.run(None, {'content': numpy.array([[3, 2]], dtype='float32')})[0].round(6).tolist(), s.get_modelmeta().custom_metadata_map)`
  const { stdout } = await run('python3', ['-c', script, file])
  ok(stdout.startsWith('[[0.6'), stdout)
})

test('the same calls give the same bytes, and unneeded nodes are left out', () => {
  const bytes = headModel()
  deepStrictEqual(headModel(), bytes)
  const text = Buffer.from(bytes).toString('latin1')
  ok(text.includes('trained_until') && text.includes('Gemm'))
  strictEqual(text.split('Gemm').length - 1, 2, 'one Gemm node (name and type), no gradient')
})

test('a graph that makes no sense is refused where it is built', async () => {
  const graph = new Graph()
  const x = graph.input('x', 'float32', ['n', 3])
  const code = 'SIDESTREAM_GRAPH_INVALID'
  throws(() => graph.matmul(x, x), { code, message: /matmul/ })
  throws(() => graph.add(x, graph.input('y', 'float32', ['m', 3])), { code, message: /\[n, 3\] and \[m, 3\]/ })
  throws(() => graph.add(x, graph.scalar(1, 'float64')), { code })
  throws(() => graph.input('x', 'float32', []), { code, message: /taken/ })
  throws(() => gradients(graph, x, [x]), { code, message: /scalar/ })
  throws(() => toModel(graph), { code, message: /no output/ })
  throws(() => graph.slice(x, 1, 2, 5), { code })
  throws(() => tensorOf('float32', [2], [1]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(async () => graph.reshape(x, ['a', 'b']), { code })
})

test('a value the loss does not depend on has gradient zero; gradients of shared values add up', async () => {
  const graph = new Graph()
  const x = graph.input('x', 'float32', [2])
  const unused = graph.input('unused', 'float32', ['m', 3])
  const stopped = graph.mul(graph.stopGradient(x), x)
  const loss = graph.reduceSum(graph.add(graph.add(stopped, x), graph.mul(x, x)))
  const [dx, dUnused] = gradients(graph, loss, [x, unused])
  graph.output('dx', dx!)
  graph.output('dUnused', dUnused!)
  const session = await ort.InferenceSession.create(toModel(graph))
  const feeds = {
    x: new ort.Tensor('float32', Float32Array.of(2, 5), [2]),
    unused: new ort.Tensor('float32', new Float32Array(6).fill(1), [2, 3]),
  }
  const outputs = await session.run(feeds)
  deepStrictEqual([...(outputs['dx']!.data as Float32Array)], [2 + 1 + 4, 5 + 1 + 10])
  deepStrictEqual([...(outputs['dUnused']!.data as Float32Array)], [0, 0, 0, 0, 0, 0])
  await session.release()
})

test('rows without a direction become zero and get no gradient', async () => {
  const graph = new Graph()
  const x = graph.input('x', 'float32', ['n', 2])
  const y = graph.l2norm(x)
  const [dx] = gradients(graph, graph.reduceSum(y), [x])
  graph.output('y', y)
  graph.output('dx', dx!)
  const session = await ort.InferenceSession.create(toModel(graph))
  const outputs = await session.run({ x: new ort.Tensor('float32', Float32Array.of(0, 0, 1e-13, 0, 0, 4), [3, 2]) })
  deepStrictEqual([...(outputs['y']!.data as Float32Array)], [0, 0, 0, 0, 0, 1])
  deepStrictEqual([...(outputs['dx']!.data as Float32Array)], [0, 0, 0, 0, 0.25, 0])
  await session.release()
})

test('top k comes descending, equal values by lower index', async () => {
  const graph = new Graph()
  const { values, indices } = graph.topK(graph.input('x', 'float32', ['n', 5]), 3)
  graph.output('values', values)
  graph.output('indices', indices)
  const session = await ort.InferenceSession.create(toModel(graph))
  const outputs = await session.run({ x: new ort.Tensor('float32', Float32Array.of(1, 7, 3, 7, 3), [1, 5]) })
  deepStrictEqual([...(outputs['values']!.data as Float32Array)], [7, 7, 3])
  deepStrictEqual([...(outputs['indices']!.data as BigInt64Array)], [1n, 3n, 2n])
  await session.release()
})
