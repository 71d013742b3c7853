/**
 * The report on semantic IDs as one HTML file.
 * Invariant: the page is a function of what it is given; a part without data says so in a sentence and draws nothing.
 */
import { qualityGateReason } from '../semantic-ids/index.ts'
import type { CollisionReport, IdSpace, QualityGateRow, QualityReport } from '../semantic-ids/index.ts'
import { formatNumber } from './number-text.ts'
import { htmlPage } from './page.ts'
import type { Block, Figure, Section } from './page.ts'
import { churnSection, comparisonSection, sliceSection } from './semantic-id-page-changes.ts'
import { collisionSection, spaceSection } from './semantic-id-page-space.ts'
import { distortionSection, neighborhoodSection, usageSection } from './semantic-id-page-levels.ts'
import { percent, ReportFigures } from './semantic-id-figures.ts'

export interface SemanticIdPage {
  readonly report: QualityReport
  /** @default 'Semantic IDs' */
  readonly title?: string
  /** What has to be known to read the figures, a sentence each. */
  readonly notes?: readonly string[]
  /** Largest prefixes and fullest buckets, with example items. */
  readonly space?: IdSpace
  /** What a capacity moved. */
  readonly collisions?: CollisionReport
  /** Thresholds and what came of them. */
  readonly gate?: readonly QualityGateRow[]
}

/** HTML of a report: one file that loads nothing and runs nothing. */
export async function semanticIdPage({
  report,
  title = 'Semantic IDs',
  notes = [],
  space,
  collisions,
  gate,
}: SemanticIdPage): Promise<string> {
  const figures = new ReportFigures(report)
  const { items, sizes, idsSha256 } = report.cohort
  const { neighbors, slices } = report.method
  const sections = await Promise.all([
    shortSection(figures, gate, notes),
    usageSection(figures),
    spaceSection(figures, space),
    collisionSection(figures, space, collisions),
    neighborhoodSection(figures),
    distortionSection(figures),
    sliceSection(figures),
    churnSection(figures),
    comparisonSection(figures),
  ])
  const asked =
    neighbors === null
      ? 'No neighbors were looked for.'
      : `Neighbors: exact cosine top ${neighbors.k} of ${
          neighbors.queries === neighbors.of
            ? 'every item'
            : `${formatNumber(neighbors.queries)} of ${formatNumber(neighbors.of)} items, drawn by seed ${neighbors.seed}`
        }.`
  const parts = slices === null ? '' : ` Head: items above ${percent(slices.head)} of the traffic; torso: above ${percent(slices.torso)}.`
  return htmlPage({
    title,
    summary: `${formatNumber(items)} ${items === 1 ? 'item' : 'items'}, codes of ${sizes.map((size) => formatNumber(size)).join(' × ')}${report.before === null ? '' : ', beside the codes they had before'}.`,
    sections,
    footer: `${asked}${parts}${idsSha256 === null ? '' : ` Items: SHA-256 ${idsSha256.slice(0, 16)}….`} Formulas of all figures: docs/reference/semantic-id-report.md.`,
  })
}

function shortSection(figures: ReportFigures, gate: readonly QualityGateRow[] | undefined, notes: readonly string[]): Section {
  const { report } = figures
  if (report.cohort.items === 0) {
    return {
      title: 'In short',
      blocks: [{ kind: 'note', tone: 'neutral', text: 'Nothing to judge: there are no items.' }, ...gateBlocks(gate)],
    }
  }
  const tile = (label: string, name: string, show: (value: number) => string, note = ''): Figure[] => {
    const row = figures.row(name)
    if (row === undefined || row.value === null) return []
    const shared = report.shared === null || row.shared === null ? '' : `shared items: ${show(row.shared)}, `
    const before = row.before === null ? '' : `${shared}before: ${show(row.before)}`
    return [{ label, value: show(row.value), note: [before, note].filter((text) => text !== '').join('; ') }]
  }
  const rate = (value: number): string => percent(value)
  const plain = (value: number): string => formatNumber(value, 4)
  const dead = report.after.all.usage.levels.reduce((sum, { dead: own }) => sum + own, 0)
  const codes = report.cohort.sizes.reduce((sum, size) => sum + size, 0)
  const tiles: Figure[] = [
    ...tile('unique IDs per item', 'uniqueRate', rate, `even hashing: ${percent(figures.value('uniformUniqueRate'))}`),
    ...tile('items alone in their ID', 'uniquelyIdentified', rate),
    ...tile('fullest ID, items', 'maxBucket', (value) => formatNumber(value)),
    ...tile('vectors in genuine collisions', 'collidingRate', rate, `${formatNumber(figures.value('duplicateRows'))} duplicate rows apart`),
    { label: 'dead codes', value: `${formatNumber(dead)} of ${formatNumber(codes)}` },
    ...tile('variance unexplained (FVU)', 'fvu', plain),
    ...tile('items whose ID changed', 'churn.full', rate, `first code: ${percent(figures.value('churn.firstCode'))}`),
  ]
  return {
    title: 'In short',
    blocks: [
      ...notes.map((text): Block => ({ kind: 'note', tone: 'neutral', text: `Note: ${text}.` })),
      { kind: 'figures', figures: tiles },
      ...gateBlocks(gate),
    ],
  }
}

function gateBlocks(gate: readonly QualityGateRow[] | undefined): Block[] {
  if (gate === undefined || gate.length === 0) return []
  const failed = gate.filter(({ verdict }) => verdict === 'fail')
  const unjudged = gate.filter(({ verdict }) => verdict === 'insufficient').length
  const left = unjudged === 0 ? '' : ` ${unjudged} had too little behind them to be judged.`
  const note: Block =
    failed.length === 0
      ? { kind: 'note', tone: 'good', text: `Passed: none of ${formatNumber(gate.length)} thresholds failed.${left}` }
      : { kind: 'note', tone: 'bad', text: `Failed: ${failed.length} of ${formatNumber(gate.length)} thresholds.${left}` }
  return [
    note,
    ...(failed.length === 0 ? [] : [{ kind: 'list' as const, items: failed.map(qualityGateReason) }]),
    {
      kind: 'table',
      caption: 'Thresholds',
      columns: ['figure', 'rule', 'bound', 'value', 'before', 'behind it', 'verdict'],
      rows: gate.map(({ figure, rule, bound, candidate, reference, events, verdict }) => [
        figure,
        rule,
        bound,
        candidate,
        reference,
        events,
        verdict,
      ]),
    },
  ]
}
