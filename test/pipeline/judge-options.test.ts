/** The judge of a stream and the one of files are asked the same. */
import { deepStrictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { judgeOptions } from '../../pipeline/judge-options.ts'
import { testConfig } from './fixture.ts'

test('every option of the guard reaches the judge, with the histories and the seed of training', () => {
  const guard = {
    mode: 'report',
    minNeighborRecall: 0.11,
    pairRecallTolerance: 0.12,
    popAucTolerance: 0.13,
    recallTolerance: 0.14,
    minEvents: 15,
    gate: { coldPop: { min: 0.16 } },
  }
  const config = { ...testConfig('.', { guard, sequences: { history: 6 } }), seed: 17 }
  // Whatever `guard` gets one day is here too, or this fails.
  const { mode, ...rules } = config.guard
  deepStrictEqual(judgeOptions(config), { ...rules, historyLength: 6, seed: 17 })
  deepStrictEqual({ mode, ...rules, gate: undefined }, { ...guard, gate: undefined })
})
