import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { uniform } from '../../compute/index.ts'
import { HeadEncoder, interpolateHeads, paretoSweep, tradeFigures } from '../../distill/index.ts'
import type { Head, Judgement, TradeFigures } from '../../distill/index.ts'
import { worldHead, worldItems } from './head-world.ts'

const items = worldItems(30)
const a = worldHead(items)

/** The head after some training: every parameter moved. */
function moved(head: Head, by: number): Head {
  const parameters = [...head.parameters].map(([name, { dtype, dims, data }], p) => {
    return [name, { dtype, dims, data: data.map((value, i) => value + by * (uniform(8, p, i) - 0.5)) }] as const
  })
  return { ...head, parameters: new Map(parameters) }
}
const b = moved(a, 0.4)
const parametersOf = (head: Head): [string, Float32Array][] => [...head.parameters].map(([name, { data }]) => [name, data])

test('the ends are the two heads to the bit, and stay apart from them', () => {
  deepStrictEqual(parametersOf(interpolateHeads(a, b, 0)), parametersOf(a))
  deepStrictEqual(parametersOf(interpolateHeads(a, b, 1)), parametersOf(b))
  const copy = interpolateHeads(a, b, 0)
  copy.parameters.get('text.P')!.data[0] = 99
  ok(a.parameters.get('text.P')!.data[0] !== 99)
  const broken = moved(a, Infinity)
  deepStrictEqual(parametersOf(interpolateHeads(a, broken, 0)), parametersOf(a))
})

test('between them every parameter is the weighted mean, and the head encodes', async () => {
  const head = interpolateHeads(a, b, 0.25)
  for (const [name, { data }] of head.parameters) {
    const [left, right] = [a.parameters.get(name)!.data, b.parameters.get(name)!.data]
    data.forEach((value, i) => strictEqual(value, Math.fround(0.75 * left[i]! + 0.25 * right[i]!), name))
  }
  const encoder = await HeadEncoder.create(head)
  try {
    const { published } = await encoder.encode([...items.values()])
    strictEqual(published.length, 30 * encoder.dim)
    ok(published.every(Number.isFinite))
  } finally {
    await encoder.close()
  }
})

test('heads of which the numbers mean different things are refused, with what differs', () => {
  const refused = (other: Head, message: RegExp): void =>
    throws(() => interpolateHeads(a, other, 0.5), { code: 'SIDESTREAM_USAGE_INVALID', message })
  refused(worldHead(items, { hidden: 9 }), /hidden is 7 in one and 9 in the other/)
  refused(worldHead(items, { seed: 4 }), /seed is 3 .* 4/)
  refused(worldHead(worldItems(30, 2)), /input statistics of image differ \(mean\)/)
  for (const k of [-0.1, 1.1, NaN]) throws(() => interpolateHeads(a, b, k), { code: 'SIDESTREAM_USAGE_INVALID', message: /from 0 to 1/ })
})

test('a sweep evaluates each step and takes the best that passes', async () => {
  const asked: number[] = []
  const curve = await paretoSweep(a, b, (head, k) => {
    asked.push(k)
    deepStrictEqual(parametersOf(head), parametersOf(interpolateHeads(a, b, k)))
    // Collaboration rises with k, content falls, cold items like the middle.
    return { content: 1 - k * k, collaborative: k, cold: 0.5 - Math.abs(k - 0.4), passes: k <= 0.65 }
  })
  deepStrictEqual(asked, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
  strictEqual(curve.chosen, 0.6)
  ok(curve.points.every(({ optimal }) => optimal))
  deepStrictEqual(JSON.parse(JSON.stringify(curve)), curve)
})

test('nothing passes, nothing is taken; an error of the evaluation comes out', async () => {
  const none = await paretoSweep(a, b, () => ({ content: 1, collaborative: 1, cold: null, passes: false }), [0, 1])
  deepStrictEqual([none.chosen, none.points.length], [null, 2])
  await rejects(
    paretoSweep(a, b, () => Promise.reject(new Error('no events'))),
    /no events/,
  )
})

test('optimal points are those that no other point beats, and the choice is among the best that pass', async () => {
  const figure = fc.oneof(fc.constantFrom(0.1, 0.2, 0.3), fc.constant(null))
  const trade = fc.record({ content: figure, collaborative: figure, cold: figure, passes: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(fc.array(trade, { minLength: 1, maxLength: 8 }), async (trades) => {
      const steps = trades.map((_, i) => i / 8)
      const { points, chosen } = await paretoSweep(a, b, (_, k) => trades[k * 8]!, steps)
      const numbers = ({ content, collaborative, cold }: TradeFigures): number[] => [content ?? -1, collaborative ?? -1, cold ?? -1]
      for (const [i, point] of points.entries()) {
        const own = numbers(trades[i]!)
        const beaten = trades.some((other) => {
          const theirs = numbers(other)
          return theirs.every((value, f) => value >= own[f]!) && theirs.some((value, f) => value > own[f]!)
        })
        deepStrictEqual(point, { k: steps[i], ...trades[i]!, optimal: !beaten })
      }
      const passing = trades.flatMap(({ passes, collaborative }) => (passes ? [collaborative ?? -1] : []))
      const taken = points.find(({ k }) => k === chosen)
      if (passing.length === 0) strictEqual(taken, undefined)
      else deepStrictEqual([taken!.passes, taken!.collaborative ?? -1], [true, Math.max(...passing)])
    }),
    { numRuns: 60 },
  )
})

test('a judgment gives the figures of a point: pairs before neighbors', () => {
  const candidate = { neighborRecall: 0.9, warmPop: 0.6, coldPop: 0.5 }
  const judged = (figures: object, verdict = 'pass') => tradeFigures({ verdict, metrics: { candidate: figures } } as unknown as Judgement)
  deepStrictEqual(judged(candidate), { content: 0.9, collaborative: 0.6, cold: 0.5, passes: true })
  deepStrictEqual(judged({ ...candidate, pairRecall50: 0.7, coldPop: null }, 'refused'), {
    content: 0.7,
    collaborative: 0.6,
    cold: null,
    passes: false,
  })
})
