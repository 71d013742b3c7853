/** Promise: the same input twice gives an equal version, whatever the partitions and the speed of arrival. */
import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { hashUnit } from '../../compute/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { smallConfig, smallWorld } from './small-world.ts'
import { runWorld } from './world-run.ts'
import type { RunOptions, RunOutcome } from './world-run.ts'

const events = smallWorld()

async function run(changes: { partitions: number; seed?: number; groups?: object } & Partial<RunOptions>): Promise<RunOutcome> {
  const { directory, remove } = await scratchDirectory()
  const { partitions, seed = 1, groups = {}, ...options } = changes
  try {
    return await runWorld({ config: smallConfig({ dataDir: directory, partitions, seed }, groups), name: 'equal-runs', events, ...options })
  } finally {
    await remove()
  }
}

const digests = ({ versions }: RunOutcome): string[] => versions.map(({ digest }) => digest)

test('equal input gives equal versions, with 1 or 3 partitions, fed slowly or at once; another seed gives others', async (t) => {
  const first = await run({ partitions: 3 })
  deepStrictEqual(
    first.versions.map(({ version, reason }) => ({ version, reason })),
    [
      { version: 1, reason: 'bootstrap' },
      { version: 2, reason: 'scheduled' },
      { version: 3, reason: 'command' },
    ],
  )
  strictEqual(new Set(digests(first)).size, 3)
  strictEqual(first.late, 0)
  strictEqual(first.deadLetters, 0)
  strictEqual(first.judged.length, 2)
  ok(first.rounds.length >= 20 && first.rounds.every(({ losses }) => losses.every((loss) => Number.isFinite(loss))))

  await t.test('the same again, all at once in large batches', async () => {
    deepStrictEqual(await run({ partitions: 3, batchRows: 2000, mostBehind: Infinity }), first)
  })
  await t.test('with 1 partition', async () => {
    deepStrictEqual(await run({ partitions: 1, mostBehind: 40 }), first)
  })
  await t.test('with another seed every version differs', async () => {
    const other = await run({ partitions: 3, seed: 2 })
    strictEqual(other.versions.length, first.versions.length)
    for (const [i, digest] of digests(other).entries()) notStrictEqual(digest, digests(first)[i])
  })
})

test('so they do with the filtered sample sets, whatever the partitions', async () => {
  const kinds = ['click', 'like', 'share', 'finish']
  const acts = events.map((event) => {
    if (event.topic !== 'interactions' || !event.record.behaviors.includes('click')) return event
    // An event that is told twice is told twice alike.
    const behaviors = kinds.filter((kind, k) => k === 0 || hashUnit(k, `${event.record.userId} ${event.record.itemId} ${kind}`) < 0.5)
    return { ...event, record: { ...event.record, behaviors } }
  })
  const groups = {
    interactions: { positiveBehaviors: kinds, otherBehaviors: ['view'] },
    sequences: { sets: ['plain', 'content-single', 'content-multi', 'collaborative-single', 'collaborative-multi'], clusters: 5 },
  }
  const first = await run({ partitions: 3, groups, events: acts })
  strictEqual(first.late, 0)
  ok(first.rounds.some(({ rows, losses }) => rows > 100 && losses.length > 1))
  deepStrictEqual(await run({ partitions: 1, groups, events: acts, mostBehind: 40 }), first)
})
