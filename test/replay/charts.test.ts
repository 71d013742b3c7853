import { deepEqual, doesNotMatch, equal, match, notEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import {
  barChart,
  binnedHistogram,
  dotChart,
  heatStrip,
  histogram,
  laneChart,
  lineChart,
  scatterChart,
  treeMap,
  usageChart,
} from '../../replay/index.ts'

const frame = { title: 'Loss <b>"&', description: 'Falls from 5 to 2.' }
const start = Date.UTC(2024, 10, 19)
const small = { categories: ['a', 'b'], y: { name: '%' }, series: [{ name: 'share', values: [1, 2] }] }
const charts: Record<string, () => Promise<string> | string> = {
  'a line chart': () =>
    lineChart({
      ...frame,
      x: { name: 'step' },
      y: { name: 'loss, nats' },
      series: [
        {
          name: 'train <i>',
          points: [
            [0, 5],
            [1, 3],
            [2, null],
            [3, 2],
          ],
        },
        {
          name: 'held out',
          points: [
            [0, 5.5],
            [3, 2.5],
          ],
        },
      ],
      references: [{ name: 'chance', value: 4 }],
    }),
  'a time line': () =>
    lineChart({
      ...frame,
      x: { name: 'time, UTC', scale: 'time' },
      y: { name: 'lag, ms' },
      series: [{ name: 'lag', points: [0, 6, 12, 18].map((hour) => [start + hour * 3_600_000, hour] as const) }],
    }),
  'a bar chart': () =>
    barChart({
      ...frame,
      categories: ['warm', 'cold'],
      y: { name: 'AUC', min: 0 },
      series: [
        { name: 'raw', values: [0.5, null] },
        { name: 'v2', values: [0.625, 0.568] },
      ],
    }),
  'a histogram': () =>
    histogram({ ...frame, values: [1, 2, 2, 3, 9], x: { name: 'ms', scale: 'log' }, references: [{ name: 'p50', value: 2 }] }),
  'a usage chart': () =>
    usageChart({
      ...frame,
      levels: [
        { name: 'level 1', counts: [3, 0, 9, 1] },
        { name: 'level 2', counts: new Uint32Array([1, 1, 1, 1]) },
      ],
    }),
  'a dot chart': () =>
    dotChart({
      ...frame,
      x: { name: 'AUC' },
      rows: ['warm', 'cold'],
      series: [
        { name: 'raw', values: [0.6, null], labels: ['.6', ''] },
        { name: 'v2', values: [0.625, 0.568], intervals: [[0.61, 0.64], null] },
      ],
      references: [{ name: 'chance', value: 0.5 }],
    }),
  'a lane chart': () => laneChart({ ...frame, lanes: ['v2', 'v1'], steps: [1, 0, 1].map((lane, i) => ({ name: `move ${i}`, lane })) }),
  'a heat strip': () =>
    heatStrip({
      ...frame,
      columns: ['level 1', 'level 2'],
      rows: [
        { name: 'kept', values: [0.25, 8] },
        { name: 'cold', values: [40, null] },
      ],
      valueName: '% changed',
    }),
  'a tree map': () =>
    treeMap({
      ...frame,
      cells: [
        { name: '1 <b>', value: 9, shade: 0, children: [{ name: '4', value: 5, shade: 1 }] },
        { name: '2', value: 3, shade: 0.5 },
      ],
    }),
  'a scatter chart': () =>
    scatterChart({
      ...frame,
      x: { name: 'exposures', scale: 'log' },
      y: { name: 'lift' },
      series: [
        {
          name: 'items',
          points: [
            [1, 0.1],
            [10, -0.25],
          ],
        },
      ],
    }),
}

for (const [what, draw] of Object.entries(charts)) {
  test(`${what} is one static SVG that loads and runs nothing`, async () => {
    const svg = await draw()
    match(svg, /^<svg [^>]*viewBox="0 0 560 330"[^>]*>/)
    match(svg, /<\/svg>$/)
    doesNotMatch(svg, /<script|<style|<image|<foreignObject|href=|class=|\son\w+=/)
    equal(svg.replace('xmlns="http://www.w3.org/2000/svg"', '').includes('http'), false)
    doesNotMatch(svg, /NaN|undefined|Infinity/)
  })

  test(`${what} can be read by those who cannot see it`, async () => {
    const svg = await draw()
    const labels = /role="img" aria-labelledby="(\S+) (\S+)"/.exec(svg)
    ok(labels)
    ok(svg.includes(`<title id="${labels[1]!}">Loss &lt;b&gt;&quot;&amp;</title>`))
    ok(svg.includes(`<desc id="${labels[2]!}">Falls from 5 to 2.</desc>`))
  })

  test(`${what} gives the same bytes each time, in any time zone`, async (t) => {
    const zone = process.env['TZ']
    t.after(() => {
      if (zone === undefined) delete process.env['TZ']
      else process.env['TZ'] = zone
    })
    process.env['TZ'] = 'UTC'
    const first = await draw()
    await charts['a line chart']!()
    process.env['TZ'] = 'Pacific/Auckland'
    equal(await draw(), first)
  })
}

test('two charts on one page share no id, references inside a chart resolve', async () => {
  const svgs = await Promise.all(Object.values(charts).map((draw) => draw()))
  const ids = svgs.map((svg) => [...svg.matchAll(/ id="([^"]+)"/g)].map((found) => found[1]!))
  equal(new Set(ids.flat()).size, ids.flat().length)
  svgs.forEach((svg, i) => {
    for (const [, id] of svg.matchAll(/url\(#([^)]+)\)/g)) ok(ids[i]!.includes(id!), `${id!} is not defined`)
  })
})

test('text of series is escaped, axes are named', async () => {
  const svg = await charts['a line chart']!()
  ok(svg.includes('train &lt;i&gt;'))
  for (const text of ['step', 'loss, nats', 'held out', 'chance']) ok(svg.includes(`>${text}<`), text)
})

test('lines differ by dash as well as by color', async () => {
  const svg = await charts['a line chart']!()
  const lines = [...svg.matchAll(/<path [^>]*stroke-width="2.25"[^>]*>/g)].map(([line]) => line)
  notEqual(lines.find((line) => line.includes('#0072B2'))?.includes('stroke-dasharray'), true)
  ok(lines.find((line) => line.includes('#D55E00'))?.includes('stroke-dasharray'))
})

test('times are shown in UTC', async () => {
  const svg = await charts['a time line']!()
  for (const text of ['06:00', '12:00', '18:00']) ok(svg.includes(`>${text}<`), text)
})

test('bars carry their values; a missing one is left out', async () => {
  const svg = await charts['a bar chart']!()
  for (const text of ['0.5', '0.625', '0.568']) ok(svg.includes(`>${text}<`), text)
})

test('no data at all is an empty chart, not an error', async () => {
  const empty = [
    lineChart({ ...frame, x: { name: 'x' }, y: { name: 'y' }, series: [] }),
    barChart({ ...frame, categories: [], y: { name: 'y' }, series: [] }),
    histogram({ ...frame, values: [], x: { name: 'x' } }),
    histogram({ ...frame, values: [], x: { name: 'x', scale: 'log' } }),
    usageChart({ ...frame, levels: [{ name: 'level 1', counts: [] }] }),
    heatStrip({ ...frame, columns: [], rows: [], valueName: 'x' }),
    scatterChart({ ...frame, x: { name: 'x' }, y: { name: 'y' }, series: [] }),
    binnedHistogram({ ...frame, x: { name: 'x', scale: 'log' }, bins: [] }),
    dotChart({ ...frame, x: { name: 'x' }, rows: [], series: [] }),
    laneChart({ ...frame, lanes: [], steps: [] }),
    treeMap({ ...frame, cells: [] }),
  ]
  for (const svg of await Promise.all(empty)) match(svg, /^<svg /)
})

test('width and height are as asked for', async () => {
  const svg = await lineChart({
    ...frame,
    width: 900,
    height: 200,
    x: { name: 'x' },
    y: { name: 'y' },
    series: [
      {
        name: 'a',
        points: [
          [0, 1],
          [1, 2],
        ],
      },
    ],
  })
  deepEqual(/width="(\d+)" height="(\d+)"/.exec(svg)?.slice(1), ['900', '200'])
})

test('a line to compare with is inside the plot, even far from the data', async () => {
  const svg = await barChart({ ...frame, ...small, references: [{ name: 'budget', value: 40 }] })
  ok(svg.includes('>budget<'))
  const ticks = [...svg.matchAll(/>(\d+)<\/text>/g)].map(([, tick]) => Number(tick))
  ok(Math.max(...ticks) >= 40)
})

test('counts that stand in bins are drawn as they are, empty ends are left out', async () => {
  const bins = [0, 4, 0, 7, 0].map((count, i) => ({ from: i, to: i + 1, count }))
  const svg = await binnedHistogram({ ...frame, x: { name: 'ms' }, bins })
  const bars = [...svg.matchAll(/<path d="[^"]*" fill="#0072B2"/g)]
  equal(bars.length, 3)
  equal(svg.includes('>4.5<'), false)
  match(await binnedHistogram({ ...frame, x: { name: 'ms', scale: 'log' }, bins: [{ from: 0, to: 1, count: 3 }] }), /^<svg /)
})

test('the area of a cell is its value, its name is escaped, and small cells stand in one', () => {
  const cell = (name: string, value: number, shade: number) => ({ name, value, shade })
  const small = Array.from({ length: 40 }, (_, i) => cell(`c${i}`, 5, 0.2))
  const svg = treeMap({
    ...frame,
    cells: [
      { ...cell('1 <b>', 900, 0), detail: '1: 900 & more', children: [cell('4', 500, 1), ...small], left: 7 },
      { ...cell('2', 300, 0.5), example: 'a lamp' },
    ],
  })
  for (const text of ['>1 &lt;b&gt;</text>', '<title>1: 900 &amp; more</title>', '>a lamp</text>']) ok(svg.includes(text), text)
  const areaOf = (color: string): number => {
    const [, width, height] = new RegExp(`width="([\\d.]+)" height="([\\d.]+)" fill="${color}"`).exec(svg)!
    return Number(width) * Number(height)
  }
  // The dark and the middle cell; gaps and the names of outer cells take a little of either.
  const ratio = areaOf('#08306b') / areaOf('#68a6cf')
  ok(ratio > 1.4 && ratio < 1.8, String(ratio))
  const named = [...svg.matchAll(/>c\d+<\/text>/g)].length
  ok(svg.includes(`>${47 - named} others</text>`), `${named} of 40 small cells are drawn, 7 were left out before`)
})
