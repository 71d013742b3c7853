import { deepStrictEqual, notStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { SampleBuilder, sampleKey, samplesFromInteractions } from '../../distill/index.ts'
import type { Interaction } from '../../schemas/index.ts'
import { interaction, likes } from './sequence-state.ts'

const options = { positiveBehaviors: likes }

async function historiesOf(...interactions: Interaction[]): Promise<string[][]> {
  const rows: string[][] = []
  for await (const { targetId, history } of samplesFromInteractions(interactions, options)) rows.push([targetId, ...history])
  return rows
}

test('all earlier occurrences of the target leave its history', async () => {
  deepStrictEqual(
    await historiesOf(interaction('u', 'a', 1), interaction('u', 'b', 2), interaction('u', 'a', 3), interaction('u', 'a', 4)),
    [
      ['b', 'a'],
      ['a', 'b'],
      ['a', 'b'],
    ],
  )
})

test('a first liked item gives no sample, unless empty histories are asked for', () => {
  strictEqual(new SampleBuilder(options).add(interaction('u', 'a', 1)), undefined)
  deepStrictEqual(new SampleBuilder({ ...options, emptyHistories: true }).add(interaction('u', 'a', 1))?.history, [])
})

test('items that were only looked at are no targets and no history', async () => {
  deepStrictEqual(await historiesOf(interaction('u', 'a', 1), interaction('u', 'b', 2, 'view'), interaction('u', 'c', 3)), [['c', 'a']])
})

test('exposures of an item are united: liked once, it stands where it was last seen', async () => {
  deepStrictEqual(
    await historiesOf(interaction('u', 'a', 1), interaction('u', 'b', 2), interaction('u', 'a', 3, 'view'), interaction('u', 'c', 4)),
    [
      ['b', 'a'],
      ['c', 'b', 'a'],
    ],
  )
})

test('what happened after the target is not seen, though it arrived before', async () => {
  deepStrictEqual(await historiesOf(interaction('u', 'a', 1), interaction('u', 'z', 9), interaction('u', 'b', 5)), [
    ['z', 'a'],
    ['b', 'a'],
  ])
})

test('among equal times the earlier offset comes first', async () => {
  deepStrictEqual(await historiesOf(interaction('u', 'a', 5), interaction('u', 'b', 5), interaction('u', 'c', 5)), [
    ['b', 'a'],
    ['c', 'a', 'b'],
  ])
})

test('a history is cut to its newest ten items', async () => {
  const rows = await historiesOf(...Array.from({ length: 15 }, (_, i) => interaction('u', `i${i}`, i)))
  deepStrictEqual(rows.at(-1), ['i14', ...Array.from({ length: 10 }, (_, i) => `i${4 + i}`)])
})

test('the key of a sample names source, user, target and time, and nothing else', () => {
  const sample = { kind: 'sample', source: 'seq2item', userId: 'u', targetId: 'a', eventTs: 7, history: ['b'] } as const
  strictEqual(sampleKey(sample), '259212172acf021c0d2f9818ef26958c')
  const otherHistory = { ...sample, history: ['c'] }
  strictEqual(sampleKey(otherHistory), sampleKey(sample))
  for (const other of [{ source: 'x' }, { userId: 'ua', targetId: '' }, { targetId: 'b' }, { eventTs: 8 }]) {
    notStrictEqual(sampleKey({ ...sample, ...other }), sampleKey(sample))
  }
})

const marked = { ...options, positiveBehaviors: new Set(['like', 'finish', 'share']), marks: { candidates: 20 } }

test('marks unite the kinds of all exposures of an item before the target, and those of the target up to its own', () => {
  const builder = new SampleBuilder(marked)
  builder.add(interaction('u', 'a', 1, 'like'))
  builder.add(interaction('u', 't', 2, 'finish'))
  builder.add(interaction('u', 'a', 3, 'finish', 'view'))
  builder.add(interaction('u', 'b', 4, 'share'))
  builder.add(interaction('u', 'a', 9, 'share')) // after the target
  deepStrictEqual(builder.add(interaction('u', 't', 5, 'like'))?.marks, Uint8Array.of(2, 0))
  deepStrictEqual(builder.add(interaction('u', 'z', 10, 'like', 'share'))?.marks, Uint8Array.of(0, 0, 3))
})

test('with marks a history reaches as many liked items back as there are candidates', () => {
  const builder = new SampleBuilder(marked)
  for (let i = 0; i < 40; i++) builder.add(interaction('u', `i${i}`, i, i % 2 === 0 ? 'like' : 'view'))
  const sample = builder.add(interaction('u', 't', 50))
  strictEqual(sample?.history.length, 20)
  strictEqual(sample.marks?.length, 20)
  deepStrictEqual([sample.history[0], sample.history.at(-1)], ['i0', 'i38'])
})
