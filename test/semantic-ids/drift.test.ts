import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { driftFigures, driftReasons, reconstruction, squaredErrors, type WatchedItem } from '../../semantic-ids/index.ts'
import { codebooks, encoded, settings, x } from './golden.ts'

const thresholds = { minItems: 4, errorRatio: 2, headShare: 0.6, capacity: 2, occupancyRise: 0.2 }
const item = (bucket: string, error: number, isNew: boolean): WatchedItem => ({ bucket, firstCode: Number(bucket[0]), error, isNew })
const old = ['0,0', '0,1', '1,0', '1,1', '2,0', '2,1'].map((bucket) => item(bucket, 1, false))

test('errors are those of the golden reconstruction, item by item', () => {
  const errors = squaredErrors(x, encoded, codebooks, settings)
  const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length
  ok(Math.abs(mean - reconstruction(x, encoded, codebooks, settings).distortion) < 1e-6)
})

test('figures by hand: new items apart, buckets above the capacity counted whole, in any order', () => {
  const fresh = [item('0,0', 3, true), item('0,0', 3, true), item('0,1', 1, true), item('2,0', 1, true)]
  const figures = driftFigures([...old, ...fresh], 2)
  deepStrictEqual(figures, {
    items: 10,
    newItems: 4,
    newError: 2,
    fittedError: 1,
    headShare: 0.75,
    occupancy: 0.3,
    fittedOccupancy: 0,
  })
  deepStrictEqual(driftFigures([...fresh, ...old].reverse(), 2), figures)
})

test('each threshold proposes for itself, and only when it is passed', () => {
  const even = ['0,0', '1,0', '2,0', '2,1'].map((bucket) => item(bucket, 2, true))
  const reasons = (items: readonly WatchedItem[], more: object = {}): string[] =>
    driftReasons(driftFigures([...old, ...items], 2), { ...thresholds, ...more })
  deepStrictEqual(reasons(even), [], 'an error of exactly the ratio passes')
  const worse = reasons(even.map((one) => ({ ...one, error: 2.1 })))
  deepStrictEqual([worse.length, worse[0]!.includes('2.10 times')], [1, true])
  deepStrictEqual(
    reasons(
      even.map((one) => ({ ...one, error: 2.1 })),
      { errorRatio: null },
    ),
    [],
  )
  const crowded = [...even.slice(0, 1), ...['1,0', '1,1', '1,1'].map((bucket) => item(bucket, 1, true))]
  deepStrictEqual(
    reasons(crowded).map((reason) => /one first code|share their ID/.exec(reason)![0]),
    ['one first code', 'share their ID'],
  )
  deepStrictEqual(reasons(crowded, { headShare: null, occupancyRise: null }), [])
  deepStrictEqual(reasons(crowded, { minItems: 5 }), [], 'too few to judge')
})

test('nothing, new items alone and old items alone are no cause', () => {
  equal(driftFigures([], 2).occupancy, 0)
  deepStrictEqual(driftReasons(driftFigures([], 2), { ...thresholds, minItems: 1 }), [])
  deepStrictEqual(driftReasons(driftFigures(old, 2), { ...thresholds, minItems: 1 }), [])
  const alone = driftFigures(
    old.map((one) => ({ ...one, isNew: true })),
    2,
  )
  deepStrictEqual([alone.fittedError, driftReasons(alone, thresholds)], [null, []])
})
