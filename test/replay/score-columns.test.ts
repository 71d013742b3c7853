import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { aucReport } from '../../replay/index.ts'
import { readColumns } from '../../schemas/index.ts'
import type { ColumnBatch } from '../../schemas/index.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/auc.json', import.meta.url), 'utf8')) as {
  inputs: { user: number[]; item: number[]; label: number[]; score_a: number[]; score_b: number[] }
  auc: Record<'a' | 'b', { auc: number }>
}

function batch(columns: Record<string, readonly unknown[]>, start = 0): ColumnBatch {
  return { file: 'scores.parquet', start, rows: Object.values(columns)[0]!.length, columns, share: 1 }
}

test('a CSV file read in small batches gives the golden AUC of both arms', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sidestream-auc-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'scores.csv')
  const { user, item, label, score_a: a, score_b: b } = golden.inputs
  writeFileSync(file, ['user,item,label,a,b', ...label.map((y, i) => [user[i], item[i], y, a[i], b[i]].join(','))].join('\n') + '\n')
  const report = await aucReport(readColumns(file, { batchRows: 7 }), { label: 'label', scores: ['a', 'b'], group: 'user', item: 'item' })
  equal(report.rows, 60)
  equal(report.positives, 23)
  equal(report.groups, new Set(user).size)
  equal(report.items, new Set(item).size)
  deepEqual(
    report.arms.map(({ score }) => score),
    ['a', 'b'],
  )
  report.arms.forEach((arm) => ok(Math.abs(arm.auc! - golden.auc[arm.score as 'a' | 'b'].auc) < 1e-12))
})

test('labels may be booleans, bigints, numbers or text', async () => {
  const scores = [0.9, 0.1, 0.8, 0.2]
  for (const labels of [
    [true, false, true, false],
    [1n, 0n, 1n, 0n],
    [1, 0, 1, 0],
    ['1', '0', 'true', 'FALSE'],
    ['1.0', '0.0', '1', '0'],
  ]) {
    const report = await aucReport([batch({ y: labels, s: scores })], { label: 'y', scores: ['s'] })
    deepEqual([report.rows, report.positives, report.arms[0]!.auc], [4, 2, 1])
  }
})

test('scores that are no probabilities keep their AUC and say why there is no log loss', async () => {
  const { arms } = await aucReport([batch({ y: [1, 0], s: [3.5, -2] })], { label: 'y', scores: ['s'] })
  equal(arms[0]!.auc, 1)
  equal(arms[0]!.logLoss, null)
  match(arms[0]!.logLossReason!, /probabilities/)
})

test('one class, or no rows at all, is said', async () => {
  const one = await aucReport([batch({ y: [0, 0], s: [0.5, 0.5] })], { label: 'y', scores: ['s'] })
  equal(one.arms[0]!.auc, null)
  match(one.arms[0]!.aucReason!, /negative/)
  const none = await aucReport([], { label: 'y', scores: ['s'] })
  equal(none.rows, 0)
  match(none.arms[0]!.aucReason!, /no rows/)
})

const badCells: [string, Record<string, unknown[]>, RegExp][] = [
  ['a missing score', { y: [1, 0], s: [0.5, null] }, /scores.parquet: row 102, column s/],
  ['a NaN score', { y: [1, 0], s: [0.5, NaN] }, /row 102, column s/],
  ['a score that is text', { y: [1, 0], s: ['0.5', 'high'] }, /row 102, column s/],
  ['a label of 2', { y: [1, 2], s: [0.5, 0.5] }, /row 102, column y: a label must be 0 or 1 \(got 2\)/],
  ['a missing label', { y: [1, null], s: [0.5, 0.5] }, /row 102, column y/],
  ['a missing column', { y: [1, 0] }, /no column s/],
]
for (const [what, columns, message] of badCells) {
  test(`${what} is an error that names the place`, async () => {
    await rejects(aucReport([batch(columns, 100)], { label: 'y', scores: ['s'] }), { code: 'SIDESTREAM_FILE_INVALID', message })
  })
}

test('no score column is an error of use', async () => {
  await rejects(aucReport([], { label: 'y', scores: [] }), { code: 'SIDESTREAM_USAGE_INVALID' })
})
