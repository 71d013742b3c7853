/**
 * Which of the execution providers that are wanted can compute on this machine.
 * Invariant: what is passed over is told with its reason; nothing is used that was not named.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { ComputeWorker } from './compute-worker.ts'
import { Graph } from './graph.ts'
import { toModel } from './model.ts'
import type { PassedOver } from './worker-protocol.ts'

export interface FoundProviders {
  /** Those that can be used, in the order wanted. */
  readonly used: readonly string[]
  readonly passedOver: readonly PassedOver[]
}

/**
 * Tries each provider by itself in a worker.
 * @param wanted - names as ONNX Runtime has them, such as cuda and cpu
 * @throws SIDESTREAM_SESSION_FAILED when none of them can be used
 */
export async function findProviders(worker: ComputeWorker, wanted: readonly string[]): Promise<FoundProviders> {
  if (wanted.every((provider) => provider === 'cpu')) return { used: wanted, passedOver: [] }
  const graph = new Graph({ name: 'try of a provider' })
  graph.output('y', graph.mul(graph.input('x', 'float32', [1]), graph.scalar(2)))
  const { passedOver = [], known = [] } = await worker.ask({ kind: 'try-providers', model: toModel(graph), providers: wanted })
  const used = wanted.filter((provider) => !passedOver.some((other) => other.provider === provider))
  if (used.length > 0) return { used, passedOver }
  throw new SidestreamError(
    'SIDESTREAM_SESSION_FAILED',
    `${faultText(passedOver)}; this build of ONNX Runtime knows ${known.join(', ')}, and some need libraries of their own on the machine: name cpu as well to go on without`,
    { passedOver },
  )
}

/** Which providers cannot be used and why, and which are, as one line. */
export function passedOverText({ used, passedOver }: FoundProviders): string {
  return `${faultText(passedOver)}; computed by ${used.join(', ')}`
}

function faultText(passedOver: readonly PassedOver[]): string {
  return passedOver.map(({ provider, why }) => `execution provider ${provider} cannot be used (${why})`).join('; ')
}
