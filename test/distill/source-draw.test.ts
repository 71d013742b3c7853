/** One source a step: frequencies of given seeds, restarts. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { drawSource } from '../../distill/index.ts'

const draws = (weights: readonly number[], seed: number, steps: number): number[] =>
  Array.from({ length: steps }, (_, step) => drawSource(weights, seed, step))

function counts(drawn: readonly number[], sources: number): number[] {
  const out = Array<number>(sources).fill(0)
  for (const source of drawn) out[source]!++
  return out
}

// Counted by Philox 4x32-10 written down once more in another language.
test('exact frequencies of given seeds', () => {
  const weights = [0.5, 0.3, 0.15, 0.05]
  deepStrictEqual(
    [1, 2, 3].map((seed) => counts(draws(weights, seed, 10_000), 4)),
    [
      [5060, 2981, 1489, 470],
      [4974, 3000, 1507, 519],
      [4911, 3115, 1485, 489],
    ],
  )
})

test('sources are drawn as often as their weights say, whatever the seed and the scale', () => {
  const weight = fc.oneof(fc.constant(0), fc.float({ min: Math.fround(0.02), max: 1, noNaN: true }))
  fc.assert(
    fc.property(fc.array(weight, { minLength: 1, maxLength: 6 }), fc.nat(), fc.constantFrom(1, 1000), (weights, seed, scale) => {
      const total = weights.reduce((sum, value) => sum + value, 0)
      const scaled = weights.map((value) => value * scale)
      const steps = 2000
      const drawn = draws(scaled, seed, steps)
      if (total === 0) return ok(drawn.every((source) => source === -1))
      counts(drawn, weights.length).forEach((count, s) => {
        const p = weights[s]! / total
        if (p === 0) strictEqual(count, 0)
        // Six standard deviations: once in 5e8 draws of a count.
        ok(Math.abs(count - steps * p) <= 6 * Math.sqrt(steps * p * (1 - p)) + 1e-9, `source ${s}: ${count} of ${steps} at ${p}`)
      })
    }),
    { seed: 5, numRuns: 60 },
  )
})

test('a restart at any step repeats the draws', () => {
  const weights = [1, 2, 3]
  const whole = draws(weights, 7, 300)
  for (const from of [0, 1, 137, 299]) strictEqual(drawSource(weights, 7, from), whole[from])
  ok(draws(weights, 8, 300).some((source, step) => source !== whole[step]))
  ok(drawSource(weights, 7, 2 ** 40) >= 0)
})
