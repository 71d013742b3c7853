import { deepEqual, doesNotMatch, equal, match, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { comparableSteps } from '../../cli/demo/comparable-steps.ts'
import { demoPage } from '../../cli/demo/page.ts'
import { demoSummary } from '../../cli/demo/summary.ts'
import type { DemoReport } from '../../cli/demo/demo-report.ts'
import { exampleReport } from './demo-report.fixture.ts'

const report = exampleReport()

/** A run that was cut short before anything came of it. */
const empty: DemoReport = {
  ...report,
  counts: { interactions: 0, contents: 0, idEmbeddings: 0, samples: 0, deadLetters: 0, late: 0 },
  from: Infinity,
  until: -Infinity,
  losses: [],
  rounds: [],
  versions: [],
  judgement: null,
  quality: [],
  freshness: { count: 0, p50Ms: 0, p99Ms: 0, maxMs: 0, bins: [] },
  change: { items: 0, churn: 0, churnFirstCode: 0, churnBudget: 0.1, meanCosine: null, meanPlainCosine: null, cosineBins: [] },
  history: [],
  examples: [],
}
/** Version 1 only, nothing judged, one step of training, no cold item. */
const single: DemoReport = {
  ...report,
  losses: [5.5],
  rounds: report.rounds.slice(0, 1),
  versions: report.versions.slice(0, 1),
  judgement: null,
  quality: report.quality.slice(0, 2).map((row) => ({ ...row, coldPop: null, coldRecall10: null })),
  change: empty.change,
  history: report.history.slice(0, 1),
  examples: report.examples.map((example) => ({ ...example, labels: [], neighbors: [] })),
}
const refused: DemoReport = {
  ...report,
  judgement: {
    ...report.judgement!,
    verdict: 'refused',
    clauses: report.judgement!.clauses.map((clause) => (clause.name === 'cold-popularity-auc' ? { ...clause, verdict: 'fail' } : clause)),
  },
  change: { ...report.change, churn: 0.2 },
}

test('the page is one file that loads and runs nothing', async () => {
  const html = await demoPage(report)
  doesNotMatch(html, /<script|<link|<img|<iframe|@import|src=|url\((?!#)/)
  equal(/https?:/.test(html.replaceAll('xmlns="http://www.w3.org/2000/svg"', '')), false)
})

test('a refusal names every clause and threshold it was for', async () => {
  const row = {
    figure: 'coldUni',
    rule: 'min',
    bound: 0.9,
    candidate: 0.7,
    against: null,
    reference: null,
    events: 900,
    verdict: 'fail',
  } as const
  const judgement = { ...refused.judgement!, gate: [row, { ...row, figure: 'warmUni', verdict: 'pass' } as const] }
  const words = /refused the candidate: popularity AUC, cold lost more than is borne; outside gate\.coldUni\.min\./
  match(await demoPage({ ...refused, judgement }), words)
})

test('the same report gives the same bytes, and it may have been through JSON', async () => {
  const html = await demoPage(report)
  equal(await demoPage(JSON.parse(JSON.stringify(report)) as DemoReport), html)
  equal(demoSummary(JSON.parse(JSON.stringify(report)) as DemoReport), demoSummary(report))
})

test('names from data are escaped wherever they stand', async () => {
  const evil = `<script>alert("x")</script><img src=x onerror='y()'>`
  const html = await demoPage({
    ...report,
    title: evil,
    source: evil,
    versions: report.versions.map((version) => ({ ...version, reason: evil, digest: evil })),
    quality: report.quality.map((row) => ({ ...row, name: evil })),
    examples: [{ item: evil, cold: true, sid: [1, 2], labels: [evil], neighbors: [{ item: evil, cosine: 1, labels: [evil] }] }],
  })
  doesNotMatch(html, /<script|<img/)
  ok(html.includes('&lt;script&gt;alert(&quot;x&quot;)'))
})

test('each part of the page has its picture, each picture its sentence', async () => {
  const html = await demoPage(report)
  equal(html.split('<svg ').length - 1, 11)
  equal(html.split('<figcaption>What to see: ').length - 1, 11)
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id)
  equal(new Set(ids).size, ids.length)
})

test('the page says the key figures', async () => {
  const html = await demoPage(report)
  const said = ['14.3 %', '13.8 %', '168 ms', '8.7 %', '5,941', '12-40-0', 'i4410', '+0.028 (+0.023 to +0.033)', 'too few to judge']
  for (const figure of said) ok(html.includes(figure), figure)
})

test('the summary says what came in, what was learned, how good, how fresh and what changed', () => {
  const text = demoSummary(report)
  const said = [
    '120,000 interactions',
    '51,204 training samples',
    'loss fell from 5.75 to 3.14 over 1,240 steps',
    'recall@10 rose from 11.2 % to 14.3 %',
    'recall@10 rose from 10.3 % to 13.8 %',
    'popularity AUC fell from 56.3 % to 56.1 %',
    'within 21 ms, 99 of 100 within 168 ms',
    '8.7 % of the 2,471 items',
    'allows 10.0 %',
    'Rollback (2 to 1) and forward (to 2) worked',
  ]
  for (const figure of said) ok(text.includes(figure), figure)
  ok(text.split('\n').length <= 36)
})

test('a refusal and a broken budget are said as such', async () => {
  for (const text of [demoSummary(refused), await demoPage(refused)]) {
    match(text, /The guard refused the candidate: popularity AUC, cold lost more than is borne/)
    match(text, /20\.0 % of the 2,471 items that both hold got another semantic ID; the churn budget allows 10\.0 %: EXCEEDED/)
    doesNotMatch(text, /Within budget|guard passed/)
  }
})

for (const [name, given] of Object.entries({ empty, single, refused })) {
  test(`a report that is ${name} breaks neither page nor summary`, async () => {
    const html = await demoPage(given)
    for (const text of [html, demoSummary(given)]) doesNotMatch(text, /NaN|undefined|Infinity|Invalid|∞|\[object/)
    match(html, /What the words mean/)
  })
}

test('one version alone claims no comparison of versions and no rollback', async () => {
  for (const text of [demoSummary(single), await demoPage(single)]) {
    match(text, /No rollback was tried/)
    doesNotMatch(text, /churn budget allows/)
  }
})

test('steps on small batches do not count as learned', async () => {
  const rounds = [
    { rows: 50, losses: [11.8] },
    { rows: 1000, losses: [18.2, 18.1] },
    { rows: 0, losses: [] },
    { rows: 300, losses: [17.9] },
    { rows: 20, losses: [8.8] },
  ]
  deepEqual(comparableSteps(rounds), { losses: [18.2, 18.1, 17.9], smallSteps: 2 })
  deepEqual(comparableSteps([]), { losses: [], smallSteps: 0 })
  match(
    demoSummary({ ...report, ...comparableSteps(rounds) }),
    /fell from 18\.20? to 17\.90? over 3 steps.* 2 steps on small batches left out/,
  )
  doesNotMatch(demoSummary(report), /small batches/)
})
