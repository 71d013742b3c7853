import type { Dim, Op } from '../op.ts'
import { broadcastShape, describe, graphError, sumTo } from '../shapes.ts'

/**
 * y = op(a) · op(b) over the last two axes, op = transpose when its flag is set; leading axes broadcast.
 * da = dy · op(b)ᵀ, db = op(a)ᵀ · dy (their transposes where flagged). Two axes each: one Gemm.
 */
export const matmul: Op<'a' | 'b', 'a' | 'b', { transposeA?: boolean; transposeB?: boolean }> = {
  onnx: 'Gemm',
  inputs: ['a', 'b'],
  keeps: ['a', 'b'],
  infer: ([a, b], { transposeA, transposeB }) => {
    const [m, ka] = lastTwo(a!.shape, transposeA)
    const [kb, n] = lastTwo(b!.shape, transposeB)
    if (a!.shape.length < 2 || b!.shape.length < 2 || ka !== kb || a!.dtype !== b!.dtype) {
      throw graphError(
        `matmul: ${describe(a!)}${transposeA ? ' transposed' : ''} and ${describe(b!)}${transposeB ? ' transposed' : ''} do not fit`,
      )
    }
    return { dtype: a!.dtype, shape: [...broadcastShape(a!.shape.slice(0, -2), b!.shape.slice(0, -2), 'matmul'), m!, n!] }
  },
  emit: (graph, [a, b], { transposeA = false, transposeB = false }, type) => {
    if (a!.shape.length === 2 && b!.shape.length === 2) {
      return graph.node('Gemm', [a!, b!], type, { transA: { int: Number(transposeA) }, transB: { int: Number(transposeB) } }, 'matmul')
    }
    const left = transposeA ? graph.transpose(a!, swapLast(a!.shape.length)) : a!
    const right = transposeB ? graph.transpose(b!, swapLast(b!.shape.length)) : b!
    return graph.node('MatMul', [left, right], type, {}, 'matmul')
  },
  gradient: (graph, dy, { a, b }, { transposeA = false, transposeB = false }) => {
    const da = transposeA
      ? graph.matmul(b, dy, { transposeA: transposeB, transposeB: true })
      : graph.matmul(dy, b, { transposeB: !transposeB })
    const db = transposeB
      ? graph.matmul(dy, a, { transposeA: true, transposeB: transposeA })
      : graph.matmul(a, dy, { transposeA: !transposeA })
    return { a: sumTo(graph, da, a), b: sumTo(graph, db, b) }
  },
}

function lastTwo(shape: readonly Dim[], transposed = false): [Dim | undefined, Dim | undefined] {
  const [rows, columns] = [shape.at(-2), shape.at(-1)]
  return transposed ? [columns, rows] : [rows, columns]
}

function swapLast(rank: number): number[] {
  return [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2]
}
