/** The tiktok-mm protocol on a world small enough to rank by hand. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { evaluatePopularity, evaluateTikTok, loadTikTok, modalityDim, sideBySide, type TikTok } from '../../examples/tiktok-mm/protocol.ts'
import { trainingRows } from '../../examples/tiktok-mm/setup.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'

/** 25 items at angles 0, 3, 6, … degrees. */
const items = 25
const vectors = Float32Array.from({ length: items * 2 }, (_, at) => {
  const angle = (Math.floor(at / 2) * 3 * Math.PI) / 180
  return at % 2 === 0 ? Math.cos(angle) : Math.sin(angle)
})

function world(pairs: Record<'train' | 'valid' | 'test', readonly (readonly [number, readonly number[]])[]>): TikTok {
  const counts = new Int32Array(items)
  for (const [, own] of pairs.train) for (const item of own) counts[item]!++
  return {
    items,
    train: new Map(pairs.train),
    valid: new Map(pairs.valid),
    test: new Map(pairs.test),
    counts,
    vectors: { image: vectors, audio: vectors },
    statistics: undefined as never,
  }
}

const tiktok = world({
  train: [
    [0, [0]],
    [1, [24, 10]],
    [2, [10]],
    [3, [5, 10]],
  ],
  valid: [[0, [2]]],
  test: [
    [0, [21, 24]],
    [2, [1]],
  ],
})

test('recall counts the first 20 without train and valid items; AUC leaves out all that the user has', async () => {
  const scores = await evaluateTikTok(tiktok, { vectors, dim: 2 }, 'test')
  // User 0 stands at 0 degrees: without 0 and 2, item 21 is 20th and item 24 is 23rd. User 2 at item 10: items 11 and 9 down to
  // 19 and 1 come first, item 1 as 17th or 18th.
  strictEqual(scores.recall20, (0.5 + 1) / 2)
  // Weights: item 10 three, 5, 24 and 0 one each. User 0 has 0 and 24, so item 21 loses to 5 and 10: 0. Item 24 the same.
  // User 2 has 10 and 1: of 0, 5 and 24, item 1 is nearer than 0 and 24.
  ok(Math.abs(scores.pop - (0 + 0 + 2 / 3) / 3) < 1e-9)
  // Items 21 and 1 have no train pair.
  ok(Math.abs(scores.popCold - (0 + 2 / 3) / 2) < 1e-9)
})

test('valid items are ranked when they are what is asked for', async () => {
  const scores = await evaluateTikTok(tiktok, { vectors, dim: 2 }, 'valid')
  strictEqual(scores.recall20, 1)
})

test('ranking by train pairs knows nothing of cold items', () => {
  strictEqual(evaluatePopularity(tiktok, 'test').popCold, 0)
})

test('every train pair of a user with two items is a target once a pass, with all other items as history, drawn anew', () => {
  const own = Array.from({ length: 12 }, (_, i) => i)
  const train = new Map([
    [7, own],
    [8, [3]],
  ])
  const [first, second] = [trainingRows({ train }, 0, 0), trainingRows({ train }, 0, 1)]
  deepStrictEqual(
    first.map(({ targetId }) => Number(targetId)),
    own,
  )
  for (const { targetId, history } of [...first, ...second]) {
    deepStrictEqual(
      [...history, targetId].map(Number).sort((a, b) => a - b),
      own,
    )
  }
  ok(first.some(({ history }, i) => history.join() !== second[i]!.history.join()))
  deepStrictEqual(trainingRows({ train }, 0, 0), first)
  ok(trainingRows({ train }, 1, 0).some(({ history }, i) => history.join() !== first[i]!.history.join()))
})

test('files are read as they come; side by side has modalities of unit length', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const floats = (scale: number): Uint8Array =>
    new Uint8Array(Float32Array.from({ length: 3 * modalityDim }, (_, at) => scale * Math.sin(1 + at)).buffer)
  await writeFile(join(directory, 'image128.f32'), floats(1))
  await writeFile(join(directory, 'audio128.f32'), floats(5))
  await writeFile(join(directory, 'train.csv'), 'user,item\n0,1\n0,2\n4,1\n')
  await writeFile(join(directory, 'valid.csv'), 'user,item\n4,2\n')
  await writeFile(join(directory, 'test.csv'), 'user,item\n0,0\n')
  const read = await loadTikTok(directory)
  deepStrictEqual([...read.counts], [0, 2, 1])
  deepStrictEqual(read.train.get(0), [1, 2])
  strictEqual(read.statistics.image.rows, 2)
  const both = sideBySide([read.vectors.image, read.vectors.audio])
  strictEqual(both.dim, 2 * modalityDim)
  for (let at = 0; at < both.vectors.length; at += modalityDim) {
    ok(Math.abs(Math.hypot(...both.vectors.subarray(at, at + modalityDim)) - 1) < 1e-6)
  }
})
