import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import { FreshnessHistogram } from '../../features/index.ts'

const histogramOf = (values: readonly number[]): FreshnessHistogram => {
  const histogram = new FreshnessHistogram()
  for (const value of values) histogram.record(value)
  return histogram
}

test('every quantile is at or above the exact one, by at most 1/32 or an eighth of a millisecond', () => {
  const durations = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(durations, fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
      const sorted = [...values].sort((a, b) => a - b)
      const exact = sorted[Math.max(1, Math.ceil(q * values.length)) - 1]!
      const estimate = histogramOf(values).quantile(q)
      ok(estimate >= exact, `${estimate} is below ${exact}`)
      ok(estimate <= Math.max(exact * (1 + 1 / 32), exact + 0.125) + 1e-9, `${estimate} is too far above ${exact}`)
    }),
  )
})

test('nothing recorded says zero; a negative duration counts as zero', () => {
  deepStrictEqual(new FreshnessHistogram().summary(), { count: 0, p50Ms: 0, p90Ms: 0, p99Ms: 0, maxMs: 0 })
  deepStrictEqual(histogramOf([-5]).summary(), { count: 1, p50Ms: 0, p90Ms: 0, p99Ms: 0, maxMs: 0 })
})

test('merged histograms answer as one that saw everything', () => {
  const a = [1, 5, 200, 7_000]
  const b = [0.3, 90, 90, 1e7]
  const merged = histogramOf(a)
  merged.merge(histogramOf(b))
  deepStrictEqual(merged.summary(), histogramOf([...a, ...b]).summary())
  deepStrictEqual(merged.bars(), histogramOf([...b, ...a]).bars())
})

test('bars hold every record once, in bounds that contain it', () => {
  const values = [0, 0.1, 8, 8.1, 63.9, 64, 1000, 1e15]
  const bars = histogramOf(values).bars()
  strictEqual(
    bars.reduce((sum, { count }) => sum + count, 0),
    values.length,
  )
  for (const value of values.slice(0, -1)) ok(bars.some(({ fromMs, toMs }) => fromMs <= value && value < toMs))
})
