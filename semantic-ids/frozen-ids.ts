/** Whether a refresh froze all IDs for the sake of codes that nothing else keeps. */

import { isWithin, type ChurnBudget } from './churn-budget.ts'
import type { Codebooks } from './codebooks.ts'
import type { CurvePoint } from './refresh-search.ts'

/**
 * Whether only an infinite switching cost kept the budget, and only because of bounds that count the code of the finite-scalar level, none
 * of them 0: that code follows from what the others leave. Bounds on the codes before it would have let the codebooks move.
 * @param curve - every switching cost tried
 */
export function frozenByFsq({ fsq, sizes }: Codebooks, budget: ChurnBudget, curve: readonly CurvePoint[]): boolean {
  if (fsq === undefined || asksToFreeze(budget, sizes.length - 1)) return false
  const finite = curve.filter(({ delta }) => delta !== Infinity)
  const before = withoutLast(budget, sizes.length - 1)
  return !finite.some(({ within }) => within) && finite.some((point) => isWithin({ ...point, full: point.churn }, before))
}

function asksToFreeze({ full, trafficWeighted = 1, prefix, perLevel }: ChurnBudget, last: number): boolean {
  return Math.min(full, trafficWeighted, prefix?.[last] ?? 1, perLevel?.[last] ?? 1) === 0
}

/** The bounds that do not count the last code. */
function withoutLast({ firstCode = 1, prefix = [], perLevel = [] }: ChurnBudget, last: number): ChurnBudget {
  return { full: 1, firstCode, prefix: prefix.slice(0, last), perLevel: perLevel.slice(0, last) }
}
