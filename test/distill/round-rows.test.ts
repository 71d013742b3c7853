import { deepStrictEqual, notDeepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { prepareRound, sampleKey } from '../../distill/index.ts'
import type { RoundRow } from '../../distill/index.ts'
import type { DistillSample } from '../../schemas/index.ts'

const sample = (userId: string, targetId: string, ...history: string[]): DistillSample => ({
  kind: 'sample',
  source: 'seq2item',
  userId,
  targetId,
  eventTs: 1,
  history,
})

const all = { round: 0, seed: 1, isKnown: () => true }
const onlyKnown = (...ids: string[]) => ({ ...all, isKnown: (id: string) => ids.includes(id) })

const rowsOf = (...samples: DistillSample[]): RoundRow[] => samples.map((each) => ({ key: sampleKey(each), sample: each, waited: false }))

test('a sample that comes twice is one row', () => {
  const { rows, counts } = prepareRound(rowsOf(sample('u', 'a', 'b'), sample('u', 'a', 'b')), all)
  deepStrictEqual([rows, counts.duplicates], [[sample('u', 'a', 'b')], 1])
})

test('of two samples with one key the same is kept whichever came first', () => {
  const [long, short] = [sample('u', 'a', 'b', 'c'), sample('u', 'a', 'b')]
  for (const order of [
    [long, short],
    [short, long],
  ])
    deepStrictEqual(prepareRound(rowsOf(...order), all).rows, [long])
})

test('order depends on seed and round, not on arrival', () => {
  const samples = Array.from({ length: 20 }, (_, i) => sample('u', `t${i}`, 'h'))
  const order = (list: DistillSample[], options = all): string[] =>
    prepareRound(rowsOf(...list), options).rows.map(({ targetId }) => targetId)
  deepStrictEqual(order(samples), order(samples.toReversed()))
  notDeepStrictEqual(
    order(samples),
    samples.map(({ targetId }) => targetId),
  )
  notDeepStrictEqual(order(samples), order(samples, { ...all, seed: 2 }))
  notDeepStrictEqual(order(samples), order(samples, { ...all, round: 1 }))
})

test('an unknown item leaves the history; a row without target or history waits one round and is then dropped', () => {
  const rows = rowsOf(sample('u', 'a', 'b', 'x'), sample('v', 'x', 'b'), sample('w', 'a', 'x'))
  const first = prepareRound(rows, onlyKnown('a', 'b'))
  deepStrictEqual(first.rows, [sample('u', 'a', 'b')])
  deepStrictEqual(first.counts, { taken: 3, duplicates: 0, rows: 1, empty: 0, waiting: 2, dropped: 0, historyItemsUnknown: 1 })

  const second = prepareRound(first.waiting, { ...onlyKnown('a', 'b'), round: 1 })
  deepStrictEqual([second.rows, second.waiting, second.counts.dropped], [[], [], 2])
})

test('a row that waited trains when its item has come', () => {
  const { waiting } = prepareRound(rowsOf(sample('v', 'x', 'b')), onlyKnown('b'))
  deepStrictEqual(prepareRound(waiting, { ...onlyKnown('b', 'x'), round: 1 }).rows, [sample('v', 'x', 'b')])
})

test('a row that waited does not wait anew because it is sent again', () => {
  const sent = rowsOf(sample('v', 'x', 'b'))
  const { waiting } = prepareRound(sent, onlyKnown('b'))
  for (const rows of [
    [...waiting, ...sent],
    [...sent, ...waiting],
  ]) {
    strictEqual(prepareRound(rows, { ...onlyKnown('b'), round: 1 }).counts.dropped, 1)
  }
})

test('a liked item without history is no row and does not wait', () => {
  const { rows, waiting, counts } = prepareRound(rowsOf(sample('u', 'a')), all)
  deepStrictEqual([rows, waiting, counts.empty], [[], [], 1])
})
