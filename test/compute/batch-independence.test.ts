/**
 * A row's result does not depend on the rows beside it, on its place or on the size of the batch, to the bit: the
 * version writer relies on it, since an item's vector must be the same in a rebuild and in the hot path.
 */
import { deepStrictEqual } from 'node:assert/strict'
import { after, test } from 'node:test'
import { ComputeWorker, fillNormal, Graph, Session, tensor, toModel, uniformInt } from '../../compute/index.ts'
import type { Value } from '../../compute/index.ts'

const worker = new ComputeWorker({ name: 'batch-test' })
after(() => worker.close())
const total = 300

function normal(dims: readonly number[], stream: number) {
  const data = new Float32Array(dims.reduce((a, b) => a * b, 1))
  fillNormal(data, 3, stream)
  return tensor('float32', dims, data)
}

/** The head's operations: linear layers, GELU, fusion softmax over modalities, unit length, and layer norm; widths on purpose odd. */
function head(width: number, hidden: number, out: number): (graph: Graph, x: Value) => Value {
  return (graph, x) => {
    const parameter = (name: string, dims: number[], stream: number): Value => graph.parameter(name, normal(dims, stream))
    const unit = graph.l2norm(x)
    const branch = graph.matmul(graph.gelu(graph.matmul(unit, parameter('u', [width, hidden], 1))), parameter('v', [hidden, out], 2))
    const first = graph.add(graph.matmul(unit, parameter('p', [width, out], 3)), graph.scale(branch, 0.1))
    const second = graph.linear(unit, parameter('q', [width, out], 4), parameter('b', [out], 5))
    const stacked = graph.concat([graph.unsqueeze(first, 1), graph.unsqueeze(second, 1)], 1)
    const present = graph.less(graph.scalar(-2.5), stacked)
    const fused = graph.reduceSum(graph.mul(graph.softmax(stacked, 1, present), stacked), [1])
    const squashed = [graph.sigmoid(graph.reduceMean(x, [1], { keepDims: true })), graph.tanh(first)]
    return graph.concat([graph.l2norm(fused), unit, ...squashed, graph.layerNorm(x)], 1)
  }
}

for (const [width, hidden, out] of [
  [512, 256, 128],
  [250, 256, 128],
  [130, 33, 17],
  [7, 5, 3],
] as const) {
  for (const threads of [1, 2]) {
    test(`width ${width} -> ${hidden} -> ${out}, ${threads} threads`, async () => {
      const graph = new Graph()
      const x = graph.input('x', 'float32', ['n', width])
      graph.output('y', head(width, hidden, out)(graph, x))
      const session = await Session.create(toModel(graph), { worker, threads })
      const rows = normal([total, width], 9)
      const run = async (picks: number[]): Promise<string[]> => {
        const data = new Float32Array(picks.length * width)
        picks.forEach((row, i) => data.set(rows.data.subarray(row * width, row * width + width), i * width))
        const { y } = await session.run({ x: tensor('float32', [picks.length, width], data) }, { transfer: true })
        const bytes = y!.data.byteLength / picks.length
        return picks.map((_, i) => Buffer.from(y!.data.buffer, i * bytes, bytes).toString('base64'))
      }
      const reference = await run(Array.from({ length: total }, (_, i) => i))
      for (const size of [1, 2, 3, 7, 16, 64, 256, 1000]) {
        const picks = Array.from({ length: size }, (_, i) => uniformInt(1, size, i, total))
        deepStrictEqual(
          await run(picks),
          picks.map((row) => reference[row]!),
          `batch of ${size}`,
        )
      }
      await session.close()
    })
  }
}
