/** The demo in two dozen lines of plain text. Invariant: every figure is of the report; one that is missing is a dash or a sentence that says so. */

import { formatNumber } from '../../replay/index.ts'
import { textTable } from '../output.ts'
import type { DemoReport, QualityRow } from './demo-report.ts'
import {
  churnText,
  countText,
  durationText,
  guardText,
  lossText,
  percentText,
  pointerMoves,
  pointerText,
  qualityText,
  timeText,
} from './report-text.ts'

/** Text for people who do not know the field; where the page is, the caller says. */
export function demoSummary(report: DemoReport): string {
  const parts = [
    [`${report.title}: ${report.source}, seed ${report.seed}, ${durationText(1000 * report.seconds)}`],
    cameIn(report),
    ['What was learned (loss: how badly the item liked next stands out from others; lower is better)', `  ${lossText(report)}`],
    ranking(report),
    fresh(report),
    versions(report),
  ]
  return parts.map((lines) => lines.join('\n')).join('\n\n')
}

function cameIn({ counts, from, until }: DemoReport): string[] {
  const { interactions, contents, idEmbeddings, samples, deadLetters, late } = counts
  return [
    'What came in',
    `  ${countText(interactions, 'interaction')}, ${countText(contents, 'item content')}, ${countText(idEmbeddings, 'ID embedding')}; ${timeText(from)} to ${timeText(until)}.`,
    `  They made ${countText(samples, 'training sample')}; ${countText(deadLetters, 'unreadable record')} set aside, ${formatNumber(late)} too late for their round.`,
  ]
}

function ranking({ quality, judgement }: DemoReport): string[] {
  const title = 'Do the published vectors rank higher what users liked next?'
  if (quality.length === 0) return [title, '  Not judged: there were no events after the training to judge by.']
  const cells = (row: QualityRow): string[] => [
    row.name,
    percentText(row.allRecall10),
    percentText(row.coldRecall10),
    percentText(row.allPop),
    percentText(row.coldPop),
  ]
  const table = textTable(['', 'recall@10', 'cold items', 'popularity AUC', 'cold items'], quality.map(cells))
  const lines = [...table.split('\n'), ...meanings(judgement), ...qualityText(quality)]
  if (judgement) lines.push(guardText(judgement))
  return [title, ...lines.map((line) => `  ${line}`)]
}

function meanings(judgement: DemoReport['judgement']): string[] {
  const lines = [
    'recall@10: how often the item liked next is among the ten ranked first of all live items.',
    'Popularity AUC: how often it ranks above an item drawn by popularity; 50 % is guessing.',
  ]
  if (judgement) {
    const { events, window } = judgement
    lines.push(
      `Judged on ${countText(events, 'event')} of the ${durationText(window.until - window.from)} after the training, which it never saw.`,
    )
  }
  return lines
}

function fresh({ freshness: { count, p50Ms, p99Ms, maxMs } }: DemoReport): string[] {
  if (count === 0) return ['How fresh', '  Nothing was measured.']
  return [
    'How fresh (from arrival in the log to readable features)',
    `  Half of ${countText(count, 'item change')} within ${durationText(p50Ms)}, 99 of 100 within ${durationText(p99Ms)}, the slowest in ${durationText(maxMs)}.`,
  ]
}

function versions({ versions: built, change, history }: DemoReport): string[] {
  const lines = built.map(
    ({ version, items, buildMs, uniqueRate }) =>
      `Version ${version}: ${countText(items, 'item')}, live after ${durationText(buildMs)}; ${formatNumber(100 * uniqueRate, 1)} distinct semantic IDs per 100 items.`,
  )
  if (built.length === 0) lines.push('No version was published.')
  const churn = churnText(change)
  if (churn) lines.push(`From version to version, ${churn}`)
  if (history.length > 0)
    lines.push(
      `Readers saw: ${pointerMoves(history)
        .map(({ text }) => text)
        .join(', ')}.`,
      pointerText(history),
    )
  return ['What was published', ...lines.map((line) => `  ${line}`)]
}
