/** Sections of the demo's page about the published features: how fresh, which codes, what changed. */

import { barChart, binnedHistogram, formatNumber, usageChart } from '../../replay/index.ts'
import type { Bin, Block, Section } from '../../replay/index.ts'
import type { DemoReport } from './demo-report.ts'
import { churnText, countText, durationText } from './report-text.ts'

/** How long records took from the log to readable features. */
export async function freshnessSection({ freshness }: DemoReport): Promise<Section> {
  const { count, p50Ms, p99Ms, maxMs } = freshness
  const title = 'How fresh features were'
  if (count === 0) return { title, blocks: [text('Nothing was measured.')] }
  const said = `Half of ${countText(count, 'item change')} were readable within ${durationText(p50Ms)}, 99 of 100 within ${durationText(p99Ms)}, the slowest in ${durationText(maxMs)}.`
  const svg = await binnedHistogram({
    title: 'From the log to readable',
    description: said,
    width: 760,
    x: { name: 'milliseconds from log append to readable', scale: 'log' },
    counted: 'item changes',
    bins: coarser(freshness),
    references: [
      { name: `p50 ${durationText(p50Ms)}`, value: p50Ms },
      { name: `p99 ${durationText(p99Ms)}`, value: p99Ms },
    ],
  })
  const caption = `What to see: the farther left, the sooner a new or changed item can be ranked. The axis is logarithmic: equal steps are equal factors.`
  return { title, blocks: [text(said), { kind: 'charts', charts: [{ svg, caption }] }] }
}

/** How evenly the codes of each level are used. */
export async function codeSection({ versions }: DemoReport): Promise<Section> {
  const title = 'How codes are used'
  if (versions.length === 0) return { title, blocks: [text('No version was published.')] }
  // One axis for all versions: the same height is the same share.
  const max = Math.max(1, ...versions.flatMap(({ levels }) => levels.map(({ counts }) => Math.ceil(largestShare(counts)))))
  const charts = await Promise.all(
    versions.map(async ({ version, levels, uniqueRate }) => {
      const svg = await usageChart({
        title: `Code usage of version ${version}`,
        description: levels.map(({ used, size }, i) => `level ${i + 1}: ${used} of ${size} codes used`).join(', '),
        levels: levels.map(({ counts }, i) => ({ name: `level ${i + 1}`, counts })),
        max,
      })
      const dead = levels.reduce((sum, level) => sum + level.dead, 0)
      const end = dead === 0 ? 'no code is dead' : `${countText(dead, 'dead code')} at the right end`
      return {
        svg,
        caption: `What to see: the flatter, the more evenly items are spread; ${end}. There are ${formatNumber(100 * uniqueRate, 1)} distinct semantic IDs per 100 items.`,
      }
    }),
  )
  const rows = versions.flatMap(({ version, levels }) =>
    levels.map(({ size, used, dead, perplexity }, i) => [`version ${version}`, `level ${i + 1}`, size, used, dead, perplexity]),
  )
  const blocks: Block[] = [
    text(
      'A semantic ID has one code per level, coarse to fine. Codes that many items share say little, codes that nobody has say nothing.',
    ),
    { kind: 'charts', charts },
    { kind: 'table', columns: ['version', 'level', 'codes', 'used', 'dead', 'perplexity'], decimals: [null, null, 0, 0, 0, 1], rows },
  ]
  return { title, blocks }
}

/** What a reader who keeps semantic IDs or vectors has to expect of a switch. */
export async function changeSection({ change, versions }: DemoReport): Promise<Section> {
  const title = 'What changed between the versions'
  const said = churnText(change)
  if (said === undefined) {
    return {
      title,
      blocks: [
        text(
          `There is nothing to compare: ${versions.length < 2 ? 'fewer than two versions were published' : 'the versions share no item'}.`,
        ),
      ],
    }
  }
  const kept = change.churn <= change.churnBudget
  const churnSvg = await barChart({
    title: 'Semantic IDs that changed',
    description: said,
    categories: ['any code', 'first code'],
    // Room above the line, or a bar's figure stands beside the axis's name.
    y: { name: 'share of items, %', min: 0, max: Math.ceil(120 * Math.max(change.churn, change.churnFirstCode, change.churnBudget)) },
    series: [{ name: 'changed', values: [change.churn, change.churnFirstCode].map((share) => Math.round(share * 1000) / 10) }],
    references: [{ name: `churn budget ${formatNumber(Math.round(change.churnBudget * 1000) / 10)} %`, value: change.churnBudget * 100 }],
  })
  const cosineSvg = await binnedHistogram({
    title: 'How far vectors moved',
    description: 'Cosine of the two vectors of each item after the new space is turned onto the old one, counted in bins.',
    x: { name: 'cosine of the old and the turned new vector' },
    counted: 'items',
    bins: change.cosineBins,
  })
  return {
    title,
    blocks: [
      { kind: 'note', tone: kept ? 'good' : 'bad', text: `${kept ? 'Within budget' : 'Over budget'}: ${said}` },
      {
        kind: 'charts',
        charts: [
          {
            svg: churnSvg,
            caption: 'What to see: the left bar must not pass the line, so that models that learned from semantic IDs keep working.',
          },
          {
            svg: cosineSvg,
            caption: `What to see: items far right kept their place among the others; those farther left were learned anew. The new space is turned onto the old one first, one rotation per Matryoshka block, since a training may turn it as a whole${turnedText(change)}. Empty ends are cut off.`,
          },
        ],
      },
    ],
  }
}

function turnedText({ meanCosine, meanPlainCosine }: DemoReport['change']): string {
  if (meanCosine === null || meanPlainCosine === null) return ''
  return `: the mean is ${meanCosine.toFixed(3)}, of the vectors as they are ${meanPlainCosine.toFixed(3)}`
}

/** Share of the most used code, %. */
function largestShare(counts: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return total === 0 ? 0 : (100 * Math.max(...counts)) / total
}

/** Bins of equal ratio, three to a doubling, from 0.5 ms: fine ones would be a comb. A fine bin is shared by those it reaches into. */
function coarser({ bins, maxMs }: DemoReport['freshness']): Bin[] {
  const place = (ms: number): number => 3 * Math.log2(Math.max(ms, 0.5) / 0.5)
  const counts: number[] = []
  for (const { fromMs, toMs, count } of bins) {
    const from = place(fromMs)
    const to = Math.max(place(Math.min(toMs, maxMs)), from + 1e-6)
    for (let at = Math.floor(from); at < to; at++) {
      while (counts.length <= at) counts.push(0)
      counts[at]! += (count * (Math.min(to, at + 1) - Math.max(from, at))) / (to - from)
    }
  }
  return counts.map((count, i) => ({ from: 0.5 * 2 ** (i / 3), to: 0.5 * 2 ** ((i + 1) / 3), count }))
}

function text(words: string): Block {
  return { kind: 'text', text: words }
}
