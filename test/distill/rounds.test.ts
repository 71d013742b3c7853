import { deepStrictEqual, doesNotThrow, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { checkEventTime, LaneWatermark, RoundClock } from '../../distill/index.ts'

const watermark = (source: string, watermarkTs: number) => ({ kind: 'watermark', source, watermarkTs }) as const

test('a round opens when the slowest source has passed its end', () => {
  const clock = new RoundClock(['a', 'b'], 100)
  clock.join(50)
  clock.apply(watermark('a', 500))
  strictEqual(clock.ready(), undefined, 'b has said nothing')
  clock.apply(watermark('b', 99))
  strictEqual(clock.ready(), undefined, 'an event of 99 may still come')
  clock.apply(watermark('b', 100))
  strictEqual(clock.ready(), 0)
})

test('rounds open one after another, oldest first, and empty ones are passed over', () => {
  const clock = new RoundClock(['a'], 100)
  for (const time of [510, 50, 70, 520]) clock.join(time)
  clock.apply(watermark('a', 600))
  strictEqual(clock.ready(), 0)
  clock.close(0)
  strictEqual(clock.ready(), 5)
  clock.close(5)
  strictEqual(clock.ready(), undefined)
  strictEqual(clock.late, 0)
})

test('a row of a closed round joins the next and is counted late', () => {
  const clock = new RoundClock(['a'], 100)
  clock.join(50)
  clock.apply(watermark('a', 100))
  clock.close(clock.ready()!)
  deepStrictEqual(clock.join(60), { round: 1, late: true })
  deepStrictEqual(clock.join(160), { round: 1, late: false })
  strictEqual(clock.late, 1)
})

test('a watermark never goes back', () => {
  const clock = new RoundClock(['a'], 100)
  clock.apply(watermark('a', 300))
  clock.apply(watermark('a', 200))
  strictEqual(clock.watermark, 300)
})

test('end marks open every round that is left', () => {
  const clock = new RoundClock(['a', 'b'], 100)
  clock.join(1e12)
  clock.apply(watermark('a', Infinity))
  strictEqual(clock.ready(), undefined)
  clock.apply(watermark('b', Infinity))
  strictEqual(clock.ready(), 1e10)
})

test('a logged tick moves idle sources on', () => {
  const clock = new RoundClock(['a', 'idle', 'quiet'], 100)
  clock.join(10)
  clock.apply(watermark('a', 150))
  clock.apply({ kind: 'tick', sources: ['idle', 'quiet'], watermarkTs: 140 })
  strictEqual(clock.watermark, 140)
  strictEqual(clock.ready(), 0)
})

test('a source that was not named is refused: the clock could not have waited for it', () => {
  throws(() => new RoundClock(['a'], 100).apply(watermark('b', 1)), { code: 'SIDESTREAM_USAGE_INVALID' })
})

test('a clock goes on from its snapshot as JSON', () => {
  const clock = new RoundClock(['a', 'b', 'c'], 100)
  for (const time of [50, 150, 151]) clock.join(time)
  clock.apply(watermark('a', Infinity))
  clock.apply(watermark('b', 170))
  clock.apply(watermark('c', 100))
  clock.close(clock.ready()!)
  clock.join(20)
  const restored = RoundClock.restore(JSON.parse(JSON.stringify(clock.snapshot())) as ReturnType<RoundClock['snapshot']>)
  for (const each of [clock, restored]) {
    strictEqual(each.watermark, 100)
    strictEqual(each.ready(), undefined)
    each.apply(watermark('b', 250))
    each.apply(watermark('c', 200))
    strictEqual(each.ready(), 1)
    strictEqual(each.late, 1)
    deepStrictEqual(each.join(99), { round: 1, late: true })
  }
  deepStrictEqual(restored.snapshot(), clock.snapshot())
})

test('a fresh clock survives its snapshot too', () => {
  const fresh = new RoundClock(['a'], 100)
  deepStrictEqual(RoundClock.restore(fresh.snapshot()).snapshot(), fresh.snapshot())
  strictEqual(RoundClock.restore(fresh.snapshot()).closed, -Infinity)
})

test('a lane stays the allowed lateness behind its newest event and never goes back', () => {
  const lane = new LaneWatermark(30)
  strictEqual(lane.value, -Infinity)
  deepStrictEqual(
    [100, 60, 120].map((time) => lane.observe(time)),
    [70, 70, 90],
  )
  strictEqual(lane.end(), Infinity)
  strictEqual(lane.observe(500), Infinity)
})

test('an event too far ahead of its log time is poison, unless it brings its own clock', () => {
  doesNotThrow(() => checkEventTime(1300, 1000, 300))
  throws(() => checkEventTime(1301, 1000, 300), { code: 'SIDESTREAM_EVENT_IN_FUTURE', class: 'poison' })
  doesNotThrow(() => checkEventTime(1e15, undefined, 300))
})
