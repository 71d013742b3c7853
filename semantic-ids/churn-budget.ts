/** How much a refresh may change, and whether it did. */

import { SidestreamError } from '../schemas/index.ts'
import type { ChurnReport } from './churn.ts'

/** Most churn among the items that had an ID; shares, 0 to 1. Every bound that is given holds. */
export interface ChurnBudget {
  /** Any code differs. 0: no ID changes. 1: no bound. */
  readonly full: number
  /** The first code differs. @default no bound */
  readonly firstCode?: number
  /** `prefix[l]`: any of the first l + 1 codes differs; null for no bound. @default no bounds */
  readonly prefix?: readonly (number | null)[]
  /** `perLevel[l]`: code l + 1 differs, whatever the others do; null for no bound. @default no bounds */
  readonly perLevel?: readonly (number | null)[]
  /** Any code differs, weighted by traffic. @default no bound */
  readonly trafficWeighted?: number
}

/**
 * @param traffic - of the items that had an ID
 * @throws SIDESTREAM_USAGE_INVALID naming the bound that is none, or that has nothing to bound
 */
export function checkBudget(budget: ChurnBudget, levels: number, traffic: Float64Array | undefined): void {
  for (const [name, bound] of Object.entries(budget) as [string, number | readonly (number | null)[] | undefined][]) {
    const shares = Array.isArray(bound) ? bound : [bound]
    if (Array.isArray(bound) && bound.length > levels)
      throw invalid(`churn budget ${name} has ${bound.length} bounds, but an ID has ${levels} codes`)
    for (const share of shares as (number | null | undefined)[]) {
      if (share !== null && share !== undefined && !(share >= 0 && share <= 1))
        throw invalid(`churn budget ${name} must be a share of 0 to 1, got ${share}`)
    }
  }
  if (!(budget.full >= 0)) throw invalid(`churn budget full must be a share of 0 to 1, got ${budget.full}`)
  if (budget.trafficWeighted === undefined) return
  if (traffic === undefined) throw invalid('a traffic-weighted churn budget needs a weight per item')
  if (traffic.every((weight) => weight === 0))
    throw invalid(
      'a traffic-weighted churn budget bounds nothing: no item that had an ID has traffic; give traffic of a time when it was there, or leave that bound out',
    )
}

/** Whether every bound holds. */
export function isWithin(report: Omit<ChurnReport, 'items' | 'meanCommonPrefix'>, budget: ChurnBudget): boolean {
  const { full, firstCode = 1, prefix = [], perLevel = [], trafficWeighted = 1 } = budget
  return (
    report.full <= full &&
    report.firstCode <= firstCode &&
    prefix.every((bound, level) => report.prefix[level]! <= (bound ?? 1)) &&
    perLevel.every((bound, level) => report.perLevel[level]! <= (bound ?? 1)) &&
    (report.trafficWeighted ?? 0) <= trafficWeighted
  )
}

/** The bounds in words, for a message. */
export function budgetText({ full, firstCode, prefix, perLevel, trafficWeighted }: ChurnBudget): string {
  const list = (bounds: readonly (number | null)[]): string => bounds.map((bound) => bound ?? 'any').join(', ')
  return [
    `${full}`,
    ...(firstCode === undefined ? [] : [`${firstCode} of first codes`]),
    ...(prefix === undefined ? [] : [`[${list(prefix)}] of prefixes`]),
    ...(perLevel === undefined ? [] : [`[${list(perLevel)}] per level`]),
    ...(trafficWeighted === undefined ? [] : [`${trafficWeighted} of traffic`]),
  ].join(', ')
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
