/** What came of a training: figures against other vectors, heads between content and collaboration, items on a map. */

import { formatNumber, lineChart, scatterChart } from '../../replay/index.ts'
import type { Block, PointSeries, Section, Table } from '../../replay/index.ts'
import type { DistillReport } from '../../pipeline/index.ts'
import { contentFigures, type ContentFigure } from '../../schemas/index.ts'
import { countText, percentText } from '../demo/report-text.ts'

type Judged = NonNullable<DistillReport['judged']>
type SetName = keyof Judged['retrieval']

const setNames: Readonly<Record<SetName, string>> = { raw: 'raw content', start: 'head it began from', candidate: 'this head' }
const depths = [1, 10, 25, 50, 100] as const

const notJudged: Block = { kind: 'text', text: 'Nothing was held out, so there is nothing to measure on.' }

/** Figures of every vector set, on the same held-out events. */
export async function gateSection({ judged }: DistillReport): Promise<Section> {
  const title = 'Figures on what was held out'
  if (judged === null) return { title, blocks: [notJudged] }
  const { judgement, retrieval, filtered } = judged
  const { notMeasured } = judgement
  const spaces = { raw: judgement.metrics.raw, start: judgement.metrics.live, candidate: judgement.metrics.candidate }
  const sets = (['raw', 'start', 'candidate'] as const).filter((name) => retrieval[name] !== undefined)
  if (sets.length === 0) return { title, blocks: [{ kind: 'text', text: 'The vectors are not finite: nothing else was measured.' }] }
  if (judgement.events === 0) return { title, blocks: [{ kind: 'text', text: 'No held-out event could be scored: nobody came back.' }] }
  const figure = (set: SetName, name: keyof NonNullable<Judged['retrieval']['raw']>['figures'], of = retrieval): string => {
    const { value, low, high } = of[set]!.figures[name]
    if (value === null) return '–'
    return low === null || high === null
      ? formatNumber(value, 3)
      : `${formatNumber(value, 3)} (${formatNumber(low, 3)} to ${formatNumber(high, 3)})`
  }
  const columns = sets.map((set) => setNames[set])
  const ranking = (caption: string, slice: '' | 'warm' | 'cold'): Table => ({
    kind: 'table',
    caption,
    columns: ['figure', ...columns],
    rows: [
      ...depths.map((k) => {
        const name = slice === '' ? (`recall${k}` as const) : (`${slice}Recall${k}` as const)
        return [`recall@${k}`, ...sets.map((set) => figure(set, name))]
      }),
      ['AUC, against items by popularity', ...sets.map((set) => figure(set, slice === '' ? 'pop' : (`${slice}Pop` as const)))],
      ['AUC, against all items alike', ...sets.map((set) => figure(set, slice === '' ? 'uni' : (`${slice}Uni` as const)))],
    ],
  })
  const consistent: Table = {
    kind: 'table',
    caption: `Consistent histories: the newest ten of the item's label or cluster, among the last thousand (${countText(filtered.candidate!.events, 'event')})`,
    columns: ['figure', ...columns],
    rows: (['', 'warm', ...(filtered.candidate!.figures.coldRecall10.events > 0 ? (['cold'] as const) : [])] as const).flatMap((slice) =>
      depths.map((k) => {
        const name = slice === '' ? (`recall${k}` as const) : (`${slice}Recall${k}` as const)
        return [`recall@${k}, ${slice === '' ? 'all' : slice} items`, ...sets.map((set) => figure(set, name, filtered))]
      }),
    ),
  }
  const spaceRows = (
    [
      ['separability', 'separability: AUC of next items against all others'],
      ['dPrime', 'd′ of the same'],
      ['bijective', 'bijective alignment'],
      ['nmi', 'NMI of histories and next items'],
      ['kendall', 'Kendall’s tau with ID embeddings that did not teach this head'],
      ['top100', 'nearest 100 shared with the same'],
      ['taughtKendall', 'Kendall’s tau with ID embeddings that taught this head'],
      ['taughtTop100', 'nearest 100 shared with the same'],
      ['pairAuc', 'AUC of graded pairs'],
      ['coldSeparability', 'separability, cold next items'],
      ['coldDPrime', 'd′ of the same'],
      ['coldBijective', 'bijective alignment, cold next items'],
      ['coldNmi', 'NMI of histories and cold next items'],
      ['coldKendall', 'Kendall’s tau with ID embeddings that did not teach, cold items'],
      ['coldTop100', 'nearest 100 shared with the same'],
    ] as const
  )
    .map(([name, words]) => [words, ...sets.map((set) => spaces[set]?.[name] ?? null)])
    .filter((row) => row.some((cell) => typeof cell === 'number'))
  const missing = (['kendall', 'coldKendall', 'taughtKendall', 'pairAuc', 'coldSeparability'] as const)
    .flatMap((name) => notMeasured[name] ?? [])
    .filter((reason, i, all) => all.indexOf(reason) === i)
  const pairRows = contentFigures.map((name) => [
    pairNames[name],
    judgement.metrics.raw[name] ?? null,
    ...(sets.includes('start') ? [judgement.metrics.live?.[name] ?? null] : []),
    judgement.metrics.candidate[name] ?? null,
  ])
  const kept = pairRows.filter((row) => row.some((cell) => typeof cell === 'number'))
  const { events, users } = retrieval.candidate!
  const svg = await lineChart({
    title: 'Recall by depth, all items',
    width: 760,
    description: sets.map((set) => `${setNames[set]}: recall@10 ${figure(set, 'recall10')}`).join('; '),
    x: { name: 'items looked at', scale: 'log' },
    y: { name: 'recall, %', min: 0 },
    series: sets.map((set): PointSeries => {
      const points = depths.map((k) => [k, 100 * (retrieval[set]!.figures[`recall${k}`].value ?? NaN)] as const)
      return { name: setNames[set], points }
    }),
  })
  const hasCold = retrieval.candidate!.figures.coldRecall10.events > 0
  return {
    title,
    blocks: [
      {
        kind: 'text',
        text: `A user is the mean of the vectors of what they liked last; all live items are ranked by likeness to it. ${countText(events, 'event')} of ${countText(users, 'user')}, the same for every set; 95 % intervals over users.`,
      },
      { kind: 'charts', charts: [{ svg, caption: 'What to see: a higher line finds the item liked next sooner.' }] },
      ranking('All items', ''),
      ...(hasCold
        ? [ranking('Cold items: nobody had liked them before', 'cold')]
        : [{ kind: 'text' as const, text: 'No event had a cold item.' }]),
      ...(filtered.candidate!.events > 0
        ? [consistent]
        : [{ kind: 'text' as const, text: 'No event had a history of its own label or cluster.' }]),
      { kind: 'table', caption: 'The spaces', columns: ['figure', ...columns], decimals: [null, ...sets.map(() => 3)], rows: spaceRows },
      ...(missing.length > 0 ? [{ kind: 'text' as const, text: `Not measured: ${missing.join('; ')}.` }] : []),
      ...(kept.length > 0
        ? [
            {
              kind: 'table' as const,
              caption: 'Content: held-out pairs and raw neighbors',
              columns: ['figure', ...columns],
              decimals: [null, ...sets.map(() => 3)],
              rows: kept,
            },
          ]
        : []),
    ],
  }
}

const pairNames: Readonly<Record<ContentFigure, string>> = {
  neighborRecall: 'raw neighbors kept',
  pairRecall1: 'recall@1 of pairs',
  pairRecall10: 'recall@10 of pairs',
  pairRecall25: 'recall@25 of pairs',
  pairRecall50: 'recall@50 of pairs',
  pairRecall100: 'recall@100 of pairs',
  pairSeparation: 'AUC of pairs against all other items',
  pairDPrime: 'd′ of the same',
  pairBijective: 'bijective alignment of pairs',
}

/** Heads between the end of the content stages and the last. */
export async function paretoSection({ pareto, mixed, plan }: DistillReport): Promise<Section> {
  const title = 'Content against collaboration'
  if (pareto === null) return { title, blocks: [notJudged] }
  const { points, chosen } = pareto
  const drawn = points.filter(({ content, collaborative }) => content !== null && collaborative !== null)
  const blocks: Block[] = [
    {
      kind: 'text',
      text: `Heads between ${plan.length > 1 ? 'the end of the content stages' : 'the start'} (k = 0) and this head (k = 1), on fewer events than the judgment: what a step towards behavior gains, and what it costs in content. ${
        chosen === null
          ? 'None of them passes the guard.'
          : chosen === 1
            ? 'Of those that pass the guard, this head is the best for warm items.'
            : `Of those that pass the guard, k = ${chosen} is the best for warm items.`
      }`,
    },
  ]
  if (mixed !== null) {
    const { k, judgement } = mixed
    const figures = (['warmPop', 'coldPop', 'warmRecall10', 'coldRecall10', 'neighborRecall', 'pairRecall50'] as const)
      .map((name) => [name, judgement.metrics.candidate[name] ?? null] as const)
      .flatMap(([name, value]) => (value === null ? [] : [`${name} ${formatNumber(value, 3)}`]))
    blocks.push({
      kind: 'text',
      text: `This head was refused. The one at k = ${k}, judged in full, ${
        judgement.verdict === 'pass' ? 'passes and is kept as mixed-head' : `is refused too: ${judgement.reasons.join('; ')}`
      } (${figures.join(', ')}).`,
    })
  }
  if (drawn.length > 1) {
    const kept = drawn.map(({ content }) => 100 * content!)
    const [least, most] = [Math.min(...kept), Math.max(...kept)]
    const svg = await scatterChart({
      title: 'What each head between keeps and gains',
      width: 760,
      description: drawn
        .map(({ k, content, collaborative }) => `k ${k}: ${percentText(content)}, ${percentText(collaborative)}`)
        .join('; '),
      // At least a point wide: heads that keep the same content stand below each other.
      x: { name: 'content kept, %', min: Math.floor(least - 0.5), max: Math.min(100, Math.ceil(most + 0.5)) },
      y: { name: 'popularity AUC of warm items, %' },
      series: (
        [
          ['on the Pareto curve', true],
          ['beaten by another', false],
        ] as const
      ).flatMap(([name, optimal]): PointSeries[] => {
        const own = drawn.filter((point) => point.optimal === optimal)
        return own.length === 0
          ? []
          : [{ name, points: own.map(({ content, collaborative }) => [100 * content!, 100 * collaborative!] as const) }]
      }),
    })
    blocks.push({
      kind: 'charts',
      charts: [
        {
          svg,
          caption: 'What to see: up and to the right is better. The table says which k each point is.',
        },
      ],
    })
  }
  blocks.push({
    kind: 'table',
    columns: ['k', 'content kept', 'popularity AUC, warm', 'popularity AUC, cold', 'guard', 'Pareto-optimal'],
    decimals: [1, 3, 3, 3, null, null],
    rows: points.map(({ k, content, collaborative, cold, passes, optimal }) => [
      k,
      content,
      collaborative,
      cold,
      passes ? 'passes' : 'FAILS',
      optimal ? 'yes' : 'no',
    ]),
  })
  return { title, blocks }
}

/** Items before and after training. */
export async function mapSection({ map }: DistillReport): Promise<Section> {
  const title = 'Items on a map'
  if (map === null) return { title, blocks: [{ kind: 'text', text: 'There are too few items for a map.' }] }
  const side = async (which: 'before' | 'after', name: string): Promise<string> => {
    const { x, y, explained } = map[which]
    return scatterChart({
      title: name,
      description: `${map.items} items by ${map.groupedBy}: ${map.groups.join(', ')}`,
      height: 460,
      x: { name: `first axis, ${percentText(explained[0])} of the variance` },
      y: { name: `second axis, ${percentText(explained[1])}` },
      series: map.groups.map((group, g): PointSeries => {
        return { name: group, points: map.group.flatMap((own, i) => (own === g ? [[x[i]!, y[i]!] as const] : [])) }
      }),
    })
  }
  const by = map.groupedBy === 'label' ? 'its first label' : 'its cluster by raw content, for want of labels'
  return {
    title,
    blocks: [
      {
        kind: 'text',
        text: `${countText(map.items, 'item')} on the two directions of largest variance; each colored by ${by}. Axes of the two maps have nothing to do with each other.`,
      },
      {
        kind: 'charts',
        charts: [
          { svg: await side('before', 'Raw content'), caption: 'Where items stood by content alone.' },
          {
            svg: await side('after', 'This head'),
            caption: 'What to see: groups that stay together keep content; what moved, moved by what users did.',
          },
        ],
      },
    ],
  }
}
