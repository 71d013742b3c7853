/**
 * What guard and gate said of a candidate, as a section of a report.
 * Invariant: every clause stands in the table, whatever its verdict.
 */

import { dotChart } from '../replay/index.ts'
import type { Block, Section } from '../replay/index.ts'
import type { PipelineJudgement } from '../pipeline/index.ts'
import { clauseNames, guardText, signedText } from './demo/report-text.ts'

const verdictWords = { pass: 'pass', fail: 'FAIL', insufficient: 'too few to judge', reported: 'reported only' } as const

/** The section of a report about guard and gate; null: nothing was judged. */
export async function guardSection(judgement: PipelineJudgement | null): Promise<Section> {
  const title = 'What the guard said'
  if (judgement === null) return { title, blocks: [{ kind: 'text', text: guardText(judgement) }] }
  const { clauses } = judgement
  const against = { raw: 'raw content', live: 'live version', threshold: 'threshold' } as const
  const points = (value: number): number => Math.round(value * 1e4) / 100
  const drawn = clauses.filter(({ difference, low, high }) => difference !== null && low !== null && high !== null)
  const blocks: Block[] = [{ kind: 'note', tone: verdictTone(judgement), text: guardText(judgement) }]
  if (drawn.length > 0) {
    const svg = await dotChart({
      title: 'Candidate minus reference, with 95 % intervals',
      description: drawn.map(({ name, difference }) => `${clauseNames[name] ?? name} ${signedText(difference)}`).join(', '),
      width: 760,
      height: 110 + 48 * drawn.length,
      x: { name: 'difference, percentage points' },
      rows: drawn.map(({ name, against: other }) => `${clauseNames[name] ?? name}, vs ${other}`),
      series: [
        {
          name: 'difference',
          values: drawn.map(({ difference }) => points(difference!)),
          intervals: drawn.map(({ low, high }) => [points(low!), points(high!)] as const),
          labels: drawn.map(() => ''),
        },
        { name: 'most loss that is borne', values: drawn.map(({ tolerance }) => (tolerance === null ? null : points(-tolerance))) },
      ],
      references: [{ name: 'no difference', value: 0 }],
    })
    blocks.push({
      kind: 'charts',
      charts: [
        {
          svg,
          caption:
            'What to see: right of the line is better. A clause fails when its dot lies left of the square and its whole interval left of the line.',
        },
      ],
    })
  }
  blocks.push({
    kind: 'table',
    columns: ['clause', 'held against', 'reference', 'candidate', 'difference (95 % interval)', 'tolerance', 'counted', 'verdict'],
    decimals: [null, null, 3, 3, null, 3, 0, null],
    rows: clauses.map((clause) => [
      clauseNames[clause.name] ?? clause.name,
      against[clause.against],
      clause.reference,
      clause.candidate,
      clause.low === null
        ? signedText(clause.difference)
        : `${signedText(clause.difference)} (${signedText(clause.low)} to ${signedText(clause.high)})`,
      clause.tolerance,
      clause.events,
      verdictWords[clause.verdict],
    ]),
  })
  blocks.push({
    kind: 'text',
    text: 'Counted: events, queries for content pairs, or items for content neighbors. A clause with too few says so and does not count; uniform AUC is reported only.',
  })
  return { title, blocks }
}

export function verdictTone({ verdict }: PipelineJudgement): 'good' | 'bad' {
  return verdict === 'pass' ? 'good' : 'bad'
}
