import { equal, match, ok, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { exactAuc, logLoss } from '../../replay/index.ts'
import { isSidestreamError } from '../../schemas/index.ts'

interface Golden {
  inputs: { label: number[]; score_a: number[]; score_b: number[] }
  auc: Record<'a' | 'b', { auc: number; ties_between_classes: number }>
  probability: Record<'a' | 'b', { log_loss: number; rows_clipped: number }>
}
const golden = JSON.parse(readFileSync(new URL('../golden/auc.json', import.meta.url), 'utf8')) as Golden
const labels = Uint8Array.from(golden.inputs.label)

for (const arm of ['a', 'b'] as const) {
  const scores = Float64Array.from(golden.inputs[`score_${arm}`])

  test(`arm ${arm}: AUC and ties equal the golden values`, () => {
    const result = exactAuc(scores, labels)
    ok(Math.abs(result.auc! - golden.auc[arm].auc) < 1e-12)
    equal(result.tiedPairs, golden.auc[arm].ties_between_classes)
    equal(result.positives + result.negatives, labels.length)
  })

  test(`arm ${arm}: log loss and clipped rows equal the golden values`, () => {
    const result = logLoss(scores, labels)
    ok(Math.abs(result.logLoss! - golden.probability[arm].log_loss) < 1e-12)
    equal(result.clippedRows, golden.probability[arm].rows_clipped)
  })
}

test('one class only gives null with a reason, not one half', () => {
  const positive = exactAuc(new Float64Array([1, 2]), new Uint8Array([1, 1]))
  equal(positive.auc, null)
  match(positive.reason!, /all 2 rows are positive/)
  const negative = exactAuc(new Float64Array([1, 2]), new Uint8Array([0, 0]))
  equal(negative.auc, null)
  match(negative.reason!, /all 2 rows are negative/)
  match(exactAuc(new Float64Array(0), new Uint8Array(0)).reason!, /no rows/)
})

test('scores are ranked as float64: a difference that float32 loses still decides', () => {
  const result = exactAuc(new Float64Array([1, 1 + 2 ** -40]), new Uint8Array([0, 1]))
  equal(result.auc, 1)
  equal(result.tiedPairs, 0)
})

test('-0 equals 0, infinities are ordinary scores', () => {
  const zeros = exactAuc(new Float64Array([-0, 0]), new Uint8Array([1, 0]))
  equal(zeros.auc, 0.5)
  equal(zeros.tiedPairs, 1)
  equal(exactAuc(new Float64Array([-Infinity, Infinity, 1e300]), new Uint8Array([0, 1, 0])).auc, 1)
})

test('NaN is an error for both metrics', () => {
  const isShapeError = (error: unknown): boolean => isSidestreamError(error) && error.code === 'SIDESTREAM_SHAPE_MISMATCH'
  throws(() => exactAuc(new Float64Array([0.1, NaN]), new Uint8Array([0, 1])), isShapeError)
  throws(() => logLoss(new Float64Array([0.1, NaN]), new Uint8Array([0, 1])), isShapeError)
  throws(() => logLoss(new Float64Array(2), new Uint8Array(3)), isShapeError)
})

test('certain and wrong is clipped at 1e-15, certain and right costs next to nothing', () => {
  const wrong = logLoss(new Float64Array([0, 1]), new Uint8Array([1, 0]))
  ok(Math.abs(wrong.logLoss! - -Math.log(1e-15)) < 0.1)
  equal(wrong.clippedRows, 2)
  ok(logLoss(new Float64Array([0, 1]), new Uint8Array([0, 1])).logLoss! < 1e-14)
})

test('a tiny probability of a negative keeps its loss: ln(1-p) as log1p(-p)', () => {
  const { logLoss: loss, clippedRows } = logLoss(new Float64Array([3e-15]), new Uint8Array([0]))
  ok(Math.abs(loss! / 3e-15 - 1) < 1e-9)
  equal(clippedRows, 0)
})

test('scores outside [0, 1] have no log loss, and the range is said', () => {
  const result = logLoss(new Float64Array([-2.5, 0.5]), new Uint8Array([0, 1]))
  equal(result.logLoss, null)
  match(result.reason!, /from -2.5 to 0.5/)
})
