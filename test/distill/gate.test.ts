import { deepStrictEqual, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { gate } from '../../distill/index.ts'
import type { GateInput, GateRules } from '../../distill/index.ts'

const input: GateInput = {
  candidate: { coldPop: 0.56, warmPop: 0.6, recall10: 0.15, neighborRecall: 0.8, coldUni: null },
  raw: { coldPop: 0.57, warmPop: 0.55, recall10: 0.12, neighborRecall: 1, coldUni: null },
  live: { coldPop: 0.6, warmPop: 0.62, recall10: 0.16 },
  events: (name) => (name === 'recall10' ? 20 : 1000),
}

const verdicts = (rules: GateRules, from: GateInput = input, minEvents = 500) =>
  gate(rules, from, minEvents).map(({ figure, rule, against, verdict }) => [figure, rule, against, verdict])

test('every threshold gives a row, on the bound it still passes', () => {
  deepStrictEqual(verdicts({ coldPop: { min: 0.56, max: 0.5, maxLoss: 0.02 }, warmPop: { min: 0.61 } }), [
    ['coldPop', 'min', null, 'pass'],
    ['coldPop', 'max', null, 'fail'],
    ['coldPop', 'maxLoss', 'raw', 'pass'],
    ['warmPop', 'min', null, 'fail'],
  ])
  deepStrictEqual(verdicts({}), [])
})

test('a loss is held against the live version for warm items, else against raw vectors, unless it is said', () => {
  const loss = { maxLoss: 0.015 }
  deepStrictEqual(verdicts({ warmPop: loss, coldPop: loss }), [
    ['warmPop', 'maxLoss', 'live', 'fail'],
    ['coldPop', 'maxLoss', 'raw', 'pass'],
  ])
  deepStrictEqual(verdicts({ warmPop: { ...loss, against: 'raw' }, coldPop: { ...loss, against: 'live' } }), [
    ['warmPop', 'maxLoss', 'raw', 'pass'],
    ['coldPop', 'maxLoss', 'live', 'fail'],
  ])
  deepStrictEqual(verdicts({ warmPop: loss }, { ...input, live: null }), [['warmPop', 'maxLoss', 'raw', 'pass']])
})

test('a row tells what was compared, as plain JSON', () => {
  const [row] = gate({ warmPop: { maxLoss: 0.01 } }, input, 500)
  deepStrictEqual(row, {
    figure: 'warmPop',
    rule: 'maxLoss',
    bound: 0.01,
    candidate: 0.6,
    against: 'live',
    reference: 0.62,
    events: 1000,
    verdict: 'fail',
  })
  deepStrictEqual(JSON.parse(JSON.stringify(row)), row)
})

test('a figure with too little behind it, or without a reference, is not judged', () => {
  deepStrictEqual(verdicts({ recall10: { min: 0.9 } }), [['recall10', 'min', null, 'insufficient']])
  deepStrictEqual(verdicts({ recall10: { min: 0.9 } }, input, 20), [['recall10', 'min', null, 'fail']])
  deepStrictEqual(verdicts({ coldUni: { min: 0.9 }, pairRecall50: { max: 0 } }), [
    ['coldUni', 'min', null, 'insufficient'],
    ['pairRecall50', 'max', null, 'insufficient'],
  ])
  deepStrictEqual(verdicts({ neighborRecall: { maxLoss: 0.01, against: 'live' } }), [['neighborRecall', 'maxLoss', 'live', 'insufficient']])
})

test('neighbors of a small catalogue are judged, for all of it was asked', () => {
  strictEqual(gate({ neighborRecall: { min: 0.9 } }, { ...input, events: () => 60 }, 500)[0]!.verdict, 'fail')
})

test('a figure that does not exist is refused by name', () => {
  throws(() => gate({ coldRecal10: { min: 0 } } as GateRules, input, 500), { code: 'SIDESTREAM_USAGE_INVALID', message: /coldRecal10/ })
})
