/**
 * Writes a graph as the bytes of an ONNX model. Nodes that no output needs are left out.
 * Invariant: an inference model (the default) has its parameters as initializers and loads in plain ONNX Runtime.
 */

import type { Graph, GraphNode, NodeAttribute } from './graph.ts'
import { attributeTypes, encodeModel, irVersion, onnxTypes, opset } from './onnx-proto.ts'
import type { AttributeProto, NodeProto, TensorProto, ValueInfoProto } from './onnx-proto.ts'
import type { Value } from './op.ts'
import { graphError } from './shapes.ts'
import type { Tensor } from './tensor.ts'

export interface ModelOptions {
  /**
   * `constants`: states are written at their initial values (inference). `state`: every state is an input
   * `state/<name>`, and `next/<name>` is its value after the step (training).
   * @default 'constants'
   */
  readonly states?: 'constants' | 'state'
  /** Key-value pairs kept in the file, e.g. where the weights come from. */
  readonly metadata?: Readonly<Record<string, string>>
}

/** Input name of a state in a training model. */
export const stateInput = (name: string): string => `state/${name}`
/** Output name of a state in a training model. */
export const stateOutput = (name: string): string => `next/${name}`

/** ONNX bytes of the graph's outputs. @throws SIDESTREAM_GRAPH_INVALID when it has none */
export function toModel(graph: Graph, { states = 'constants', metadata = {} }: ModelOptions = {}): Uint8Array {
  const outputs = new Map<string, Value>(graph.outputs)
  if (states === 'state') for (const [name, next] of graph.updates) outputs.set(stateOutput(name), next)
  if (outputs.size === 0) throw graphError('the graph has no output')
  const needed = neededNodes(graph, outputs)
  const used = new Set([...needed.flatMap(({ inputs }) => inputs), ...[...outputs.values()].map(({ name }) => name)])

  const inputs = [...graph.inputs.values()].map((value) => valueInfo(value.name, value))
  const initializers: TensorProto[] = []
  const rename = new Map<string, string>()
  for (const [name, { value, initial }] of graph.states) {
    if (states === 'state') {
      rename.set(name, stateInput(name))
      inputs.push(valueInfo(stateInput(name), value))
    } else if (used.has(name)) initializers.push(tensorProto(initial, name))
  }
  for (const [name, constant] of graph.constants) if (used.has(name)) initializers.push(tensorProto(constant, name))

  const nodes = needed.map((node, i) => nodeProto(node, i, rename))
  for (const [name, value] of outputs) {
    // An Identity gives the output its name whatever it is made of; ONNX Runtime drops it where it can.
    nodes.push({ name: `output:${name}`, opType: 'Identity', input: [rename.get(value.name) ?? value.name], output: [name], attribute: [] })
  }
  return encodeModel({
    irVersion,
    producerName: 'sidestream',
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name: graph.name,
      node: nodes,
      initializer: initializers,
      input: inputs,
      output: [...outputs].map(([name, value]) => valueInfo(name, value)),
    },
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
  })
}

/** Nodes that the outputs depend on, in the order they were built (which is topological). */
function neededNodes(graph: Graph, outputs: ReadonlyMap<string, Value>): GraphNode[] {
  const wanted = new Set([...outputs.values()].map(({ name }) => name))
  const needed: GraphNode[] = []
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => wanted.has(name))) continue
    needed.push(node)
    for (const name of node.inputs) wanted.add(name)
  }
  return needed.reverse()
}

function nodeProto(node: GraphNode, index: number, rename: ReadonlyMap<string, string>): NodeProto {
  return {
    name: `${node.onnx}_${index}`,
    opType: node.onnx,
    input: node.inputs.map((name) => rename.get(name) ?? name),
    output: [...node.outputs],
    attribute: Object.entries(node.attributes).map(([name, attribute]) => attributeProto(name, attribute)),
  }
}

function attributeProto(name: string, attribute: NodeAttribute): AttributeProto {
  if ('int' in attribute) return { name, type: attributeTypes.int, i: attribute.int }
  if ('float' in attribute) return { name, type: attributeTypes.float, f: attribute.float }
  if ('string' in attribute) return { name, type: attributeTypes.string, s: new TextEncoder().encode(attribute.string) }
  if ('ints' in attribute) return { name, type: attributeTypes.ints, ints: [...attribute.ints] }
  return { name, type: attributeTypes.tensor, t: tensorProto(attribute.tensor) }
}

function tensorProto({ dtype, dims, data }: Tensor, name?: string): TensorProto {
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return { ...(name === undefined ? {} : { name }), dims: [...dims], dataType: onnxTypes[dtype], rawData }
}

function valueInfo(name: string, { dtype, shape }: Value): ValueInfoProto {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }))
  return { name, type: { tensorType: { elemType: onnxTypes[dtype], shape: { dim } } } }
}
