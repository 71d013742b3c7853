/** Content whose log was compacted: every offset is still accounted for, and what is left makes the same rows. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { memoryState, openMemoryLog } from '../../connectors/index.ts'
import type { MemoryLog } from '../../connectors/index.ts'
import { OwnerLanes } from '../../pipeline/owner-lanes.ts'
import type { Project } from '../../pipeline/index.ts'
import { topics } from '../../schemas/index.ts'
import { clicks, contentOf, hourMs, items, startTs, TestProject, tombstoneOf, wantedItems } from './fixture.ts'

/** A project over a log that drops tombstones at once. */
async function open(t: TestContext): Promise<{ it: TestProject; log: MemoryLog; warnings: object[]; forward: () => void }> {
  let ahead = 0
  const log = await openMemoryLog({ deleteRetentionMs: 0, wallClock: () => Date.now() + ahead })
  t.after(() => log.close())
  await (await log.admin()).createTopics(topics.map(({ name, cleanup }) => ({ name, cleanup, partitions: 1 })))
  const warnings: object[] = []
  const wrap = (project: Project): Project => ({
    ...project,
    log,
    logger: { ...project.logger, warn: (fields) => void warnings.push(fields) },
  })
  return { it: await TestProject.open(t, { wrap }), log, warnings, forward: () => void (ahead += 30 * 24 * hourMs) }
}

interface Coverage {
  readonly next: string
  readonly rows: number
  readonly tombstones: number
  readonly poison: number
  readonly marks: number
  readonly holes: number
}

test('a version over a compacted log is ready when every offset is a row, a tombstone, poison, or a hole', async (t) => {
  const { it, log, warnings } = await open(t)
  await it.bootstrap()
  for (let edition = 1; edition < 5; edition++) {
    await it.feed(Array.from({ length: wantedItems }, (_, i) => contentOf(`item-${i}`, startTs + hourMs + edition * 1000, { edition })))
  }
  await it.feed(tombstoneOf('item-3', startTs + 2 * hourMs), tombstoneOf('item-5', startTs + 2 * hourMs))
  await log.compact('item-content')
  await log.compact('item-content')
  const before = await it.read(['item-0', 'item-3', 'item-7'])
  strictEqual((await it.daemon.refresh('two')).outcome, 'live')

  const [coverage] = (await it.record(2))!.metrics['coverage'] as Coverage[]
  const { next, rows, tombstones, poison, marks, holes } = coverage!
  const end = (await (await log.admin()).describe('item-content')).end[0]!
  strictEqual(next, String(end))
  deepStrictEqual([rows, tombstones, poison, marks], [wantedItems - 2, 0, 0, 0])
  strictEqual(holes, Number(end) - rows, 'the last records are gone: positions go to the end without them')

  const after = await it.read(['item-0', 'item-3', 'item-7'])
  deepStrictEqual(
    after.map((feature) => feature?.eventTs),
    before.map((feature) => feature?.eventTs),
  )
  strictEqual(after[1], undefined)
  deepStrictEqual(warnings, [], 'no hole is told as a gap')
})

test('an owner without state begins at the oldest record, whatever its group has committed', async (t) => {
  const { it, log } = await open(t)
  await it.feed(items(5))
  await it.daemon.stop()
  const group = `${it.project.config.project}-owner`
  strictEqual((await (await log.admin()).committed(group, 'item-content'))[0], 5n)
  const project = { ...it.project, openState: async () => memoryState() }
  const lanes = await OwnerLanes.start(
    project,
    () => {},
    (error) => {
      throw error
    },
  )
  while ([...(await lanes.lag()).values()].some((lag) => lag > 0n)) await new Promise(setImmediate)
  await lanes.stop()
  strictEqual(lanes.counts.contents, 5)
})

test('records that were removed before a role read them are counted and told', async (t) => {
  const { it, log, warnings, forward } = await open(t)
  await it.feed(items(3), clicks(10, startTs, ['item-0', 'item-1', 'item-2']))
  await it.daemon.stop()
  const samples = (await (await log.admin()).describe('distill-samples')).end[0]!
  ok(samples > 1n)
  forward()
  await log.maintain()
  const state = memoryState()
  await state.commit({ positions: [['distill-samples/0', 1n]] })
  const lanes = await OwnerLanes.start(
    { ...it.project, openState: async () => state },
    () => {},
    (error) => {
      throw error
    },
  )
  while ([...(await lanes.lag()).values()].some((lag) => lag > 0n)) await new Promise(setImmediate)
  await lanes.stop()
  strictEqual(lanes.counts.missed, Number(samples) - 1)
  deepStrictEqual(warnings, [{ role: 'distill', topic: 'distill-samples', partition: 0, expected: '1', first: String(samples) }])
})
