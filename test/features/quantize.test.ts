import { deepStrictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { Graph, Session, fillNormal, tensor, toModel } from '../../compute/index.ts'
import { appendQuantize, decodeValue, encodeValues, quantizeRows } from '../../features/index.ts'

test('graph, plain rows and the reader agree bit for bit in every stored type', async () => {
  const rows = 64
  const dim = 96
  const vectors = new Float32Array(rows * dim)
  fillNormal(vectors, 7, 0)
  vectors.fill(0, 0, dim) // a zero vector
  for (const dtype of ['f32', 'f16', 'i8'] as const) {
    const graph = new Graph()
    const quantized = appendQuantize(graph, graph.input('x', 'float32', ['n', dim]), dtype)
    graph.output('stored', quantized.stored)
    graph.output('dequantized', quantized.dequantized)
    if (quantized.scale !== undefined) graph.output('scale', quantized.scale)
    const session = await Session.create(toModel(graph), { threads: 1 })
    const result = await session.run({ x: tensor('float32', [rows, dim], vectors) })
    await session.close()
    const { stored, scales } = quantizeRows(vectors, dim, dtype)
    deepStrictEqual(
      Array.from(result['stored']!.data as Float32Array, (x) => x + 0),
      Array.from(stored),
    ) // -0 rounds to 0
    if (scales !== undefined) deepStrictEqual(result['scale']!.data, scales)
    const values = encodeValues({
      rows,
      dtype,
      dim,
      stored,
      scales,
      levels: 0,
      codes: new Uint16Array(0),
      origins: [],
      eventTs: new Float64Array(rows),
      stream: 0,
      offsets: new BigUint64Array(rows),
    })
    const read = values.flatMap((value) => [...decodeValue(value).vector])
    deepStrictEqual(
      Array.from(result['dequantized']!.data as Float32Array, (x) => x + 0),
      read.map((x) => x + 0),
    )
  }
})
