import { deepEqual, equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { binValues, logTicks } from '../../replay/histogram-bins.ts'

const measured = fc.array(
  fc.oneof(fc.integer({ min: -20, max: 20 }), fc.double({ min: -1e6, max: 1e6, noNaN: true }), fc.constantFrom(NaN, Infinity)),
  { maxLength: 60 },
)
const binCount = fc.integer({ min: 1, max: 40 })

for (const isLog of [false, true]) {
  test(`every finite value is in exactly one bin, edges ascend from least to largest (${isLog ? 'log' : 'linear'})`, () => {
    fc.assert(
      fc.property(measured, binCount, (values, bins) => {
        const { edges, counts } = binValues(values, bins, isLog)
        equal(counts.length, bins)
        equal(
          counts.reduce((sum, count) => sum + count, 0),
          values.filter(Number.isFinite).length,
        )
        for (let i = 0; i < bins; i++) ok(edges[i]! <= edges[i + 1]!)
        const shown = values.filter((value) => Number.isFinite(value) && (!isLog || value > 0))
        if (new Set(shown).size > 1) deepEqual([edges[0], edges[bins]], [Math.min(...shown), Math.max(...shown)])
      }),
    )
  })
}

test('values lie in the bin of their edges', () => {
  const { edges, counts } = binValues([0, 1, 2, 3, 4], 4, false)
  deepEqual([...edges], [0, 1, 2, 3, 4])
  deepEqual([...counts], [1, 1, 1, 2])
})

test('a log axis holds the smallest and the largest number there is', () => {
  for (const value of [Number.MIN_VALUE, Number.MAX_VALUE]) deepEqual([...binValues([value], 1, true).counts], [1])
})

test('ticks of a log axis are 1, 2 and 5 times powers of ten, fewer over many decades', () => {
  deepEqual(logTicks(20.7, 352), [50, 100, 200])
  deepEqual(logTicks(1, 1e6), [1, 10, 100, 1000, 10_000, 100_000, 1_000_000])
})
