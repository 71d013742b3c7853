import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readColumns, writeParquet } from '../../schemas/index.ts'
import { qualityColumns, qualityGate, qualityGateReason, qualityReport, qualityTable } from '../../semantic-ids/index.ts'
import { codebooks, encoded, flat, golden, refreshed, settings, weights, x } from './golden.ts'

const codes = flat(golden.refresh['sticky_0.25'].codes)
const report = await qualityReport(
  { codes, sizes: [6, 5], vectors: refreshed, codebooks, settings, traffic: weights, before: { codes: encoded, vectors: x } },
  { neighbors: { k: 5 } },
)

test('each threshold gives one row, and a failed one says why', () => {
  const rows = qualityGate(
    {
      uniqueRate: { min: 0.3, max: 0.4 },
      'level1.dead': { max: 0 },
      'churn.full': { max: 0.1 },
      'tail.prefix1.hitRecall': { min: 0 },
      fvu: { maxLoss: 0.01, min: null },
      meanCosine: { maxLoss: 0.5 },
    },
    report.figures,
  )
  deepStrictEqual(
    rows.map(({ figure, rule, verdict }) => [figure, rule, verdict]),
    [
      ['uniqueRate', 'min', 'pass'],
      ['uniqueRate', 'max', 'pass'],
      ['level1.dead', 'max', 'fail'],
      ['churn.full', 'max', 'fail'],
      ['tail.prefix1.hitRecall', 'min', 'pass'],
      // FVU rose by .0425: less is better, so that is a loss.
      ['fvu', 'maxLoss', 'fail'],
      ['meanCosine', 'maxLoss', 'pass'],
    ],
  )
  deepStrictEqual([rows[5]!.against, rows[0]!.against], ['before', null])
  equal(qualityGateReason(rows[3]!), 'churn.full 0.3333, at most 0.1 is allowed')
  equal(qualityGateReason(rows[5]!), 'fvu 0.1175 against 0.0750 before, at most 0.01 worse is allowed')
})

test('a figure exactly on its bound passes', () => {
  const row = (figure: string) => report.figures.find((one) => one.figure === figure)!
  const loss = row('fvu').shared! - row('fvu').before!
  const rules = { uniqueRate: { min: row('uniqueRate').value!, max: row('uniqueRate').value! }, fvu: { maxLoss: loss } }
  deepStrictEqual(
    qualityGate(rules, report.figures).map(({ verdict }) => verdict),
    ['pass', 'pass', 'pass'],
  )
  const beyond = {
    uniqueRate: { min: row('uniqueRate').value! + 1e-12, max: row('uniqueRate').value! - 1e-12 },
    fvu: { maxLoss: loss - 1e-12 },
  }
  deepStrictEqual(
    qualityGate(beyond, report.figures).map(({ verdict }) => verdict),
    ['fail', 'fail', 'fail'],
  )
})

test('a wrong name is answered with the nearest figures, or with all by kind', () => {
  throws(() => qualityGate({ 'level2.ded': { max: 0 } }, report.figures), /did you mean level2\.dead\?/)
  throws(() => qualityGate({ dead: { max: 0 } }, report.figures), /did you mean level1\.dead, level2\.dead\?/)
  throws(
    () => qualityGate({ nonsense: { max: 0 } }, report.figures),
    /no figure nonsense\..*\n {2}items, .*\n {2}level1\.used, .*\n {2}prefix1\./,
  )
})

test('a figure whose input was not given names it, and the list has no empty lines', async () => {
  const alone = (await qualityReport({ codes, sizes: [6, 5] })).figures
  for (const [name, figures, input] of [
    ['prefix1.purity', report.figures, /no figure prefix1\.purity: that takes labels \(--labels\)$/],
    ['purity', alone, /takes labels/],
    ['prefix2.coOccurrenceRecall', report.figures, /takes pairs \(--pairs\)$/],
    ['fvu', alone, /takes the codebooks and vectors/],
    ['level1.residualNorm', alone, /takes the codebooks and vectors/],
    ['collidingRate', alone, /takes vectors \(--in\)$/],
    ['prefix1.hitRecall', alone, /takes vectors, and nearest items/],
    ['churn.full', alone, /takes earlier codes \(--previous\)$/],
    ['churn.trafficWeighted', alone, /takes earlier codes and traffic/],
  ] as const)
    throws(() => qualityGate({ [name]: { max: 0 } }, figures), input)
  throws(
    () => qualityGate({ nonsense: { max: 0 } }, alone),
    ({ message }: Error) => message.split('\n').length === 5 && message.split('\n').every((line) => line.trim() !== ''),
  )
})

test('a figure with too little behind it is insufficient and fails nothing', () => {
  equal(qualityGate({ 'head.uniqueRate': { min: 2 } }, report.figures, 1000)[0]!.verdict, 'insufficient')
})

test('what was not measured, or cannot be held against anything, is refused', async () => {
  const usage = { code: 'SIDESTREAM_USAGE_INVALID' }
  throws(() => qualityGate({ uniquerate: { min: 0 } }, report.figures), { ...usage, message: /no figure uniquerate.*uniqueRate/s })
  throws(() => qualityGate({ 'prefix1.purity': { min: 0 } }, report.figures), usage)
  throws(() => qualityGate({ 'churn.full': { maxLoss: 0 } }, report.figures), usage)
  throws(() => qualityGate({ items: { maxLoss: 0 } }, report.figures), usage)
  throws(() => qualityGate({ fvu: { max: NaN } }, report.figures), usage)
  const alone = await qualityReport({ codes, sizes: [6, 5] })
  throws(() => qualityGate({ uniqueRate: { maxLoss: 0 } }, alone.figures), { ...usage, message: /previous codes/ })
})

test('the table goes to Parquet and back', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sidestream-quality-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'figures.parquet')
  await writeParquet(file, qualityColumns, (rows) => rows.write(qualityTable(report.figures)))
  let rows = 0
  for await (const batch of readColumns(file, { columns: ['figure', 'value', 'delta', 'level'] })) {
    const figure = batch.columns['figure'] as string[]
    const at = figure.indexOf('fvu')
    if (at >= 0) {
      const row = report.figures.find((one) => one.figure === 'fvu')!
      deepStrictEqual([(batch.columns['value'] as number[])[at], (batch.columns['delta'] as number[])[at]], [row.value, row.delta])
      ok((batch.columns['level'] as unknown[])[at] == null)
    }
    rows += figure.length
  }
  equal(rows, report.figures.length)
})

test('the report is plain JSON with names that are there once', () => {
  const names = report.figures.map(({ figure }) => figure)
  equal(new Set(names).size, names.length)
  deepStrictEqual(JSON.parse(JSON.stringify(report)), report)
})
