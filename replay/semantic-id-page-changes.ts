/** Sections of the report on semantic IDs that compare: slices by popularity, what changed, before and after. */
import { barChart } from './charts.ts'
import { formatNumber } from './number-text.ts'
import type { Block, Section, Table } from './page.ts'
import { percent, type ReportFigures } from './semantic-id-figures.ts'

/** Shares that are drawn per slice, with the words for them. */
const drawnShares = [
  ['uniqueRate', 'unique IDs'],
  ['uniquelyIdentifiedOfAll', 'alone in ID'],
  ['collidingRate', 'colliding'],
  ['fvu', 'FVU'],
] as const

/** Figures by popularity. */
export async function sliceSection(figures: ReportFigures): Promise<Section> {
  const title = 'By popularity'
  const { slices: method } = figures.report.method
  if (method === null) return { title, blocks: [{ kind: 'text', text: 'No traffic was given, or none above 0, so there are no slices.' }] }
  const slices = figures.slices
  const name = (slice: string, figure: string): string => (slice === 'all' ? figure : `${slice}.${figure}`)
  const last = figures.lengths.at(-1)!
  const drawn = [
    ...drawnShares,
    [`prefix1.purity`, 'purity, 1 code'] as const,
    [`prefix1.hitRecall`, 'hit recall, 1 code'] as const,
    [`churn.full`, 'changed IDs'] as const,
  ].filter(([figure]) => {
    const values = slices.map((slice) => figures.value(name(slice, figure)))
    return values.some((value) => value !== null) && values.every((value) => value === null || Math.abs(value) <= 1.5)
  })
  const svg = await barChart({
    title: 'Shares by popularity',
    width: 1040,
    height: 360,
    description: drawn
      .map(([figure, words]) => `${words}: ${slices.map((slice) => `${slice} ${percent(figures.value(name(slice, figure)))}`).join(', ')}`)
      .join('; '),
    categories: drawn.map(([, words]) => words),
    y: { name: '%', min: 0 },
    series: slices.map((slice) => ({
      name: slice,
      values: drawn.map(([figure]) => {
        const value = figures.value(name(slice, figure))
        return value === null ? null : Math.round(1000 * value) / 10
      }),
    })),
  })
  const rows = [
    ['items', 'items'],
    ['uniqueRate', 'unique rate'],
    ['uniquelyIdentified', 'uniquely identified, slice alone'],
    ['uniquelyIdentifiedOfAll', 'uniquely identified, among all items'],
    ['maxBucket', 'fullest ID'],
    ['gini', 'Gini'],
    ['entropyRatioAttainable', 'entropy, of the attainable'],
    ['collidingRate', 'vectors in genuine collisions'],
    ['fvu', 'FVU'],
    ['meanCosine', 'mean cosine to the decoded vector'],
    ...[...new Set([1, last])].flatMap(
      (length) =>
        [
          [`prefix${length}.purity`, `purity, ${length} ${length === 1 ? 'code' : 'codes'}`],
          [`prefix${length}.cohesionPairs`, `cohesion over pairs, ${length}`],
          [`prefix${length}.hitPrecision`, `hit precision, ${length}`],
          [`prefix${length}.hitRecall`, `hit recall, ${length}`],
          [`prefix${length}.coOccurrenceRecall`, `co-occurrence recall, ${length}`],
        ] as const,
    ),
    ['churn.full', 'changed IDs'],
    ['churn.firstCode', 'changed first codes'],
  ] as const
  const table: Table = {
    kind: 'table',
    caption: 'Figures of each slice',
    columns: ['figure', ...slices],
    rows: rows
      .filter(([figure]) => slices.some((slice) => figures.value(name(slice, figure)) !== null))
      .map(([figure, words]) => [words, ...slices.map((slice) => figures.value(name(slice, figure)))]),
  }
  return {
    title,
    blocks: [
      {
        kind: 'text',
        text: `Head: ${formatNumber(method.items.head)} items, torso: ${formatNumber(method.items.torso)}, tail: ${formatNumber(method.items.tail)}. Hits and co-occurrence look among all items, the rest at the slice alone.`,
      },
      { kind: 'wide', chart: { svg, caption: 'What to see: a tail far below the head is paid for by cold and rare items.' } },
      table,
    ],
  }
}

/** What changed between the two assignments. */
export function churnSection(figures: ReportFigures): Section {
  const title = 'Churn'
  const { churn, moves } = figures.report
  if (churn === null) return { title, blocks: [{ kind: 'text', text: 'There is no assignment before to compare with.' }] }
  if (churn.all.items === 0) return { title, blocks: [{ kind: 'text', text: 'Without items nothing changes.' }] }
  const hasTraffic = churn.all.trafficWeighted !== undefined
  const blocks: Block[] = [
    {
      kind: 'table',
      caption: 'Items whose ID changed',
      columns: ['items', 'number', 'any code', 'first code', ...(hasTraffic ? ['any code, by traffic'] : []), 'mean codes kept'],
      decimals: [null, 0, null, null, ...(hasTraffic ? [null] : []), 3],
      rows: figures.slices.map((slice) => {
        const { items, full, firstCode, trafficWeighted, meanCommonPrefix } = churn[slice]!
        return [
          slice,
          items,
          percent(full),
          percent(firstCode),
          ...(hasTraffic ? [percent(trafficWeighted ?? null)] : []),
          meanCommonPrefix,
        ]
      }),
    },
    {
      kind: 'table',
      caption: 'By level and prefix',
      columns: ['level', 'this code', 'any code up to it'],
      rows: churn.all.perLevel.map((own, level) => [level + 1, percent(own), percent(churn.all.prefix[level]!)]),
    },
  ]
  if (moves !== null && moves.length > 0) {
    blocks.push({
      kind: 'table',
      caption: 'Commonest changes of the first code',
      columns: ['from', 'to', 'items', 'share'],
      rows: moves.map(({ from, to, items }) => [String(from), String(to), items, percent(items / churn.all.items)]),
    })
  } else blocks.push({ kind: 'text', text: 'No first code changed.' })
  return { title, blocks }
}

/** Every figure of all items. */
export function comparisonSection(figures: ReportFigures): Section {
  const title = figures.hasBefore ? 'All figures, before and after' : 'All figures'
  const better = { higher: 'more', lower: 'less' } as const
  return {
    title,
    blocks: [
      {
        kind: 'text',
        text: 'By the names that thresholds take. Those of slices have head., torso. or tail. before them and stand in the JSON and the table.',
      },
      {
        kind: 'table',
        columns: ['figure', 'value', ...figures.comparedColumns, 'better', 'behind it'],
        rows: figures.report.figures
          .filter(({ slice }) => slice === 'all')
          .map(({ figure, value, better: way, support }) => [
            figure,
            value,
            ...figures.compared(figure),
            way === null ? '' : better[way],
            support,
          ]),
      },
    ],
  }
}
