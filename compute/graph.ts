/**
 * Builds a computation as ONNX nodes and remembers which operation made which value, so that `gradients` can walk it
 * backwards. Invariants: names are given in order of building, so the same calls give the same model bytes; a value is
 * written once.
 */

import type { AnyOp, Attributes, Dim, Value, ValueType } from './op.ts'
import { opTable } from './ops/index.ts'
import type { OpName } from './ops/index.ts'
import { describe, graphError } from './shapes.ts'
import { elementCount, tensorOf } from './tensor.ts'
import type { DType, Tensor } from './tensor.ts'

/** One ONNX node as it will be written. Integer attributes are marked by being integers of an `ints` key. */
export interface GraphNode {
  readonly onnx: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, NodeAttribute>>
}

export type NodeAttribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] }
  | { readonly tensor: Tensor }

/** One operation that was called: what `gradients` walks. */
export interface TapeEntry {
  readonly op: AnyOp
  readonly inputs: readonly Value[]
  readonly output: Value
  readonly attributes: Attributes
}

export interface ParameterOptions {
  /** Whether AdamW shrinks it. @default true when it has two axes or more */
  readonly decay?: boolean
  /** Bounds kept after every update, e.g. of a log temperature. */
  readonly min?: number
  readonly max?: number
  /**
   * Parameters of one clock share AdamW's step count. A parameter that not every graph of a shared state trains needs a clock of
   * its own: with the count of the others its first steps would be three times too long.
   * @default the common one
   */
  readonly clock?: string
}

/** A tensor that lives from step to step: a trainable parameter or a part of the optimizer. */
export interface StateEntry {
  readonly value: Value
  readonly initial: Tensor
  readonly trainable: boolean
  readonly options: ParameterOptions
}

export interface GraphOptions {
  /** Type of `scalar` constants. @default 'float32' */
  readonly dtype?: 'float32' | 'float64'
  readonly name?: string
}

export class Graph {
  readonly name: string
  readonly dtype: 'float32' | 'float64'
  readonly nodes: GraphNode[] = []
  readonly tape: TapeEntry[] = []
  readonly inputs = new Map<string, Value>()
  readonly outputs = new Map<string, Value>()
  readonly constants = new Map<string, Tensor>()
  readonly states = new Map<string, StateEntry>()
  /** State name to the value it has after a step. */
  readonly updates = new Map<string, Value>()
  readonly #shared = new Map<string, Value>()
  readonly #names = new Set<string>()
  #inside = 0

  constructor({ dtype = 'float32', name = 'graph' }: GraphOptions = {}) {
    this.dtype = dtype
    this.name = name
  }

  /** A value fed at every run. Named dims (`'batch'`) are free. */
  input(name: string, dtype: DType, shape: readonly Dim[]): Value {
    const value = this.#declare(name, { dtype, shape })
    this.inputs.set(name, value)
    return value
  }

  /** A value fixed in the model. */
  constant(tensor: Tensor): Value {
    const value = this.#declare(this.#fresh('constant'), { dtype: tensor.dtype, shape: tensor.dims })
    this.constants.set(value.name, tensor)
    return value
  }

  /** A scalar constant; equal scalars are shared. @param dtype - the graph's by default */
  scalar(number: number, dtype: DType = this.dtype): Value {
    return this.shared(`${dtype}:${Object.is(number, -0) ? '-0' : number}`, () => tensorOf(dtype, [], [number]))
  }

  /** The constant known by `key`, made at the first call. */
  shared(key: string, make: () => Tensor): Value {
    let value = this.#shared.get(key)
    if (value === undefined) {
      value = this.constant(make())
      this.#shared.set(key, value)
    }
    return value
  }

  /** Int64 constants, for shapes and axes. */
  ints(numbers: readonly number[]): Value {
    return this.constant(tensorOf('int64', [numbers.length], numbers))
  }

  /** A trainable tensor: fixed in an inference model, state in a training model. */
  parameter(name: string, initial: Tensor, options: ParameterOptions = {}): Value {
    return this.#state(name, initial, true, options)
  }

  /** A tensor carried from step to step that nothing trains, e.g. a moment. */
  state(name: string, initial: Tensor): Value {
    return this.#state(name, initial, false, {})
  }

  /** Says what a state is after the step. */
  update(state: Value, next: Value): void {
    const entry = this.states.get(state.name)
    if (entry === undefined) throw graphError(`${state.name} is not a state of this graph`)
    if (this.updates.has(state.name)) throw graphError(`state ${state.name} is updated twice`)
    if (next.dtype !== state.dtype || next.shape.join() !== state.shape.join()) {
      throw graphError(`state ${state.name} is ${describe(state)}, its update is ${describe(next)}`)
    }
    this.updates.set(state.name, next)
  }

  /** Publishes a value as an output of the model. */
  output(name: string, value: Value): void {
    if (this.outputs.has(name)) throw graphError(`output ${name} is declared twice`)
    this.outputs.set(name, value)
  }

  /** Calls an operation of the table. The methods below do this with typed arguments. */
  apply(name: OpName, inputs: readonly Value[], attributes: Attributes = {}): Value {
    const op: AnyOp = opTable[name]
    const type = op.infer(inputs, attributes as never)
    let output: Value
    if (op.emit) {
      this.#inside++
      try {
        output = op.emit(this, inputs, attributes as never, type)
      } finally {
        this.#inside--
      }
    } else {
      output = this.node(op.onnx, inputs, type, {}, name)
    }
    if (this.#inside === 0) this.tape.push({ op, inputs, output, attributes })
    return output
  }

  /** Writes one ONNX node that no gradient passes; operations are made of these. */
  node(onnx: string, inputs: readonly Value[], type: ValueType, attributes: GraphNode['attributes'] = {}, label = onnx): Value {
    return this.nodeMany(onnx, inputs, [type], attributes, label)[0]!
  }

  /** `node` with several outputs. */
  nodeMany(
    onnx: string,
    inputs: readonly Value[],
    types: readonly ValueType[],
    attributes: GraphNode['attributes'] = {},
    label = onnx,
  ): Value[] {
    const outputs = types.map((type) => this.#declare(this.#fresh(label), type))
    this.nodes.push({ onnx, inputs: inputs.map(({ name }) => name), outputs: outputs.map(({ name }) => name), attributes })
    return outputs
  }

  // Elementwise arithmetic, shapes broadcast as in numpy.
  add(a: Value, b: Value): Value {
    return this.apply('add', [a, b])
  }
  sub(a: Value, b: Value): Value {
    return this.apply('sub', [a, b])
  }
  mul(a: Value, b: Value): Value {
    return this.apply('mul', [a, b])
  }
  div(a: Value, b: Value): Value {
    return this.apply('div', [a, b])
  }
  /** x times a fixed number. */
  scale(x: Value, factor: number): Value {
    return this.mul(x, this.scalar(factor, x.dtype))
  }
  neg(x: Value): Value {
    return this.apply('neg', [x])
  }
  exp(x: Value): Value {
    return this.apply('exp', [x])
  }
  /** Natural logarithm. */
  log(x: Value): Value {
    return this.apply('log', [x])
  }
  sqrt(x: Value): Value {
    return this.apply('sqrt', [x])
  }
  sigmoid(x: Value): Value {
    return this.apply('sigmoid', [x])
  }
  tanh(x: Value): Value {
    return this.apply('tanh', [x])
  }
  /** max(x, 0); no gradient passes where x is 0 or less. */
  relu(x: Value): Value {
    return this.apply('relu', [x])
  }
  /** Exact (erf) GELU; float32 only, as ONNX Runtime has no float64 kernel. */
  gelu(x: Value): Value {
    return this.apply('gelu', [x])
  }
  /** Values cut to `[min, max]`; the gradient passes strictly inside and at the bounds. */
  clip(x: Value, min: number, max: number): Value {
    return this.apply('clip', [x], { min, max })
  }

  /** Matrix product over the last two axes; leading axes broadcast. */
  matmul(a: Value, b: Value, options: { transposeA?: boolean; transposeB?: boolean } = {}): Value {
    return this.apply('matmul', [a, b], options)
  }
  /** x · w + b for `x [n, in]`, `w [in, out]`, `b [out]`. */
  linear(x: Value, w: Value, b: Value): Value {
    return this.add(this.matmul(x, w), b)
  }

  /** Axes in a new order; reversed when none is given. */
  transpose(x: Value, axes: readonly number[] = x.shape.map((_, i) => x.shape.length - 1 - i)): Value {
    return this.apply('transpose', [x], { axes })
  }
  /** A named dim must stand where it stood, or be the only unknown one. */
  reshape(x: Value, shape: readonly Dim[]): Value {
    return this.apply('reshape', [x], { shape })
  }
  /** `x` in the shape that `like` has when the graph runs. */
  reshapeLike(x: Value, like: Value): Value {
    return this.apply('reshapeLike', [x, like])
  }
  /** A new axis of size 1 before `axis`. */
  unsqueeze(x: Value, axis: number): Value {
    return this.apply('unsqueeze', [x], { axis })
  }
  /** Drops an axis of size 1. */
  squeeze(x: Value, axis: number): Value {
    return this.apply('squeeze', [x], { axis })
  }
  /** `x` repeated along broadcast axes to the shape of `like`. */
  expandLike(x: Value, like: Value): Value {
    return this.apply('expandLike', [x, like])
  }
  concat(values: readonly Value[], axis: number): Value {
    return this.apply('concat', values, { axis })
  }
  /** Entries `[from, to)` of an axis of known size. */
  slice(x: Value, axis: number, from: number, to: number): Value {
    return this.apply('slice', [x], { axis, from, to })
  }

  /** Sum over `axes` (all when left out). */
  reduceSum(x: Value, axes?: readonly number[], options: { keepDims?: boolean } = {}): Value {
    return this.apply('reduceSum', [x], { axes: axes ?? x.shape.map((_, i) => i), keepDims: options.keepDims ?? false })
  }
  reduceMean(x: Value, axes?: readonly number[], options: { keepDims?: boolean } = {}): Value {
    return this.apply('reduceMean', [x], { axes: axes ?? x.shape.map((_, i) => i), keepDims: options.keepDims ?? false })
  }
  /** Maximum; the gradient goes to the largest entries, split evenly between equal ones. */
  reduceMax(x: Value, axes?: readonly number[], options: { keepDims?: boolean } = {}): Value {
    return this.apply('reduceMax', [x], { axes: axes ?? x.shape.map((_, i) => i), keepDims: options.keepDims ?? false })
  }
  /** Softmax over one axis; entries where `mask` is false get 0, an all-masked row is all zero. */
  softmax(x: Value, axis = -1, mask?: Value): Value {
    return this.apply('softmax', mask ? [x, mask] : [x], { axis })
  }
  /** log(sum(exp(x))) over one axis, which stays as size 1; masked entries do not count. An all-masked row gives -Infinity. */
  logSumExp(x: Value, axis = -1, mask?: Value): Value {
    return this.apply('logSumExp', mask ? [x, mask] : [x], { axis })
  }
  logSoftmax(x: Value, axis = -1): Value {
    return this.apply('logSoftmax', [x], { axis })
  }
  /** Rows of the last axis at length 1; a row shorter than 1e-12 becomes zero and gets no gradient. */
  l2norm(x: Value): Value {
    return this.apply('l2norm', [x])
  }
  /** Rows of the last axis at mean 0 and variance 1; a row of equal entries becomes zero. */
  layerNorm(x: Value): Value {
    return this.apply('layerNorm', [x])
  }

  /** Rows of `x` by int64 `indices` of any shape: `[n, …] -> [indices…, …]`. */
  gather(x: Value, indices: Value): Value {
    return this.apply('gather', [x, indices])
  }
  /** Adds `rows` at int64 `indices [m]` to zeros shaped as `like`; equal indices add up in index order. */
  scatterAdd(rows: Value, indices: Value, like: Value): Value {
    return this.apply('scatterAdd', [rows, indices, like])
  }
  /** `x` with the rows at `indices [m]` (all different) replaced. */
  scatterRows(x: Value, indices: Value, rows: Value): Value {
    return this.apply('scatterRows', [x, indices, rows])
  }
  /** `a` where `condition` holds, else `b`. */
  where(condition: Value, a: Value, b: Value): Value {
    return this.apply('where', [condition, a, b])
  }
  cast(x: Value, dtype: DType): Value {
    return x.dtype === dtype ? x : this.apply('cast', [x], { dtype })
  }
  identity(x: Value): Value {
    return this.apply('identity', [x])
  }
  stopGradient(x: Value): Value {
    return this.apply('stopGradient', [x])
  }

  // Nothing flows back through these.
  equal(a: Value, b: Value): Value {
    return this.apply('equal', [a, b])
  }
  less(a: Value, b: Value): Value {
    return this.apply('less', [a, b])
  }
  not(x: Value): Value {
    return this.apply('not', [x])
  }
  and(a: Value, b: Value): Value {
    return this.apply('and', [a, b])
  }
  or(a: Value, b: Value): Value {
    return this.apply('or', [a, b])
  }
  /** Index (int64) of the largest entry, the first one on ties; the axis is dropped. */
  argMax(x: Value, axis = -1): Value {
    return this.apply('argMax', [x], { axis })
  }
  /** Index (int64) of the smallest entry, the first one on ties; the axis is dropped. */
  argMin(x: Value, axis = -1): Value {
    return this.apply('argMin', [x], { axis })
  }
  /** The `k` largest entries of the last axis, descending, and their int64 indices. */
  topK(x: Value, k: number): { values: Value; indices: Value } {
    const type = (dtype: DType): ValueType => ({ dtype, shape: [...x.shape.slice(0, -1), k] })
    const [values, indices] = this.nodeMany('TopK', [x, this.ints([k])], [type(x.dtype), type('int64')], {}, 'topK')
    return { values: values!, indices: indices! }
  }
  /** Zeros shaped as `like`. */
  zerosLike(like: Value): Value {
    return this.apply('expandLike', [this.scalar(0, like.dtype), like])
  }
  /** The shape `x` has when the graph runs, int64 `[rank]`. */
  shapeOf(x: Value): Value {
    return this.node('Shape', [x], { dtype: 'int64', shape: [x.shape.length] }, {}, 'shape')
  }

  #state(name: string, initial: Tensor, trainable: boolean, options: ParameterOptions): Value {
    if (initial.data.length !== elementCount(initial.dims)) throw graphError(`state ${name}: data and dims differ`)
    const value = this.#declare(name, { dtype: initial.dtype, shape: initial.dims })
    this.states.set(name, { value, initial, trainable, options })
    return value
  }

  #fresh(label: string): string {
    return `${label}:${this.#names.size}`
  }

  #declare(name: string, { dtype, shape }: ValueType): Value {
    if (this.#names.has(name)) throw graphError(`the name ${name} is taken`)
    this.#names.add(name)
    return { name, dtype, shape }
  }
}
