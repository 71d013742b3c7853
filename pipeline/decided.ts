/**
 * What the control log says was decided, as an owner's own state has to reflect it. A state that was kept on this machine knows
 * it; that of a machine which takes over does not, or only up to where it stopped.
 */

import type { ControlLog } from './control.ts'
import { positionName } from './positions.ts'

export interface Decided {
  /** Last round that was cut; -Infinity before the first. */
  readonly closed: number
  /** Last round whose training is done; -Infinity before the first. */
  readonly trained: number
  /** What decisions were made on: the state must hold the records below, by position name. */
  readonly positions: ReadonlyMap<string, bigint>
}

/** Of a project without any decision. */
export const undecided: Decided = { closed: -Infinity, trained: -Infinity, positions: new Map() }

/** The sum of all decisions in the log. */
export function decidedIn(control: ControlLog): Decided {
  const cuts = control.all('cut')
  const positions = new Map<string, bigint>()
  for (const { body } of [...cuts.slice(-1), ...control.all('build').slice(-1)]) {
    for (const { topic, partition, next } of body.positions) {
      const name = positionName(topic, partition)
      const known = positions.get(name) ?? 0n
      positions.set(name, BigInt(next) > known ? BigInt(next) : known)
    }
  }
  const last = (rounds: readonly number[]): number => Math.max(-Infinity, ...rounds)
  return {
    closed: last(cuts.map(({ body }) => body.round)),
    trained: last(control.all('trained').map(({ body }) => body.round)),
    positions,
  }
}
