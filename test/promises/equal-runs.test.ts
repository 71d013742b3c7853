/** Promise: the same input twice gives an equal version, whatever the partitions and the speed of arrival. */
import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { hashUnit } from '../../compute/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { hourMs, smallConfig, smallWorld } from './small-world.ts'
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

type Teachers = Readonly<Record<string, Readonly<Record<string, number>>>>

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

test('so they do with filtered sample sets, ID embeddings, pairs and stages, whatever the partitions', async () => {
  const kinds = ['click', 'like', 'share', 'finish']
  const acts = events.flatMap((event): SourceEvent[] => {
    if (event.topic === 'item-content') {
      const { itemId, eventTs } = event
      const vector = Float32Array.of(hashUnit(1, `${itemId} ${eventTs}`), 1)
      return [event, { topic: 'id-embeddings', eventTs, record: { entity: 'item', entityId: itemId, eventTs, vector, exposures: 7 } }]
    }
    if (event.topic !== 'interactions' || !event.record.behaviors.includes('click')) return [event]
    const { userId, itemId } = event.record
    // An event that is told twice is told twice alike.
    const behaviors = kinds.filter((kind, k) => k === 0 || hashUnit(k, `${userId} ${itemId} ${kind}`) < 0.5)
    return [{ ...event, record: { ...event.record, behaviors } }]
  })
  const groups = {
    interactions: { positiveBehaviors: kinds, otherBehaviors: ['view'] },
    sequences: { sets: ['plain', 'content-single', 'content-multi', 'collaborative-single', 'collaborative-multi'], clusters: 5 },
    training: {
      batch: 64,
      warmupSteps: 10,
      learningRate: 0.01,
      teachers: { item: { dim: 2 } },
      teacherStaleMs: 6 * hourMs,
      sources: {
        plain: { set: 'plain' },
        filtered: {},
        near: { kind: 'pairs', from: 'content' },
        ids: { kind: 'ids', entities: ['item'] },
      },
      stages: [
        { name: 'content', when: 'start', sources: ['near'], hardNegatives: 2, maskInBatch: true },
        { name: 'together', balance: 'tasks', balanceTemperature: 1 },
      ],
    },
  }
  const first = await run({ partitions: 3, groups, events: acts })
  strictEqual(first.late, 0)
  ok(first.rounds.some(({ rows, losses }) => rows > 100 && losses.length > 1))
  ok(first.rounds.some(({ teachers }) => ['present', 'stale'].every((what) => (teachers as Teachers)['item']![what]! > 0)))
  deepStrictEqual(await run({ partitions: 1, groups, events: acts, mostBehind: 40 }), first)
})
