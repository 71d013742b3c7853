/**
 * Reverse-mode gradients: walks the operations of a graph backwards and adds what each hands to its inputs.
 * Invariant: contributions are added in a fixed order, so the same graph gives the same nodes every time.
 */

import type { Graph, TapeEntry } from './graph.ts'
import type { Value } from './op.ts'
import { describe, graphError } from './shapes.ts'

/**
 * Gradient of the scalar `loss` by each of `wrt`, in order; zeros where the loss does not depend on it.
 * @param upstream - gradient of something else by `loss`; then `loss` may have any shape
 * @throws SIDESTREAM_GRAPH_INVALID when `loss` is no scalar and no `upstream` is given
 */
export function gradients(graph: Graph, loss: Value, wrt: readonly Value[], upstream?: Value): Value[] {
  if (upstream === undefined && loss.shape.length > 0) throw graphError(`the loss must be a scalar, it is ${describe(loss)}`)
  const entries = [...graph.tape]
  const live = dependents(entries, wrt)
  const adjoints = new Map<string, Value>([[loss.name, upstream ?? graph.scalar(1, loss.dtype)]])
  for (const entry of entries.toReversed()) {
    const dy = adjoints.get(entry.output.name)
    if (dy === undefined || !live.has(entry.output.name) || entry.op.gradient === 'stops') continue
    const names = inputNames(entry)
    const parts = entry.op.gradient(graph, dy, keptOf(entry, names) as never, entry.attributes as never)
    entry.inputs.forEach((input, i) => {
      const part = parts[names[i]!]
      if (part === undefined || !live.has(input.name)) return
      const sum = adjoints.get(input.name)
      adjoints.set(input.name, sum === undefined ? part : graph.add(sum, part))
    })
  }
  return wrt.map((value) => adjoints.get(value.name) ?? graph.zerosLike(value))
}

/** Names of values through which the loss can depend on `wrt`. */
function dependents(entries: readonly TapeEntry[], wrt: readonly Value[]): Set<string> {
  const live = new Set(wrt.map(({ name }) => name))
  for (const { op, inputs, output } of entries) {
    if (op.gradient !== 'stops' && inputs.some(({ name }) => live.has(name))) live.add(output.name)
  }
  return live
}

function inputNames({ op, inputs }: TapeEntry): readonly string[] {
  return op.inputs === 'many' ? inputs.map((_, i) => `x${i}`) : op.inputs
}

function keptOf({ op, inputs, output }: TapeEntry, names: readonly string[]): Record<string, Value> {
  const kept: Record<string, Value> = {}
  inputs.forEach((input, i) => {
    if (op.inputs === 'many' || op.keeps.includes(names[i]!)) kept[names[i]!] = input
  })
  if (op.keeps.includes('y')) kept['y'] = output
  return kept
}
