/**
 * What a demo report says, in words and figures for people: shared by the page and the summary.
 * Invariant: a sentence says better, worse or equal as its own rounded figures do.
 */
import { formatNumber } from '../../replay/index.ts'
import type { DemoReport, QualityRow } from './demo-report.ts'

/** `1 item`, `1,204 items`. */
export function countText(count: number, one: string, many = `${one}s`): string {
  return `${formatNumber(count)} ${count === 1 ? one : many}`
}

/** A share of 0 to 1 as `12.3 %`; null gives a dash. */
export function percentText(share: number | null, decimals = 1): string {
  return share === null || !Number.isFinite(share) ? '–' : `${formatNumber(100 * share, decimals)} %`
}

/** `0.4 ms`, `38 ms`, `1.2 s`, `3 min 20 s`. */
export function durationText(ms: number): string {
  if (!Number.isFinite(ms)) return '–'
  if (ms < 9.95) return `${formatNumber(ms, 1)} ms`
  if (ms < 999.5) return `${formatNumber(ms, 0)} ms`
  if (ms < 9_950) return `${formatNumber(ms / 1000, 1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return minutes < 120 ? `${minutes} min` : `${formatNumber(Math.round(seconds / 360) / 10)} h`
}

/** `5 Jan 2026 00:00 UTC`. */
export function timeText(ts: number): string {
  const date = new Date(ts)
  if (Number.isNaN(date.getTime())) return '–'
  const [, day, month, year, clock] = /^\w+, (\d+) (\w+) (\d+) (\d+:\d+)/.exec(date.toUTCString()) ?? []
  return `${Number(day)} ${month} ${year} ${clock} UTC`
}

/** A semantic ID as its codes, `12-40-7`. */
export function sidText(sid: readonly number[]): string {
  return sid.join('-')
}

/** `+0.028`, `−0.003`; null gives a dash. */
export function signedText(value: number | null, decimals = 3): string {
  const text = formatNumber(value, decimals)
  return value !== null && value > 0 && /[1-9]/.test(text) ? `+${text}` : text
}

/** How a share moved: `rose from 8.2 % to 12.4 %`, in one decimal; undefined when either is missing. */
export function moveText(from: number | null | undefined, to: number | null | undefined): string | undefined {
  if (from === null || from === undefined || to === null || to === undefined) return undefined
  const [a, b] = [percentText(from), percentText(to)]
  if (a === b) return `stayed at ${b}`
  const ratio = from > 0 && to / from >= 1.15 ? ` (${formatNumber(to / from, 1)} times as often)` : ''
  return `${to > from ? 'rose' : 'fell'} from ${a} to ${b}${ratio}`
}

/** How recall@10 and popularity AUC moved from raw content to the newest version, over all and over cold items. */
export function qualityText(quality: readonly QualityRow[]): string[] {
  const { raw, newest } = comparedRows(quality)
  if (raw === undefined || newest === undefined) return []
  const sentence = (start: string, recall: string | undefined, auc: string | undefined): string[] => {
    const moves = [recall && `recall@10 ${recall}`, auc && `popularity AUC ${auc}`].filter(Boolean)
    return moves.length === 0 ? [] : [`${start}, ${moves.join(', ')}.`]
  }
  return [
    ...sentence(`From ${raw.name} to ${newest.name}`, moveText(raw.allRecall10, newest.allRecall10), moveText(raw.allPop, newest.allPop)),
    ...sentence(
      'For cold items, which nobody had used before',
      moveText(raw.coldRecall10, newest.coldRecall10),
      moveText(raw.coldPop, newest.coldPop),
    ),
  ]
}

/** Mean loss of the first and last twentieth of all steps, at most 50 each: one step alone is noise. */
export function lossEnds(losses: readonly number[]): { readonly first: number; readonly last: number; readonly over: number } | undefined {
  const known = losses.filter((loss) => Number.isFinite(loss))
  if (known.length < 2) return undefined
  const over = Math.max(1, Math.min(50, Math.floor(known.length / 20)))
  return { first: mean(known.slice(0, over)), last: mean(known.slice(-over)), over }
}

/** What was learned, in a sentence. */
export function lossText({ losses, smallSteps }: { readonly losses: readonly number[]; readonly smallSteps: number }): string {
  const ends = lossEnds(losses)
  if (ends === undefined) return losses.length === 0 ? 'Nothing was trained.' : 'One step was trained: too few to see a trend.'
  const [first, last] = [formatNumber(ends.first, 2), formatNumber(ends.last, 2)]
  const leftOut =
    smallSteps === 0
      ? ''
      : ` ${countText(smallSteps, 'step')} on small batches left out: among fewer items the one liked next stands out more easily.`
  const move = first === last ? `stayed at ${last}` : `${ends.last < ends.first ? 'fell' : 'rose'} from ${first} to ${last}`
  return `Training loss ${move} over ${countText(losses.length, 'step')} (means of ${ends.over === 1 ? 'the first and the last step' : `the first and the last ${ends.over}`}).${leftOut}`
}

/** Raw content and the newest version of the quality rows; undefined where there is none. */
export function comparedRows(quality: readonly QualityRow[]): {
  readonly raw: QualityRow | undefined
  readonly newest: QualityRow | undefined
} {
  const raw = quality.find(({ name }) => name.startsWith('raw'))
  const newest = quality.findLast((row) => row !== raw)
  return { raw, newest }
}

/** Moves of the live pointer in words, oldest first. */
export function pointerMoves(history: DemoReport['history']): readonly { readonly version: number; readonly text: string }[] {
  const seen = new Set<number>()
  return history.map(({ version, action }) => {
    const known = seen.has(version)
    seen.add(version)
    if (action === 'rollback') return { version, text: `back to version ${version}` }
    return { version, text: known ? `forward to version ${version}` : `version ${version} live` }
  })
}

/** Whether the live pointer was taken back, and forward again after that. */
export function pointerText(history: DemoReport['history']): string {
  const back = history.findIndex(({ action }) => action === 'rollback')
  if (back < 0) return 'No rollback was tried.'
  const left = history[back - 1]?.version
  const forward = history.slice(back + 1).find(({ version }) => version === left)
  const from = left === undefined ? '' : ` from version ${left}`
  if (forward === undefined) return `Rollback worked${from} to version ${history[back]!.version}; nothing was brought forward after that.`
  return `Rollback (${left} to ${history[back]!.version}) and forward (to ${forward.version}) worked: each moves one pointer, and no feature is written again.`
}

/** Whether semantic IDs kept within the budget; undefined when nothing is compared. */
export function churnText({ items, churn, churnBudget }: DemoReport['change']): string | undefined {
  if (items === 0) return undefined
  const changed = `${percentText(churn)} of the ${countText(items, 'item')} that both hold got another semantic ID`
  return `${changed}; the churn budget allows ${percentText(churnBudget)}${churn <= churnBudget ? '' : ': EXCEEDED'}.`
}

/** The guard's word in a sentence. */
export function guardText(judgement: DemoReport['judgement']): string {
  if (judgement === null) return 'Nothing was judged.'
  const clauses = judgement.clauses.filter(({ verdict }) => verdict === 'pass' || verdict === 'fail')
  const failed = clauses.filter(({ verdict }) => verdict === 'fail')
  const unjudged = judgement.clauses.filter(({ verdict }) => verdict === 'insufficient').length
  const rest = unjudged === 0 ? '' : ` ${countText(unjudged, 'clause')} had too few events to be judged.`
  if (judgement.verdict === 'refused') {
    const bounds = judgement.gate.filter(({ verdict }) => verdict === 'fail').map(({ figure, rule }) => `gate.${figure}.${rule}`)
    const lost = failed.length === 0 ? [] : [`${failed.map(({ name }) => clauseNames[name] ?? name).join(', ')} lost more than is borne`]
    const outside = bounds.length === 0 ? [] : [`outside ${bounds.join(', ')}`]
    return `The guard refused the candidate: ${[...lost, ...outside].join('; ')}.${rest}`
  }
  return `The guard passed the candidate: ${clauses.length === 0 ? 'no clause failed' : `none of ${countText(clauses.length, 'judged clause')} lost more than is borne`}.${rest}`
}

/** Guard clauses as people read them. */
export const clauseNames: Readonly<Record<string, string>> = {
  'finite-vectors': 'finite vectors',
  'content-pair-recall-50': 'recall@50, content pairs',
  'content-neighbor-recall': 'content neighbors kept',
  'warm-popularity-auc': 'popularity AUC, warm',
  'warm-recall-10': 'recall@10, warm',
  'cold-popularity-auc': 'popularity AUC, cold',
  'cold-recall-10': 'recall@10, cold',
  'warm-uniform-auc': 'uniform AUC, warm',
  'cold-uniform-auc': 'uniform AUC, cold',
}

/** Centered moving mean, as many values as given; `span` values wide, less at the ends. */
export function smooth(values: readonly number[], span: number): number[] {
  const reach = Math.floor(span / 2)
  const sums = new Float64Array(values.length + 1)
  values.forEach((value, i) => (sums[i + 1] = sums[i]! + value))
  return values.map((_, i) => {
    const [from, to] = [Math.max(0, i - reach), Math.min(values.length, i + reach + 1)]
    return (sums[to]! - sums[from]!) / (to - from)
  })
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
