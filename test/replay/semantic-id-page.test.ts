import { doesNotMatch, equal, match, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { semanticIdPage } from '../../replay/index.ts'
import { codebooksOf, encode, idSpace, qualityGate, qualityReport, resolveCollisions } from '../../semantic-ids/index.ts'

const rows = 60
const dim = 3
const x = Float32Array.from({ length: rows * dim }, (_, at) => Math.sin(at * 1.7) + (at % 5) / 4)
const book = (scale: number, size: number): Float32Array => Float32Array.from({ length: size * dim }, (_, at) => scale * Math.cos(at * 2.3))
const codebooks = codebooksOf(dim, [book(1, 6), book(0.5, 5)])
const settings = { normalize: false }
const codes = encode(x, codebooks, settings)
const sizes = [6, 5]
const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
const titles = ids.map((id, row) => (row === 0 ? '<script>alert("Tom & Jerry")</script>' : `Title of ${id}`))
const labels = ids.map((_, row) => ['news', 'sport', 'films & series'][row % 3]!)

test('the page of a full report shows every part, loads nothing and escapes what items are called', async () => {
  const { codes: moved, report: collisions } = resolveCollisions({ codes, vectors: x, codebooks, settings, ids }, { capacity: 3 })
  const traffic = Float64Array.from(ids, (_, row) => 1 / (row + 1))
  const report = await qualityReport(
    { codes: moved, sizes, ids, vectors: x, codebooks, settings, labels, pairs: [0, 1, 2, 3], traffic, before: { codes, ids } },
    { neighbors: { k: 5 } },
  )
  const space = idSpace({ codes: moved, sizes, ids, titles, labels, traffic }, { examples: 60, prefixes: 6 })
  const gate = qualityGate({ uniqueRate: { min: 2 }, maxBucket: { max: 100 } }, report.figures)
  const page = await semanticIdPage({ report, space, collisions, gate, title: 'IDs of <films>' })
  equal(await semanticIdPage({ report, space, collisions, gate, title: 'IDs of <films>' }), page)
  equal(page.match(/<svg /g)!.length, 7)
  doesNotMatch(page, /<script|\son\w+=|<(?:link|img|iframe|object)\b|(?:src|href)="(?!#)/i)
  doesNotMatch(page, /NaN|undefined|Infinity/)
  for (const text of [
    'IDs of &lt;films&gt;',
    '&lt;script&gt;alert(',
    'films &amp; series',
    'Capacity 3, duplicates together',
    'uniqueRate',
    'Failed: 1 of 2 thresholds',
    'No first code changed',
    'Head: ',
  ]) {
    ok(page.includes(text), text)
  }
})

test('a part without data says so in a sentence', async () => {
  const bare = await semanticIdPage({ report: await qualityReport({ codes, sizes }) })
  for (const text of [
    'No map was asked for',
    'duplicates cannot be told',
    'labels (purity)',
    'vectors and codebooks were not both given',
    'No traffic was given',
    'no assignment before',
  ]) {
    ok(bare.includes(text), text)
  }
  equal(bare.match(/<svg /g)!.length, 1)
})

test('no items, one item and vectors that are all equal make a page', async () => {
  const nothing = {
    codes: new Uint16Array(0),
    sizes,
    vectors: new Float32Array(0),
    dim,
    traffic: new Float64Array(0),
    before: { codes: new Uint16Array(0) },
  }
  const none = await semanticIdPage({ report: await qualityReport(nothing), space: idSpace(nothing) })
  match(none, /there are no items/)
  doesNotMatch(none, /<svg|NaN|Infinity/)
  const single = { codes: Uint16Array.of(0, 0), sizes: [1, 1], vectors: x.slice(0, dim), dim, traffic: Float64Array.of(1), labels: ['a'] }
  doesNotMatch(await semanticIdPage({ report: await qualityReport(single), space: idSpace(single) }), /NaN|undefined/)
  const far = codebooksOf(1, [Float32Array.of(9)])
  const same = { codes: new Uint16Array(4), sizes: [1], vectors: new Float32Array(4).fill(1), dim: 1, codebooks: far, settings }
  match(await semanticIdPage({ report: await qualityReport(same), space: idSpace(same) }), /All vectors are equal and the codes miss them/)
})
