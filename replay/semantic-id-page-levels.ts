/** Sections of the report on semantic IDs that go level by level: usage, neighborhoods, what is left. */
import { lineChart, usageChart } from './charts.ts'
import type { PointSeries } from './charts.ts'
import { formatNumber } from './number-text.ts'
import type { Block, Chart, Section } from './page.ts'
import type { ReportFigures } from './semantic-id-figures.ts'

/** How each level's codes are used. */
export async function usageSection(figures: ReportFigures): Promise<Section> {
  const title = 'Code usage'
  const { after, before, cohort } = figures.report
  if (cohort.items === 0) return { title, blocks: [{ kind: 'text', text: 'Without items no code is used.' }] }
  const sides = [['after', after.all], ...(before === null ? [] : [['before', before.all] as const])] as const
  const most = Math.max(...sides.flatMap(([, { usage }]) => usage.levels.map(({ headShare }) => 100 * headShare)))
  const charts = sides.map(async ([side, { usage }]): Promise<Chart> => {
    const svg = await usageChart({
      title: before === null ? 'Items per code' : `Items per code, ${side}`,
      description: usage.levels
        .map((level, i) => `level ${i + 1}: ${level.used} codes used, perplexity ${formatNumber(level.perplexity)}`)
        .join('; '),
      levels: usage.levels.map(({ histogram }, i) => ({ name: `level ${i + 1}`, counts: histogram })),
      max: Math.min(100, Math.ceil(most)),
      ...(before === null && { width: 760, height: 380 }),
    })
    return {
      svg,
      caption: 'What to see: a flat line is even use, a steep start says that few codes hold most items, zeros at the end are dead codes.',
    }
  })
  const hasDistortion = figures.row('level1.residualNorm') !== undefined
  const level =
    (name: string) =>
    (length: number): number | null =>
      figures.value(`level${length}.${name}`)
  const columns: [string, number | null, (length: number) => number | null][] = [
    ['used', 0, level('used')],
    ['dead', 0, level('dead')],
    ['entropy', 3, level('entropy')],
    ['perplexity', 1, level('perplexity')],
    ['head share', 4, level('headShare')],
    ...(figures.hasBefore
      ? ([
          ['dead before', 0, (length) => figures.value(`level${length}.dead`, 'before')],
          ['perplexity before', 1, (length) => figures.value(`level${length}.perplexity`, 'before')],
        ] satisfies [string, number, (length: number) => number | null][])
      : []),
    ...(hasDistortion
      ? ([['mean residual', 4, level('residualNorm')]] satisfies [string, number, (length: number) => number | null][])
      : []),
  ]
  return {
    title,
    blocks: [
      { kind: 'charts', charts: await Promise.all(charts) },
      {
        kind: 'table',
        caption: 'Levels',
        columns: ['level', 'codes', ...columns.map(([name]) => name)],
        decimals: [0, 0, ...columns.map(([, decimals]) => decimals)],
        rows: figures.lengths.map((length) => [length, cohort.sizes[length - 1]!, ...columns.map(([, , of]) => of(length))]),
      },
    ],
  }
}

const prefixNames = [
  ['purity', 'purity of labels'],
  ['cohesionPairs', 'cohesion over pairs'],
  ['cohesionMacro', 'cohesion over prefixes'],
  ['hitPrecision', 'hit precision'],
  ['hitRecall', 'hit recall'],
  ['coOccurrenceRecall', 'co-occurrence recall'],
] as const

/** What items of a prefix have in common, by its length. */
export async function neighborhoodSection(figures: ReportFigures): Promise<Section> {
  const title = 'What a prefix says'
  const there = prefixNames.filter(([name]) => figures.lengths.some((length) => figures.value(`prefix${length}.${name}`) !== null))
  const missing = [
    ...(figures.row('prefix1.purity') === undefined ? ['labels (purity)'] : []),
    ...(figures.row('prefix1.cohesionPairs') === undefined
      ? ['vectors (cohesion and hits)']
      : figures.report.method.neighbors === null
        ? ['neighbors (hits)']
        : []),
    ...(figures.row('prefix1.coOccurrenceRecall') === undefined ? ['co-occurring pairs'] : []),
  ]
  const lacks: Block[] =
    missing.length === 0 ? [] : [{ kind: 'text', text: `Not measured, since it was not given: ${missing.join(', ')}.` }]
  if (there.length === 0) return { title, blocks: lacks.length > 0 ? lacks : [{ kind: 'text', text: 'No two items share a prefix.' }] }
  const chartOf = async (side: 'value' | 'before'): Promise<Chart> => {
    const svg = await lineChart({
      title: figures.hasBefore ? `By prefix length, ${side === 'value' ? 'after' : 'before'}` : 'By prefix length',
      width: figures.hasBefore ? 560 : 760,
      height: 380,
      description: there
        .map(
          ([name, words]) =>
            `${words}: ${figures.lengths.map((length) => formatNumber(figures.value(`prefix${length}.${name}`, side), 3)).join(', ')}`,
        )
        .join('; '),
      x: { name: 'codes of the prefix', min: 1, max: Math.max(2, figures.lengths.length), whole: true },
      y: {
        name: 'share or cosine',
        min: Math.min(
          0,
          ...there.flatMap(([name]) => figures.lengths.map((length) => figures.value(`prefix${length}.${name}`, side) ?? 0)),
        ),
        max: 1,
      },
      series: there.map(([name, words]): PointSeries => ({
        name: words,
        points: figures.lengths.map((length) => [length, figures.value(`prefix${length}.${name}`, side)]),
      })),
    })
    return { svg, caption: 'What to see: longer prefixes hold fewer, more alike items: purity, cohesion and precision rise, recall falls.' }
  }
  const sides = figures.hasBefore ? (['value', 'before'] as const) : (['value'] as const)
  return {
    title,
    blocks: [
      { kind: 'charts', charts: await Promise.all(sides.map(chartOf)) },
      {
        kind: 'table',
        caption: 'Prefixes',
        columns: ['codes', 'prefixes', ...there.flatMap(([, words]) => [words, ...(figures.hasBefore ? ['before'] : [])])],
        decimals: [0, 0, ...there.flatMap(() => (figures.hasBefore ? [3, 3] : [3]))],
        rows: figures.lengths.map((length) => [
          length,
          figures.value(`prefix${length}.prefixes`),
          ...there.flatMap(([name]) => [
            figures.value(`prefix${length}.${name}`),
            ...(figures.hasBefore ? [figures.value(`prefix${length}.${name}`, 'before')] : []),
          ]),
        ]),
      },
      ...lacks,
    ],
  }
}

/** What the codes leave unexplained, level by level. */
export async function distortionSection(figures: ReportFigures): Promise<Section> {
  const title = 'What the codes leave'
  if (figures.value('fvu') === null)
    return { title, blocks: [{ kind: 'text', text: 'Not measured: vectors and codebooks were not both given.' }] }
  const drawn = ([['after', 'value'], ...(figures.hasBefore ? [['before', 'before'] as const] : [])] as const).map(([name, side]) => ({
    name,
    values: figures.lengths.map((length) => figures.value(`level${length}.residualEnergy`, side)),
  }))
  const isFinite = drawn.every(({ values }) => values.every((value) => value !== null && Number.isFinite(value)))
  const blocks: Block[] = []
  if (isFinite) {
    const svg = await lineChart({
      title: 'Variance unexplained after each level',
      width: 760,
      description: drawn.map(({ name, values }) => `${name}: ${values.map((value) => formatNumber(value, 4)).join(', ')}`).join('; '),
      x: { name: 'levels', min: 0, max: figures.lengths.length, whole: true },
      y: { name: 'share of variance', min: 0 },
      series: drawn.map(({ name, values }): PointSeries => ({
        name,
        points: [[0, 1], ...values.map((value, level) => [level + 1, value] as const)],
      })),
    })
    blocks.push({
      kind: 'charts',
      charts: [{ svg, caption: 'What to see: each level should take its share; a level that takes nothing says nothing.' }],
    })
  } else {
    blocks.push({ kind: 'note', tone: 'bad', text: 'All vectors are equal and the codes miss them: no share of variance can be told.' })
  }
  const names = [
    ['fvu', 'FVU'],
    ['distortion', 'mean squared distance'],
    ['meanSquaredError', 'per dimension'],
    ['meanCosine', 'mean cosine to the decoded vector'],
  ] as const
  blocks.push({
    kind: 'table',
    columns: ['figure', 'after', ...figures.comparedColumns],
    decimals: [null, 5, 5, 5, 5],
    rows: names.map(([name, words]) => [words, figures.value(name), ...figures.compared(name)]),
  })
  return { title, blocks }
}
