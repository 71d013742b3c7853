/**
 * The demo's page: what a run found out, in pictures, as one HTML file.
 * Invariant: the page is a function of the report; a part without data says so in a sentence and draws nothing.
 */

import { barChart, dotChart, formatNumber, htmlPage, laneChart, lineChart } from '../../replay/index.ts'
import type { Block, Figure, Section } from '../../replay/index.ts'
import type { DemoReport } from './demo-report.ts'
import { guardSection, verdictTone } from '../guard-section.ts'
import { glossary } from './glossary.ts'
import { changeSection, codeSection, freshnessSection } from './page-features.ts'
import {
  comparedRows,
  countText,
  durationText,
  guardText,
  lossEnds,
  lossText,
  percentText,
  pointerMoves,
  pointerText,
  qualityText,
  sidText,
  smooth,
  timeText,
} from './report-text.ts'

/** HTML of a report: one file that loads nothing and runs nothing. */
export async function demoPage(report: DemoReport): Promise<string> {
  const { source, seed, counts, from, until } = report
  const sections = await Promise.all([
    shortSection(report),
    trainingSection(report),
    qualitySection(report),
    guardSection(report.judgement),
    freshnessSection(report),
    codeSection(report),
    changeSection(report),
    pointerSection(report),
    exampleSection(report),
    wordSection(),
  ])
  return htmlPage({
    title: report.title,
    summary: `${countText(counts.interactions, 'interaction')} with items (${source}; ${timeText(from)} to ${timeText(until)}) streamed through sidestream: what it learned, what it published and how good that is.`,
    sections,
    footer: `Source: ${source}. Seed ${seed}. The run took ${durationText(1000 * report.seconds)}. Times are UTC.`,
  })
}

function shortSection(report: DemoReport): Section {
  const { counts, versions, freshness, change, quality } = report
  const { raw, newest } = comparedRows(quality)
  const ends = lossEnds(report.losses)
  const figures: Figure[] = []
  const against = (value: number | null | undefined, what: string): string =>
    value === null || value === undefined ? what : `${what}; raw content: ${percentText(value)}`
  if (newest) {
    figures.push(
      { label: 'recall@10, all items', value: percentText(newest.allRecall10), note: against(raw?.allRecall10, newest.name) },
      { label: 'recall@10, cold items', value: percentText(newest.coldRecall10), note: against(raw?.coldRecall10, newest.name) },
      {
        label: 'popularity AUC, all items',
        value: percentText(newest.allPop),
        note: `${against(raw?.allPop, newest.name)}; guessing: 50 %`,
      },
    )
  }
  if (ends)
    figures.push({
      label: 'training loss',
      value: formatNumber(ends.last, 2),
      note: `at the end; ${formatNumber(ends.first, 2)} at the start`,
    })
  if (freshness.count > 0) {
    figures.push({
      label: 'freshness, p99',
      value: durationText(freshness.p99Ms),
      note: `half of all within ${durationText(freshness.p50Ms)}`,
    })
  }
  if (change.items > 0) {
    figures.push({
      label: 'semantic IDs changed',
      value: percentText(change.churn),
      note: `the budget allows ${percentText(change.churnBudget)}`,
    })
  }
  const verdict = report.judgement && {
    kind: 'note' as const,
    tone: verdictTone(report.judgement),
    text: guardText(report.judgement),
  }
  const blocks: Block[] = [
    ...(figures.length > 0 ? [{ kind: 'figures' as const, figures }] : []),
    ...(verdict ? [verdict] : []),
    ...qualityText(quality).map(text),
    {
      kind: 'table',
      caption: 'What came in',
      columns: ['interactions', 'item contents', 'ID embeddings', 'training samples', 'unreadable records', 'late samples'],
      rows: [[counts.interactions, counts.contents, counts.idEmbeddings, counts.samples, counts.deadLetters, counts.late]],
    },
    versions.length === 0
      ? text('No version was published.')
      : {
          kind: 'table',
          caption: 'What was published',
          columns: ['version', 'reason', 'items', 'built in', 'distinct semantic IDs per 100', 'unexplained (FVU)', 'digest'],
          rows: versions.map(({ version, reason, items, buildMs, uniqueRate, fvu, digest }) => [
            `version ${version}`,
            reason,
            items,
            durationText(buildMs),
            formatNumber(100 * uniqueRate, 1),
            percentText(fvu),
            digest.slice(0, 12),
          ]),
        },
  ]
  return { title: 'In short', blocks }
}

async function trainingSection({ losses, smallSteps, rounds }: DemoReport): Promise<Section> {
  const said = lossText({ losses, smallSteps })
  const blocks: Block[] = [text(said)]
  const charts = []
  if (losses.length > 1) {
    const span = losses.length > 80 ? Math.ceil(losses.length / 40) : 1
    const points = (values: readonly number[]): (readonly [number, number])[] => values.map((loss, i) => [i + 1, loss])
    const series =
      span === 1
        ? [{ name: 'loss', points: points(losses) }]
        : [
            { name: `mean of ${span} steps`, points: points(smooth(losses, span)) },
            { name: 'each step', points: points(losses), faint: true },
          ]
    charts.push({
      svg: await lineChart({
        title: smallSteps === 0 ? 'Loss of every training step' : 'Loss of training steps',
        description: said,
        x: { name: 'training step', min: 0, max: losses.length },
        y: { name: 'loss' },
        series,
      }),
      caption: 'What to see: the line goes down while the head learns which items the same people like; the axis need not begin at 0.',
    })
  }
  const trained = rounds.filter(({ loss }) => loss !== null).length
  if (rounds.length > 1) {
    charts.push({
      svg: await barChart({
        title: 'Samples of every round',
        description: `Samples per round, ${countText(rounds.length, 'round')}.`,
        categories: rounds.map((_, i) => String(i + 1)),
        y: { name: 'samples', min: 0 },
        series: [{ name: 'samples', values: rounds.map(({ rows }) => rows) }],
      }),
      caption: `What to see: how much each stretch of event time gave to learn from, first round left; ${trained} of ${rounds.length} rounds were trained.`,
    })
  }
  if (charts.length > 0) blocks.push({ kind: 'charts', charts })
  return { title: 'What was learned', blocks }
}

async function qualitySection({ quality, judgement }: DemoReport): Promise<Section> {
  const title = 'Ranking quality'
  if (quality.length === 0) return { title, blocks: [text('There were no events to judge by.')] }
  const slices = ['all items', 'warm items', 'cold items']
  const recalls = quality.map((row) => ({ name: row.name, values: [row.allRecall10, row.warmRecall10, row.coldRecall10] }))
  const aucs = quality.map((row) => ({ name: row.name, values: [row.allPop, row.warmPop, row.coldPop] }))
  const percent = (values: readonly (number | null)[]): (number | null)[] =>
    values.map((value) => (value === null ? null : Math.round(value * 1000) / 10))
  const recallSvg = await barChart({
    title: 'Next likes found among the first ten',
    description: spoken('recall@10', recalls),
    categories: slices,
    y: { name: 'recall@10, %', min: 0 },
    series: recalls.map(({ name, values }) => ({ name, values: percent(values) })),
  })
  const aucSvg = await dotChart({
    title: 'Liked items against popular ones',
    description: spoken('popularity AUC', aucs),
    x: { name: 'popularity AUC, %' },
    rows: slices,
    series: aucs.map(({ name, values }) => ({ name, values: percent(values), labels: values.map((value) => percentText(value)) })),
    references: [{ name: 'guessing', value: 50 }],
  })
  const judged = judgement
    ? ` Judged on ${countText(judgement.events, 'event')} between ${timeText(judgement.window.from)} and ${timeText(judgement.window.until)}, after everything that the candidate was trained on.`
    : ''
  const blocks: Block[] = [
    text(
      `A user is the mean of the vectors of what they liked last; all live items are ranked by likeness to it, with each set of vectors on the same events.${judged}`,
    ),
    {
      kind: 'charts',
      charts: [
        { svg: recallSvg, caption: 'What to see: a higher bar means that the item liked next was more often among the first ten.' },
        { svg: aucSvg, caption: 'What to see: farther right is better, the dashed line is guessing; the axis does not begin at 0.' },
      ],
    },
  ]
  return { title, blocks }
}

async function pointerSection({ history }: DemoReport): Promise<Section> {
  const title = 'Which version readers saw'
  if (history.length === 0) return { title, blocks: [text('No version was ever live.')] }
  const versions = [...new Set(history.map(({ version }) => version))].sort((a, b) => b - a)
  const moves = pointerMoves(history)
  const svg = await laneChart({
    title: 'The live pointer, move after move',
    description: moves.map((move) => move.text).join(', '),
    width: 760,
    height: 100 + 56 * versions.length,
    lanes: versions.map((version) => `version ${version}`),
    steps: moves.map((move, i) => ({ name: `${i + 1}: ${move.text}`, lane: versions.indexOf(move.version) })),
  })
  const caption = 'What to see: at each moment one version is live. Steps are moves in order, not lengths of time.'
  return { title, blocks: [text(pointerText(history)), { kind: 'charts', charts: [{ svg, caption }] }] }
}

function exampleSection({ examples }: DemoReport): Section {
  const title = 'Items as a reader gets them'
  if (examples.length === 0) return { title, blocks: [text('No item was looked at.')] }
  const rows = examples.flatMap(({ item, cold, sid, labels, neighbors }): (string | number | null)[][] => {
    const head = [item, cold ? 'cold' : 'warm', sidText(sid), labels.join(', ')]
    if (neighbors.length === 0) return [[...head, 'none', null, '']]
    return neighbors.map((near, i) => [...(i === 0 ? head : ['', '', '', '']), near.item, near.cosine, near.labels.join(', ')])
  })
  return {
    title,
    blocks: [
      text(
        'Nearest neighbors are the items whose published vectors point the same way. Labels take no part in training: neighbors that share them show what the content vectors hold.',
      ),
      {
        kind: 'table',
        columns: ['item', 'kind', 'semantic ID', 'labels', 'nearest items', 'cosine', 'their labels'],
        decimals: [null, null, null, null, null, 3, null],
        rows,
      },
    ],
  }
}

function wordSection(): Section {
  return { title: 'What the words mean', blocks: [{ kind: 'table', columns: ['word', 'meaning'], rows: glossary }] }
}

/** Values for those who cannot see a chart. */
function spoken(metric: string, rows: readonly { readonly name: string; readonly values: readonly (number | null)[] }[]): string {
  const lines = rows.map(
    ({ name, values: [all = null, , cold = null] }) => `${name}: ${percentText(all)} for all, ${percentText(cold)} for cold items`,
  )
  return `${metric}. ${lines.join('; ')}.`
}

function text(words: string): Block {
  return { kind: 'text', text: words }
}
