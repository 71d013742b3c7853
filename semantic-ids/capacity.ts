/** A bound on items per ID, kept over all items that a bundle was built for. */

import { bundleOf, type Bundle } from './bundle.ts'
import { resolveCollisions, type CollisionOptions, type CollisionReport } from './collisions.ts'
import type { VectorRows } from './encoder.ts'
import { Moves } from './moves.ts'
import { throughNetwork } from './network.ts'

/** @param duplicates - see `CollisionOptions` */
export const collisionDefaults = { duplicates: 'together' } as const

/**
 * Moves what is beyond the capacity, and says so in the bundle, which then encodes the same codes. No item counts as published.
 * @param codes - of the bundle as it is, row-major, shape [ids.length, levels]
 * @throws as `resolveCollisions`
 */
export function withinCapacity(
  bundle: Bundle,
  { ids, vectors }: VectorRows,
  codes: Uint16Array,
  options: CollisionOptions,
): { readonly bundle: Bundle; readonly codes: Uint16Array; readonly collisions: CollisionReport } {
  const { codebooks, settings, network, origin } = bundle
  const walked = network === undefined ? vectors : throughNetwork(network, vectors)
  const { codes: within, moved, report } = resolveCollisions({ codes, vectors: walked, codebooks, settings, ids }, options)
  return {
    bundle: bundleOf({
      ...bundle,
      collisions: { ...collisionDefaults, ...options },
      moves: Moves.of(moved, ids, vectors),
      origin: { ...origin, policy: { ...origin.policy, collisions: report } },
    }),
    codes: within,
    collisions: report,
  }
}
