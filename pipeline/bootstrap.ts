/**
 * When version 1 may be built, decided by event times of item-content alone.
 * Invariant: the cut is the same whatever the partitions and the speed of arrival.
 */

import type { Config } from '../schemas/index.ts'
import { firstContentTimes } from './content-state.ts'
import type { OwnerLanes } from './owner-lanes.ts'

/**
 * End of the first round that may found version 1: enough items for the first codebooks are known, or `bootstrapMs` passed
 * since the first item (with at least one item per code of the largest level), or content has ended.
 * @returns event time, exclusive; undefined while none is complete
 */
export function bootstrapCut(lanes: OwnerLanes, config: Config): number | undefined {
  const { clock } = lanes
  const largest = Math.max(...config.semanticIds.levels)
  const times = firstContentTimes(lanes.state)
  const roundEnd = (ts: number | undefined): number => (ts === undefined ? Infinity : clock.endOf(clock.roundOf(ts)))
  const enough = roundEnd(times[config.semanticIds.rowsPerCode * largest - 1])
  const fewest = times[largest - 1]
  const waited = fewest === undefined ? Infinity : roundEnd(Math.max(times[0]! + config.refresh.bootstrapMs, fewest))
  const ended = lanes.contentEnded && times.length > 0 ? roundEnd(lanes.newestContentTs) : Infinity
  const cut = Math.min(enough, waited, ended)
  return cut <= lanes.contentWatermark && cut !== Infinity ? cut : undefined
}
