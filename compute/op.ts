/**
 * What a differentiable operation is. Each stands in one file under `ops/` and in the one table `ops/index.ts`.
 * Invariant: an operation holds no state; everything its gradient reads is named in `keeps`.
 */

import type { Graph } from './graph.ts'
import type { DType } from './tensor.ts'

/** A size, or the name of a size known when the graph runs; equal names are equal sizes. */
export type Dim = number | string

export interface ValueType {
  readonly dtype: DType
  readonly shape: readonly Dim[]
}

/** A tensor in a graph, known by its name. */
export interface Value extends ValueType {
  readonly name: string
}

export type AttributeValue = number | string | boolean | readonly number[] | readonly Dim[] | DType
export type Attributes = Readonly<Record<string, AttributeValue | undefined>>

/**
 * One operation: forward, what it keeps, gradient.
 * `Inputs` are the names of its inputs, `Kept` those values (inputs, or `y`, the output) that the gradient reads.
 */
export interface Op<Inputs extends string = string, Kept extends Inputs | 'y' = Inputs | 'y', A extends Attributes = Attributes> {
  /** The ONNX operator, or what the nodes are made of when `emit` writes several. */
  readonly onnx: string
  /** Names of the inputs in ONNX's order; `many` for a list `x0, x1, …`. An optional input may be left out at the end. */
  readonly inputs: readonly Inputs[] | 'many'
  readonly keeps: readonly Kept[]
  /** Type of the output; throws SIDESTREAM_GRAPH_INVALID when the inputs do not fit. */
  infer(inputs: readonly Value[], attributes: A): ValueType
  /** Writes the nodes when it is not exactly one ONNX node with the same attributes. */
  emit?(graph: Graph, inputs: readonly Value[], attributes: A, type: ValueType): Value
  /** Gradients of the inputs given that of the output; an input left out gets none. `stops`: nothing flows back. */
  readonly gradient: 'stops' | Gradient<Inputs, Kept, A>
}

export type Gradient<Inputs extends string, Kept extends string, A> = (
  graph: Graph,
  dy: Value,
  kept: Readonly<Record<Kept, Value>>,
  attributes: A,
) => Readonly<Partial<Record<Inputs, Value>>>

/** An operation as the graph and the gradients handle it. */
export interface AnyOp {
  readonly onnx: string
  readonly inputs: readonly string[] | 'many'
  readonly keeps: readonly string[]
  // Methods, not properties: the table holds operations with narrower attribute types.
  infer(inputs: readonly Value[], attributes: never): ValueType
  emit?(graph: Graph, inputs: readonly Value[], attributes: never, type: ValueType): Value
  readonly gradient: 'stops' | ((graph: Graph, dy: Value, kept: never, attributes: never) => Readonly<Record<string, Value | undefined>>)
}
