import type { Op } from '../op.ts'
import { graphError, sameAs } from '../shapes.ts'

/**
 * y = x Φ(x) with the exact normal distribution Φ(x) = (1 + erf(x / √2)) / 2 (not the tanh approximation);
 * dy/dx = Φ(x) + x φ(x), φ(x) = exp(-x²/2) / √(2π). ONNX Runtime has it for float32 only.
 */
export const gelu: Op<'x', 'x'> = {
  onnx: 'Gelu',
  inputs: ['x'],
  keeps: ['x'],
  infer: (inputs) => {
    if (inputs[0]!.dtype !== 'float32') throw graphError('gelu: ONNX Runtime computes it in float32 only; cast first')
    return sameAs(inputs)
  },
  gradient: (graph, dy, { x }) => {
    const erf = graph.node('Erf', [graph.scale(x, Math.SQRT1_2)], x, {}, 'erf')
    const distribution = graph.scale(graph.add(erf, graph.scalar(1, x.dtype)), 0.5)
    const density = graph.scale(graph.exp(graph.scale(graph.mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return { x: graph.mul(dy, graph.add(distribution, graph.mul(x, density))) }
  },
}
