import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { applyInteractions, loadSequences, restoreSequence } from '../../distill/index.ts'
import type { HistoryChunk } from '../../schemas/index.ts'
import { batch, interaction, likes, SequenceState } from './sequence-state.ts'

const options = { positiveBehaviors: likes }

const historyOf = (state: SequenceState, userId: string): string[] =>
  loadSequences(new Set([userId]), state, 1000)
    .get(userId)!
    .events.map(({ itemId, eventTs }) => `${itemId}@${eventTs}`)

test('every liked item after the first gives a sample with what was liked before it', () => {
  const { samples, counts } = applyInteractions(
    batch(0n, interaction('u', 'a', 1), interaction('u', 'b', 2), interaction('v', 'z', 2), interaction('u', 'c', 3)),
    new SequenceState(),
    options,
  )
  deepStrictEqual(
    samples.map(({ userId, targetId, eventTs, history }) => [userId, targetId, eventTs, ...history]),
    [
      ['u', 'b', 2, 'a'],
      ['u', 'c', 3, 'a', 'b'],
    ],
  )
  deepStrictEqual(counts, { rows: 4, skipped: 0, duplicates: 0, expired: 0, merged: 0, added: 4, outOfOrder: 0, samples: 2 })
})

test('a user touched many times in a batch is read and written once', () => {
  const state = new SequenceState()
  const { commit } = applyInteractions(batch(0n, ...Array.from({ length: 30 }, (_, i) => interaction('u', `i${i}`, i))), state, options)
  deepStrictEqual(state.reads, ['t/u'])
  deepStrictEqual(
    commit.puts.map(([key]) => key),
    ['t/u'],
  )
  deepStrictEqual(commit.positions, [['interactions/0', 30n]])
})

test('an append touches the newest chunk alone', () => {
  const state = new SequenceState()
  state.commit(applyInteractions(batch(0n, ...Array.from({ length: 200 }, (_, i) => interaction('u', `i${i}`, i))), state, options).commit)
  const { commit, changed } = applyInteractions(batch(200n, interaction('u', 'new', 500)), state, options)
  deepStrictEqual(
    commit.puts.map(([key]) => key),
    ['t/u'],
  )
  deepStrictEqual(
    changed.map(({ chunk }) => chunk),
    [3],
  )
})

test('a batch that comes again changes nothing and makes no sample', () => {
  const state = new SequenceState()
  const rows = batch(7n, interaction('u', 'a', 1), interaction('u', 'b', 2))
  state.commit(applyInteractions(rows, state, options).commit)
  const again = applyInteractions(rows, state, options)
  deepStrictEqual(again.samples, [])
  deepStrictEqual(again.commit, { puts: [], deletes: [], positions: [['interactions/0', 9n]] })
  strictEqual(again.counts.skipped, 2)
})

test('a batch that was not committed gives the same samples and bytes again', () => {
  const state = new SequenceState()
  state.commit(applyInteractions(batch(0n, interaction('u', 'a', 1)), state, options).commit)
  const rows = batch(1n, interaction('u', 'b', 2), interaction('u', 'c', 3))
  deepStrictEqual(applyInteractions(rows, state, options), applyInteractions(rows, state, options))
})

test('a batch that reaches back before the position applies only its new rows', () => {
  const state = new SequenceState()
  const rows = [interaction('u', 'a', 1), interaction('u', 'b', 2), interaction('u', 'c', 3)]
  state.commit(applyInteractions(batch(0n, ...rows.slice(0, 2)), state, options).commit)
  const { samples, counts, commit } = applyInteractions(batch(0n, ...rows), state, options)
  deepStrictEqual(
    samples.map(({ targetId }) => targetId),
    ['c'],
  )
  strictEqual(counts.skipped, 2)
  state.commit(commit)
  deepStrictEqual(historyOf(state, 'u'), ['a@1', 'b@2', 'c@3'])
})

test('an event behind newer ones takes its place by time, and its sample sees only what was before it', () => {
  const state = new SequenceState()
  const { samples, commit, counts } = applyInteractions(
    batch(0n, interaction('u', 'a', 10), interaction('u', 'c', 30), interaction('u', 'b', 20), interaction('u', 'd', 20)),
    state,
    options,
  )
  state.commit(commit)
  deepStrictEqual(historyOf(state, 'u'), ['a@10', 'b@20', 'd@20', 'c@30'])
  deepStrictEqual(
    samples.map(({ targetId, history }) => [targetId, ...history]),
    [
      ['c', 'a'],
      ['b', 'a'],
      ['d', 'a', 'b'],
    ],
  )
  strictEqual(counts.outOfOrder, 2)
})

test('a late event in a long history keeps every chunk full and in order', () => {
  const state = new SequenceState()
  const rows = Array.from({ length: 300 }, (_, i) => interaction('u', `i${i}`, i * 10))
  state.commit(applyInteractions(batch(0n, ...rows), state, options).commit)
  state.commit(applyInteractions(batch(300n, interaction('u', 'late', 705)), state, options).commit)
  const expected = rows.map(({ itemId, eventTs }) => `${itemId}@${eventTs}`)
  expected.splice(71, 0, 'late@705')
  deepStrictEqual(historyOf(state, 'u'), expected)
})

test('the same act reported twice counts once; a later act on the same exposure is united with it', () => {
  const state = new SequenceState()
  const { samples, counts, commit } = applyInteractions(
    batch(
      0n,
      interaction('u', 'a', 1),
      interaction('u', 'b', 2, 'view'),
      interaction('u', 'b', 2, 'view'),
      interaction('u', 'b', 2, 'like'),
      interaction('u', 'b', 2, 'finish'),
      interaction('u', 'b', 2, 'view', 'like'),
    ),
    state,
    options,
  )
  deepStrictEqual(
    samples.map(({ targetId, history }) => [targetId, ...history]),
    [['b', 'a']],
  )
  deepStrictEqual([counts.added, counts.duplicates, counts.merged], [2, 2, 2])
  state.commit(commit)
  deepStrictEqual(
    loadSequences(new Set(['u']), state, 1000)
      .get('u')!
      .events.at(-1),
    {
      itemId: 'b',
      eventTs: 2,
      behaviors: ['view', 'like', 'finish'],
    },
  )
})

test('a history holds its newest events; what is older than all of them is not kept', () => {
  const state = new SequenceState()
  const limited = { ...options, sequenceEvents: 100 }
  for (let first = 0; first < 500; first += 37) {
    const rows = Array.from({ length: Math.min(37, 500 - first) }, (_, i) => interaction('u', `i${first + i}`, first + i))
    state.commit(applyInteractions(batch(BigInt(first), ...rows), state, limited).commit)
  }
  const sequence = loadSequences(new Set(['u']), state, 100).get('u')!
  deepStrictEqual(
    sequence.events.slice(sequence.start).map(({ eventTs }) => eventTs),
    Array.from({ length: 100 }, (_, i) => 400 + i),
  )
  ok(state.bytes.size <= 3, `${state.bytes.size} chunks kept for 100 events`)
  const { counts, samples, commit } = applyInteractions(batch(500n, interaction('u', 'old', 5)), state, limited)
  deepStrictEqual([counts.expired, samples.length, commit.puts.length], [1, 0, 0])
})

test('a worker that takes over restores the same histories from the changelog', () => {
  const state = new SequenceState()
  const changelog = new Map<string, HistoryChunk>()
  const limited = { ...options, sequenceEvents: 150 }
  for (let first = 0; first < 700; first += 23) {
    const rows = Array.from({ length: 23 }, (_, i) => interaction(i % 5 === 0 ? 'v' : 'u', `i${first + i}`, first + ((i * 7) % 23)))
    const { commit, changed, removed } = applyInteractions(batch(BigInt(first), ...rows), state, limited)
    state.commit(commit)
    for (const chunk of changed) changelog.set(`${chunk.userId}/${chunk.chunk}`, chunk)
    for (const { userId, chunk } of removed) changelog.delete(`${userId}/${chunk}`)
  }
  const restored = new SequenceState()
  for (const userId of ['u', 'v']) {
    const chunks = [...changelog.values()].filter((chunk) => chunk.userId === userId).reverse()
    restored.commit({ puts: restoreSequence(chunks), deletes: [], positions: [] })
  }
  deepStrictEqual(restored.bytes, state.bytes)
})

test('a history with a missing chunk is corrupt, not shorter', () => {
  const state = new SequenceState()
  state.commit(applyInteractions(batch(0n, ...Array.from({ length: 100 }, (_, i) => interaction('u', `i${i}`, i))), state, options).commit)
  state.bytes.delete([...state.bytes.keys()].find((key) => key.startsWith('c/'))!)
  throws(() => applyInteractions(batch(100n, interaction('u', 'x', 200)), state, options), { code: 'SIDESTREAM_STORE_CORRUPT' })
})
