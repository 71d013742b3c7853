import { deepStrictEqual, notDeepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { prepareRound, RoundRows } from '../../distill/index.ts'
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

function rowsOf(...samples: DistillSample[]): RoundRows {
  const rows = new RoundRows()
  for (const each of samples) rows.add(0, each)
  return rows
}

test('a sample that comes twice is one row', () => {
  const rows = rowsOf(sample('u', 'a', 'b'), sample('u', 'a', 'b'))
  strictEqual(rows.duplicates, 1)
  deepStrictEqual(prepareRound(rows.take(0), all).rows, [sample('u', 'a', 'b')])
  deepStrictEqual(rows.take(0), [])
})

test('of two samples with one key the same is kept whichever came first', () => {
  const [long, short] = [sample('u', 'a', 'b', 'c'), sample('u', 'a', 'b')]
  for (const order of [
    [long, short],
    [short, long],
  ])
    deepStrictEqual(prepareRound(rowsOf(...order).take(0), all).rows, [long])
})

test('order depends on seed and round, not on arrival', () => {
  const samples = Array.from({ length: 20 }, (_, i) => sample('u', `t${i}`, 'h'))
  const order = (list: DistillSample[], options = all): string[] =>
    prepareRound(rowsOf(...list).take(0), options).rows.map(({ targetId }) => targetId)
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
  const first = prepareRound(rows.take(0), onlyKnown('a', 'b'))
  deepStrictEqual(first.rows, [sample('u', 'a', 'b')])
  deepStrictEqual(first.counts, { taken: 3, rows: 1, empty: 0, waiting: 2, dropped: 0, historyItemsUnknown: 1 })

  rows.wait(1, first.waiting)
  const second = prepareRound(rows.take(1), { ...onlyKnown('a', 'b'), round: 1 })
  deepStrictEqual([second.rows, second.waiting, second.counts.dropped], [[], [], 2])
})

test('a row that waited trains when its item has come', () => {
  const rows = rowsOf(sample('v', 'x', 'b'))
  rows.wait(1, prepareRound(rows.take(0), onlyKnown('b')).waiting)
  deepStrictEqual(prepareRound(rows.take(1), { ...onlyKnown('b', 'x'), round: 1 }).rows, [sample('v', 'x', 'b')])
})

test('a row that waited does not wait anew because it is sent again', () => {
  const rows = rowsOf(sample('v', 'x', 'b'))
  rows.wait(1, prepareRound(rows.take(0), onlyKnown('b')).waiting)
  rows.add(1, sample('v', 'x', 'b'))
  strictEqual(prepareRound(rows.take(1), { ...onlyKnown('b'), round: 1 }).counts.dropped, 1)
})

test('a liked item without history is no row and does not wait', () => {
  const { rows, waiting, counts } = prepareRound(rowsOf(sample('u', 'a')).take(0), all)
  deepStrictEqual([rows, waiting, counts.empty], [[], [], 1])
})
