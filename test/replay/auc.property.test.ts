import { equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { exactAuc, logLoss } from '../../replay/index.ts'

/** Scores with many ties, near-ties below float32, and extremes. */
const score = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom(-0, 0, Infinity, -Infinity, 1 + 2 ** -30, 1 + 2 ** -31, 1e300, 2e300, Number.MIN_VALUE),
  fc.double({ noNaN: true }),
)
const scoredRows = fc.array(fc.tuple(score, fc.constantFrom(0, 1)), { maxLength: 60 })

function columns(rows: readonly (readonly [number, number])[]): [Float64Array, Uint8Array] {
  return [Float64Array.from(rows, ([value]) => value), Uint8Array.from(rows, ([, label]) => label)]
}

test('AUC is the share of (positive, negative) pairs in the right order, ties half', () => {
  fc.assert(
    fc.property(scoredRows, (rows) => {
      let wins = 0
      let ties = 0
      let pairs = 0
      for (const [high, one] of rows) {
        for (const [low, zero] of rows) {
          if (one !== 1 || zero !== 0) continue
          pairs++
          if (high > low) wins++
          else if (high === low) ties++
        }
      }
      const result = exactAuc(...columns(rows))
      equal(result.tiedPairs, ties)
      if (pairs === 0) equal(result.auc, null)
      else ok(Math.abs(result.auc! - (wins + ties / 2) / pairs) < 1e-12)
    }),
    { numRuns: 500 },
  )
})

test('row order does not matter, and flipped labels give one minus the AUC', () => {
  fc.assert(
    fc.property(scoredRows, (rows) => {
      const { auc } = exactAuc(...columns(rows))
      equal(exactAuc(...columns([...rows].reverse())).auc, auc)
      const flipped = exactAuc(...columns(rows.map(([value, label]) => [value, 1 - label] as const))).auc
      if (auc === null) equal(flipped, null)
      else ok(Math.abs(auc + flipped! - 1) < 1e-12)
    }),
  )
})

test('no constant has a lower log loss than the base rate', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 1 }), { minLength: 1, maxLength: 50 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (truth, constant) => {
        const labels = Uint8Array.from(truth)
        const rate = truth.reduce((sum, label) => sum + label, 0) / truth.length
        const best = logLoss(new Float64Array(truth.length).fill(rate), labels).logLoss!
        ok(logLoss(new Float64Array(truth.length).fill(constant), labels).logLoss! >= best - 1e-12)
      },
    ),
  )
})
