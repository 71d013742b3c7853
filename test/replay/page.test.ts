import { doesNotMatch, equal, match, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { formatNumber, htmlPage, lineChart } from '../../replay/index.ts'
import type { Block, Page } from '../../replay/index.ts'

const evil = `<script>alert('x')</script> & "quoted"`
const escaped = '&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;quoted&quot;'

function page(...blocks: Block[]): Page {
  return { title: 'Report', sections: [{ title: 'One', blocks }] }
}

test('all text is escaped, wherever it stands', () => {
  const html = htmlPage({
    title: evil,
    summary: evil,
    footer: evil,
    sections: [1, 2, 3, 4].map(() => ({
      title: evil,
      blocks: [
        { kind: 'text', text: evil },
        { kind: 'list', items: [evil] },
        { kind: 'code', text: evil },
        { kind: 'note', tone: 'bad', text: evil },
        { kind: 'figures', figures: [{ label: evil, value: evil, note: evil }] },
        { kind: 'table', caption: evil, columns: [evil], rows: [[evil]] },
        { kind: 'charts', charts: [{ svg: '<svg ></svg>', caption: evil }] },
      ],
    })),
  })
  doesNotMatch(html, /<script/)
  equal(html.split(escaped).length - 1, 4 + 4 * (1 + 1 + 11))
})

test('the page is one file that loads nothing, and the same content gives the same bytes', async () => {
  const draw = async (): Promise<string> => {
    const svg = await lineChart({
      title: 'Loss',
      description: 'd',
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
    return htmlPage(page({ kind: 'charts', charts: [{ svg }, { svg, caption: 'again' }] }))
  }
  const html = await draw()
  doesNotMatch(html, /<script|<link|<img|@import|src=/)
  equal(html.replaceAll('http://www.w3.org/2000/svg', '').includes('http://'), false)
  match(html, /default-src 'none'/)
  equal(await draw(), html)
})

test('columns of numbers are right-aligned, text and mixed ones are not, null is a dash', () => {
  const html = htmlPage(
    page({
      kind: 'table',
      columns: ['name', 'count', 'mixed'],
      rows: [
        ['a', 1234.5, 'x'],
        ['b', null, 2],
      ],
    }),
  )
  match(html, /<th scope="col">name<\/th><th scope="col" class="number">count<\/th><th scope="col">mixed<\/th>/)
  match(html, /<td>a<\/td><td class="number">1,234.5<\/td><td>x<\/td>/)
  match(html, /<td>b<\/td><td class="number">–<\/td><td>2<\/td>/)
})

test('a column with fixed decimals keeps them, so that points stand below each other', () => {
  const rows = [0.5, -0.00001, 1234].map((value) => [value])
  const html = htmlPage(page({ kind: 'table', columns: ['AUC'], decimals: [3], rows }))
  match(html, />0\.500<[^]*>0\.000<[^]*>1,234\.000</)
})

test('contents link to the sections of a long page', () => {
  const html = htmlPage({ title: 'Report', sections: ['a', 'b', 'c', 'd'].map((title) => ({ title, blocks: [] })) })
  for (const [, id] of html.matchAll(/href="#(\w+)"/g)) ok(html.includes(`<section id="${id!}">`))
  equal([...html.matchAll(/href="#/g)].length, 4)
})

for (const svg of [
  '<p>',
  '<svg ><script>1</script></svg>',
  '<svg onload="x()"></svg>',
  '<svg ><a xlink:href="http://x"></a></svg>',
  '<svg ><image /></svg>',
]) {
  test(`${svg} is not taken for a chart`, () => {
    throws(() => htmlPage(page({ kind: 'charts', charts: [{ svg }] })), { code: 'SIDESTREAM_USAGE_INVALID' })
  })
}

const numbers: [number | null, string][] = [
  [0, '0'],
  [12, '12'],
  [-3, '−3'],
  [0.5, '0.5'],
  [0.568123, '0.5681'],
  [99.999, '100'],
  [999.96, '1,000'],
  [1234.56, '1,234.6'],
  [123_456, '123,456'],
  [1_234_567.8, '1,234,568'],
  [-98_765, '−98,765'],
  [0.00001234, '1.234e-5'],
  [5e-7, '5e-7'],
  [1e15, '1e+15'],
  [Infinity, '∞'],
  [NaN, '–'],
  [null, '–'],
]
for (const [value, text] of numbers) {
  test(`${value} reads ${text}`, () => equal(formatNumber(value), text))
}
