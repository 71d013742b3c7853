/** Kendall's tau, NMI, separability and ranks against their definitions over all pairs. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { auc, kendallTau, normalizedMutualInformation, ranksOf, SeparabilityCounter } from '../../compute/index.ts'

/** Few distinct values, so that ties are met. */
const score = fc.integer({ min: -6, max: 6 }).map((n) => n / 4)
const near = (actual: number, expected: number, tolerance = 1e-12): void =>
  ok(Object.is(actual, expected) || Math.abs(actual - expected) <= tolerance, `${actual}, expected ${expected}`)

test("Kendall's tau counts what all pairs give", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(score, score), { maxLength: 40 }), (pairs) => {
      let [concordant, discordant] = [0, 0]
      for (const [i, [a, b]] of pairs.entries()) {
        for (const [otherA, otherB] of pairs.slice(0, i)) {
          const agreement = Math.sign(a - otherA) * Math.sign(b - otherB)
          if (agreement > 0) concordant++
          if (agreement < 0) discordant++
        }
      }
      const actual = kendallTau(
        Float32Array.from(pairs, ([a]) => a),
        Float64Array.from(pairs, ([, b]) => b),
      )
      deepStrictEqual(actual, { concordant, discordant, tau: (concordant - discordant) / (concordant + discordant) })
    }),
  )
})

test("Kendall's tau of a ranking with itself is 1, with its reverse -1, and of ties alone nothing", () => {
  const up = Float64Array.from({ length: 1000 }, (_, i) => i)
  strictEqual(kendallTau(up, up).tau, 1)
  strictEqual(kendallTau(up, up.toReversed()).tau, -1)
  ok(Number.isNaN(kendallTau(up, new Float64Array(1000)).tau))
  throws(() => kendallTau(up, Float64Array.of(1)), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => kendallTau(Float64Array.of(1, 2), Float64Array.of(1, NaN)), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('NMI is its definition, whatever the labels are called', () => {
  const labels = fc.array(fc.tuple(fc.nat(4), fc.nat(3)), { minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(labels, (rows) => {
      const share = (holds: (row: readonly [number, number]) => boolean): number => rows.filter(holds).length / rows.length
      let [information, entropyA, entropyB] = [0, 0, 0]
      for (let a = 0; a < 5; a++) {
        const pa = share((row) => row[0] === a)
        if (pa > 0) entropyA -= pa * Math.log(pa)
        for (let b = 0; b < 4; b++) {
          const pb = share((row) => row[1] === b)
          const both = share((row) => row[0] === a && row[1] === b)
          if (a === 0 && pb > 0) entropyB -= pb * Math.log(pb)
          if (both > 0) information += both * Math.log(both / (pa * pb))
        }
      }
      const expected = entropyA + entropyB > 0 ? (2 * information) / (entropyA + entropyB) : NaN
      const [a, b] = [rows.map(([first]) => first), rows.map(([, second]) => second)]
      near(normalizedMutualInformation(a, b), expected)
      near(
        normalizedMutualInformation(
          a.map((label) => 7 - label * 3),
          b,
        ),
        expected,
      )
    }),
  )
  near(normalizedMutualInformation([0, 1, 2, 2], [5, 3, 4, 4]), 1)
  throws(() => normalizedMutualInformation([0, 1], [0]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('separability is mean, variance and AUC of the scores it was given', () => {
  const scores = fc.array(fc.oneof(score, fc.double({ min: -1, max: 1, noNaN: true })), { minLength: 2, maxLength: 30 })
  fc.assert(
    fc.property(scores, scores, (positives, negatives) => {
      const counter = new SeparabilityCounter(positives)
      for (const negative of negatives) counter.add(negative)
      const actual = counter.result()
      const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length
      const variance = (values: readonly number[]): number =>
        values.reduce((sum, x) => sum + (x - mean(values)) ** 2, 0) / (values.length - 1)
      deepStrictEqual([actual.positives, actual.negatives], [positives.length, negatives.length])
      near(actual.meanPositive, mean(positives))
      near(actual.meanNegative, mean(negatives))
      const spread = (variance(positives) + variance(negatives)) / 2
      if (spread > 1e-6) near(actual.dPrime, (mean(positives) - mean(negatives)) / Math.sqrt(spread), 1e-9)
      const all = Float64Array.of(...positives, ...negatives)
      near(
        actual.auc,
        auc(
          all,
          Uint8Array.from(all.keys(), (i) => (i < positives.length ? 1 : 0)),
        ),
      )
    }),
  )
})

test('separability without one side says nothing, and a positive that is no number is refused', () => {
  const none = new SeparabilityCounter([])
  none.add(0.5)
  deepStrictEqual([none.result().auc, none.result().dPrime, none.result().meanNegative], [NaN, NaN, 0.5])
  throws(() => new SeparabilityCounter([0.1, NaN]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('ranks are places in the sorted list, ties by lower index', () => {
  const asked = fc.array(score, { minLength: 1, maxLength: 30 }).chain((scores) =>
    fc.record({
      scores: fc.constant(scores),
      wanted: fc.array(fc.nat(scores.length - 1), { maxLength: 8 }),
      exclude: fc.integer({ min: -1, max: scores.length - 1 }),
    }),
  )
  fc.assert(
    fc.property(asked, ({ scores, wanted: any, exclude }) => {
      const wanted = Int32Array.from(any.filter((item) => item !== exclude))
      const sorted = [...scores.keys()].filter((item) => item !== exclude).sort((a, b) => scores[b]! - scores[a]! || a - b)
      deepStrictEqual(
        [...ranksOf(Float32Array.from(scores), wanted, exclude)],
        [...wanted].map((item) => sorted.indexOf(item)),
      )
    }),
  )
})
