/** All that decides an ID as ONNX nodes, behind other nodes or as a model of its own. */

import { Graph, toModel, type Value } from '../compute/index.ts'
import { usesBeam } from './beam.ts'
import { appendBeam } from './beam-graph.ts'
import { vectorDimOf, type Quantizer } from './codebooks.ts'
import { appendWalk, levelTables, type LevelValues } from './encode-graph.ts'
import { appendNetwork } from './network.ts'
import { switchingCost, type WalkValues } from './walk-values.ts'

/**
 * Appends all that decides an ID to any graph, fixed in the model: network, unit length, the walk over the levels.
 * @param vectors - float32 [n, dim]: exactly the numbers that are published
 * @param parent - the parent's codes, int32 [n, levels], -1 in rows without, and what it costs to leave them
 */
export function appendEncode(
  graph: Graph,
  vectors: Value,
  { codebooks, settings, network }: Quantizer,
  parent?: { readonly old: Value; readonly delta: number },
): WalkValues {
  const cost = parent && switchingCost(parent.delta)
  const sticky = parent && cost && { old: parent.old, factor: graph.scalar(cost.factor), slack: graph.scalar(cost.slack) }
  const seen = network === undefined ? vectors : appendNetwork(graph, vectors, network)
  if (usesBeam(codebooks, settings)) return appendBeam(graph, seen, codebooks, settings, sticky)
  const { sizes, levels, penalties, dim, fsq } = codebooks
  const tables = levels.map((level, index): LevelValues => {
    const own = levelTables(level, sizes[index]!, dim, penalties?.[index])
    return {
      scores: graph.constant(own.scores),
      words: graph.constant(own.words),
      ...(own.penalties && { penalties: graph.constant(own.penalties) }),
    }
  })
  return appendWalk(graph, seen, sizes, tables, settings, sticky, fsq)
}

/** ONNX bytes of all that decides an ID; a switching cost adds the input `old`. */
export function encodeModel(quantizer: Quantizer, delta?: number): Uint8Array {
  const { codebooks, network } = quantizer
  const graph = new Graph({ name: 'semantic-ids' })
  const vectors = graph.input('vectors', 'float32', ['rows', vectorDimOf(codebooks, network)])
  const old = delta === undefined ? undefined : graph.input('old', 'int32', ['rows', codebooks.sizes.length])
  const walk = appendEncode(graph, vectors, quantizer, old && { old, delta: delta! })
  graph.output('codes', walk.codes)
  graph.output('margins', walk.margins)
  return toModel(graph)
}
