/**
 * Shape rules shared by operations: broadcasting, axes, and the way back from a broadcast.
 * Invariant: decided while the graph is built; a named size never broadcasts against another name.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Graph } from './graph.ts'
import type { Dim, Value, ValueType } from './op.ts'

/** The error every shape rule throws. */
export function graphError(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_GRAPH_INVALID', message)
}

/** `float32 [batch, 128]`, for messages. */
export function describe(value: ValueType): string {
  return `${value.dtype} [${value.shape.join(', ')}]`
}

/** Shape of `a` and `b` side by side by numpy's rule. */
export function broadcastShape(a: readonly Dim[], b: readonly Dim[], what: string): Dim[] {
  const rank = Math.max(a.length, b.length)
  const out: Dim[] = []
  for (let i = 0; i < rank; i++) {
    const da = a[a.length - rank + i] ?? 1
    const db = b[b.length - rank + i] ?? 1
    if (da !== db && da !== 1 && db !== 1) throw graphError(`${what}: shapes [${a.join(', ')}] and [${b.join(', ')}] do not fit`)
    out.push(da === 1 ? db : da)
  }
  return out
}

/** `axis` counted from the front. */
export function axisOf(axis: number, rank: number, what: string): number {
  const fromFront = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || fromFront < 0 || fromFront >= rank) throw graphError(`${what}: axis ${axis} is outside rank ${rank}`)
  return fromFront
}

/** Inputs of an elementwise operation: same dtype, shapes that broadcast. */
export function elementwise(inputs: readonly Value[], what: string): ValueType {
  const first = inputs[0]!
  let shape: Dim[] = [...first.shape]
  for (const input of inputs.slice(1)) {
    if (input.dtype !== first.dtype) throw graphError(`${what}: ${describe(first)} and ${describe(input)} differ in type`)
    shape = broadcastShape(shape, input.shape, what)
  }
  return { dtype: first.dtype, shape }
}

/** Output like the first input. */
export function sameAs(inputs: readonly Value[]): ValueType {
  return { dtype: inputs[0]!.dtype, shape: inputs[0]!.shape }
}

/** Sums `dy` over the axes along which `like` was broadcast, so that it has `like`'s shape again. */
export function sumTo(graph: Graph, dy: Value, like: Value): Value {
  const lead = dy.shape.length - like.shape.length
  const axes: number[] = []
  for (let i = 0; i < dy.shape.length; i++) {
    if (i < lead || (like.shape[i - lead] === 1 && dy.shape[i] !== 1)) axes.push(i)
  }
  if (axes.length === 0) return dy
  const summed = graph.reduceSum(dy, axes, { keepDims: true })
  return lead === 0 ? summed : graph.reshapeLike(summed, like)
}
