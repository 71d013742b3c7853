/**
 * Heads between two checkpoints, and what each gives and costs: content against collaboration, as a curve for the report.
 * Invariant: heads are only mixed when every number of them means the same, so when spec and input statistics are equal;
 * the ends of the curve are the two heads themselves, bit for bit.
 */
import { tensor } from '../compute/index.ts'
import type { Tensor } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { requireHead } from './head.ts'
import type { Head } from './head.ts'
import type { Judgement } from './judge.ts'

/**
 * The head with parameters (1 - k) a + k b.
 * @param k - from 0 (a) to 1 (b)
 * @throws SIDESTREAM_USAGE_INVALID when k is outside, or spec or statistics differ
 */
export function interpolateHeads(a: Head, b: Head, k: number): Head {
  if (!(k >= 0 && k <= 1)) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `k must be from 0 to 1, not ${k}`)
  requireAlike(a, b)
  const parameters = new Map<string, Tensor<'float32'>>()
  for (const [name, { dims, data }] of a.parameters) {
    const other = b.parameters.get(name)!.data
    // Not by the formula at the ends: 0 x infinity is no number.
    const mixed = k === 0 ? data.slice() : k === 1 ? other.slice() : data.map((value, i) => (1 - k) * value + k * other[i]!)
    parameters.set(name, tensor('float32', dims, mixed))
  }
  return requireHead({ spec: a.spec, statistics: a.statistics, parameters })
}

/** What a sweep asks of each head. Higher is better; null = could not be measured. */
export interface TradeFigures {
  /** How much of the content geometry is kept. */
  readonly content: number | null
  /** How well it tells what users do next. */
  readonly collaborative: number | null
  /** The same of cold items. */
  readonly cold: number | null
  /** Whether guard and gate let it through. */
  readonly passes: boolean
}

export interface ParetoPoint extends TradeFigures {
  readonly k: number
  /** No other point is as good in all three figures and better in one. */
  readonly optimal: boolean
}

export interface ParetoCurve {
  /** In the order of the steps. */
  readonly points: readonly ParetoPoint[]
  /** Step with the best collaborative figure among those that pass, equal ones by content, then smaller; null: none passes. */
  readonly chosen: number | null
}

/** Steps of k that a sweep takes when none are given: 0, 0.1, … 1. */
export const paretoSteps: readonly number[] = Array.from({ length: 11 }, (_, i) => i / 10)

/**
 * Evaluates heads between `a` (say, before the collaborative stage) and `b` (after it), one after the other.
 * @param evaluate - gives the figures of one head, on the same events every time
 * @throws as `interpolateHeads`
 */
export async function paretoSweep(
  a: Head,
  b: Head,
  evaluate: (head: Head, k: number) => Promise<TradeFigures> | TradeFigures,
  steps: readonly number[] = paretoSteps,
): Promise<ParetoCurve> {
  const found: (TradeFigures & { readonly k: number })[] = []
  for (const k of steps) {
    const { content, collaborative, cold, passes } = await evaluate(interpolateHeads(a, b, k), k)
    found.push({ k, content, collaborative, cold, passes })
  }
  const points = found.map((point) => ({ ...point, optimal: !found.some((other) => dominates(other, point)) }))
  const passing = points.filter(({ passes }) => passes)
  passing.sort((p, q) => descending(p.collaborative, q.collaborative) || descending(p.content, q.content) || p.k - q.k)
  return { points, chosen: passing[0]?.k ?? null }
}

/**
 * The figures of a judged head: recall@50 of held-out pairs (without them, of raw neighbors), and popularity AUC of warm
 * and cold items.
 */
export function tradeFigures({ verdict, metrics: { candidate } }: Judgement): TradeFigures {
  const content = candidate.pairRecall50 ?? candidate.neighborRecall ?? null
  return { content, collaborative: candidate.warmPop, cold: candidate.coldPop, passes: verdict === 'pass' }
}

const figureNames = ['content', 'collaborative', 'cold'] as const

function dominates(one: TradeFigures, other: TradeFigures): boolean {
  const orders = figureNames.map((name) => descending(one[name], other[name]))
  return orders.every((order) => order <= 0) && orders.some((order) => order < 0)
}

/** Below 0 when `a` is better; what could not be measured is worst. */
function descending(a: number | null, b: number | null): number {
  const [left, right] = [a ?? -Infinity, b ?? -Infinity]
  return left === right ? 0 : left > right ? -1 : 1
}

function requireAlike(a: Head, b: Head): void {
  for (const name of Object.keys({ ...a.spec, ...b.spec }) as (keyof Head['spec'])[]) {
    const [left, right] = [JSON.stringify(a.spec[name]), JSON.stringify(b.spec[name])]
    if (left !== right) throw unlike(`${name} is ${left} in one and ${right} in the other`)
  }
  a.statistics.forEach((statistics, m) => {
    const other = b.statistics[m]!
    for (const part of ['mean', 'axes', 'sd'] as const) {
      if (statistics[part].some((value, i) => value !== other[part][i])) {
        throw unlike(`the input statistics of ${statistics.name} differ (${part})`)
      }
    }
  })
}

function unlike(what: string): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `these heads cannot be mixed: ${what}; take two checkpoints of one training, without a re-base between them`,
  )
}
