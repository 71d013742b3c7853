/** The owner's copy of distill-samples: a sample is one row, however often the log brings it. */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { memoryState } from '../../connectors/index.ts'
import { RoundClock } from '../../distill/index.ts'
import { clockPut, loadClock, roundRows, samplePuts } from '../../pipeline/samples-state.ts'
import { Codec } from '../../schemas/index.ts'
import type { DistillSample } from '../../schemas/index.ts'

const roundMs = 1000
const codec = new Codec()
const sampleAt = (eventTs: number): DistillSample => ({
  kind: 'sample',
  source: 'seq2item',
  userId: 'u',
  targetId: 'b',
  eventTs,
  history: ['a'],
})

test('a late sample that comes again after more rounds have closed is not taken twice', async () => {
  const state = memoryState()
  const clock = new RoundClock(['interactions/0@0'], roundMs)
  const take = async (samples: readonly DistillSample[]): Promise<void> =>
    state.commit({ puts: [...samplePuts(state, clock, codec, samples), clockPut(clock)] })
  const rowsOf = (round: number): number => roundRows(state, codec, round).length

  await take([sampleAt(2500), sampleAt(2500)])
  clock.close(4)
  await take([sampleAt(1500), sampleAt(1500), sampleAt(2500)])
  deepStrictEqual([rowsOf(1), rowsOf(2), rowsOf(5), clock.late], [0, 1, 1, 1])
  clock.close(7)
  await take([sampleAt(1500), sampleAt(2500)])
  deepStrictEqual([rowsOf(1), rowsOf(2), rowsOf(5), rowsOf(8), clock.late], [0, 1, 1, 0, 1])

  const restored = loadClock(state, ['interactions/0@0'], roundMs)
  deepStrictEqual(restored.snapshot(), clock.snapshot())
  strictEqual(restored.closed, 7)
})
