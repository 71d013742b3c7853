/**
 * What the head computes, as graph nodes. Training, inference and the exported file are all built here, so they cannot
 * differ. Per modality m: x_m = half-whitened input, p_m = P_m x_m + 0.1 V_m gelu(U_m x_m); fused n = sum_m
 * softmax_m(W [p_1 … p_M] + b) * p_m, element by element; distilled part d = l2(n); content part c = l2 of the x_m side by
 * side; published = sqrt(1 - share) d beside sqrt(share) c, interleaved by block.
 * Invariant: every row is finite; a row without any modality is zero and passes no gradient.
 */

import { tensor, type Graph, type Tensor, type Value } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { branchScale, contentColumns, headLayout, type Head } from './head.ts'
import { whiteningMatrix } from './statistics.ts'

/** What a head's graph reads. */
export interface HeadInputs {
  /** Raw vectors in the order of `spec.modalities`, float32 [n, dim of m]; any finite values where absent. */
  readonly vectors: readonly Value[]
  /** 1 where item and modality meet, else 0; float32 [n, M]. */
  readonly presence: Value
}

/** What it gives; D and C are the dims of the view. */
export interface HeadOutputs {
  /** The vector to publish, unit length, [n, D + C]. */
  readonly published: Value
  /** Distilled part, unit length, [n, D]. */
  readonly distilled: Value
  /** Content part, unit length, [n, C]; absent when the head has none. */
  readonly content: Value | undefined
}

/** Declares the inputs of a head in a graph: `content_<modality>` and `presence`, over `rows` items. */
export function headInputs(graph: Graph, { spec: { modalities } }: Head, rows = 'n'): HeadInputs {
  return {
    vectors: modalities.map(({ name, dim }) => graph.input(`content_${name}`, 'float32', [rows, dim])),
    presence: graph.input('presence', 'float32', [rows, modalities.length]),
  }
}

/**
 * The whole head for a view.
 * @param options.prefix - distilled dims D_k of a short view, one of `spec.prefixes`; the full vector when left out
 * @throws SIDESTREAM_USAGE_INVALID when `prefix` was not trained
 */
export function appendHead(graph: Graph, head: Head, inputs: HeadInputs, options: { readonly prefix?: number } = {}): HeadOutputs {
  return appendHeadViews(graph, head, inputs, [options.prefix ?? head.spec.dims])[0]!
}

/**
 * The whole head for several views: what they share stands in the graph once.
 * @param prefixes - distilled dims D_k of each view, of `spec.prefixes`
 * @returns one per prefix, in order
 * @throws SIDESTREAM_USAGE_INVALID when a prefix was not trained
 */
export function appendHeadViews(graph: Graph, head: Head, inputs: HeadInputs, prefixes: readonly number[]): HeadOutputs[] {
  const whitened = appendWhitening(graph, head, inputs)
  const full = appendDistilled(graph, head, whitened, inputs.presence)
  return prefixes.map((prefix) => appendView(graph, head, whitened, full, prefix))
}

function appendView(graph: Graph, head: Head, whitened: readonly Value[], full: Value, prefix: number): HeadOutputs {
  const { spec } = head
  const view = headLayout(spec).blocks.slice(0, spec.prefixes.indexOf(prefix) + 1)
  const end = view.at(-1)
  if (end === undefined) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `prefix ${prefix} was not trained; choose one of ${spec.prefixes.join(', ')}`)
  }
  const distilled = end.distilled[1] === spec.dims ? full : graph.l2norm(graph.slice(full, 1, 0, end.distilled[1]))
  if (end.content[1] === 0) return { published: distilled, distilled, content: undefined }
  const content = graph.l2norm(appendContent(graph, head, whitened, end.content[1]))
  const weighted = {
    distilled: graph.mul(distilled, partWeight(graph, content, 1 - spec.contentShare)),
    content: graph.mul(content, partWeight(graph, distilled, spec.contentShare)),
  }
  const pieces = view.flatMap((block) =>
    (['distilled', 'content'] as const)
      .filter((part) => block[part][0] < block[part][1])
      .map((part) => graph.slice(weighted[part], 1, block[part][0], block[part][1])),
  )
  return { published: pieces.length === 1 ? pieces[0]! : graph.concat(pieces, 1), distilled, content }
}

/** x_m of every modality: centered, on PCA axes, divided by sd^0.5, unit length, zero where absent; [n, dim of m] each. */
export function appendWhitening(graph: Graph, { spec, statistics }: Head, { vectors, presence }: HeadInputs): Value[] {
  return spec.modalities.map((_, m) => {
    const modality = statistics[m]!
    const { dim, mean } = modality
    const centered = graph.sub(vectors[m]!, graph.constant(tensor('float32', [1, dim], mean)))
    const onAxes = graph.matmul(centered, graph.constant(tensor('float32', [dim, dim], whiteningMatrix(modality))))
    return graph.mul(graph.l2norm(onAxes), graph.slice(presence, 1, m, m + 1))
  })
}

/** Distilled part of half-whitened vectors, [n, dims]. Declares the head's parameters, so once per graph. */
export function appendDistilled(graph: Graph, head: Head, whitened: readonly Value[], presence: Value): Value {
  return appendFused(graph, head, appendProjections(graph, head, whitened), presence)
}

/** p_m of every modality: its half-whitened vectors in the space of the distilled part, zero where absent; [n, dims] each. */
export function appendProjections(graph: Graph, { spec, parameters }: Head, whitened: readonly Value[]): Value[] {
  const parameter = (name: string): Value => graph.parameter(name, parameters.get(name)!)
  return spec.modalities.map(({ name }, m) => {
    const linear = graph.matmul(whitened[m]!, parameter(`${name}.P`))
    const branch = graph.matmul(graph.gelu(graph.matmul(whitened[m]!, parameter(`${name}.U`))), parameter(`${name}.V`))
    return graph.add(linear, graph.scale(branch, branchScale))
  })
}

/** The distilled part from the projections, [n, dims]. */
export function appendFused(graph: Graph, { parameters }: Head, projections: readonly Value[], presence: Value): Value {
  if (projections.length === 1) return graph.l2norm(projections[0]!)
  const parameter = (name: string): Value => graph.parameter(name, parameters.get(name)!)
  return graph.l2norm(appendFusion(graph, projections, presence, parameter('fusion.W'), parameter('fusion.b')))
}

/**
 * Fuses modalities element by element by a softmax over those present; for two modalities it is SAIL's sigmoid gate.
 * @param projections - M values [n, d], zero rows where absent
 * @param presence - [n, M]
 * @param weight - [M d, M d]
 * @param bias - [M d]
 * @returns [n, d]
 */
export function appendFusion(graph: Graph, projections: readonly Value[], presence: Value, weight: Value, bias: Value): Value {
  const [rows, dims] = projections[0]!.shape as [string | number, number]
  const all = graph.concat(projections, 1)
  const byModality = (value: Value): Value => graph.reshape(value, [rows, projections.length, dims])
  const present = graph.unsqueeze(graph.less(graph.scalar(0, presence.dtype), presence), 2)
  const shares = graph.softmax(byModality(graph.linear(all, weight, bias)), 1, present)
  return graph.reduceSum(graph.mul(shares, byModality(all)), [1])
}

/** The first `width` content columns, [n, width]. Nothing trains through it. */
function appendContent(graph: Graph, { spec }: Head, whitened: readonly Value[], width: number): Value {
  if (whitened.length === 1) return width === whitened[0]!.shape[1] ? whitened[0]! : graph.slice(whitened[0]!, 1, 0, width)
  const starts = spec.modalities.map((_, m) => spec.modalities.slice(0, m).reduce((sum, { dim }) => sum + dim, 0))
  const indices = contentColumns(spec)
    .slice(0, width)
    .map(({ modality, component }) => starts[modality]! + component)
  const all = graph.concat(whitened, 1)
  return graph.node(
    'Gather',
    [all, graph.ints(indices)],
    { dtype: all.dtype, shape: [all.shape[0]!, width] },
    { axis: { int: 1 } },
    'columns',
  )
}

/** sqrt(share) where the other part is there, 1 where it is zero; [n, 1]. */
function partWeight(graph: Graph, other: Value, share: number): Value {
  const squares = graph.reduceSum(graph.mul(other, other), [1], { keepDims: true })
  const there = graph.less(graph.scalar(0.5, other.dtype), squares)
  return graph.where(there, graph.scalar(Math.sqrt(share), other.dtype), graph.scalar(1, other.dtype))
}

/** Parameters of a head as `appendDistilled` names them, from trained tensors. */
export function withParameters(head: Head, trained: ReadonlyMap<string, Tensor>): Head {
  const parameters = new Map<string, Tensor<'float32'>>()
  for (const name of head.parameters.keys()) parameters.set(name, trained.get(name) as Tensor<'float32'>)
  return { ...head, parameters }
}
