/** Rollback and forward, writers in the rollback window, collection, pins, room. */
import { deepStrictEqual, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { contentOf, hourMs, itemIds, items, startTs, TestProject, wantedItems } from './fixture.ts'

const later = startTs + 3 * hourMs

/** Versions 1 and 2, the second live. */
async function withTwo(it: TestProject): Promise<void> {
  await it.bootstrap()
  await it.feed(items(20, startTs + hourMs, wantedItems))
  await it.advance(startTs + 2 * hourMs)
  strictEqual((await it.daemon.refresh('two')).version, 2)
}

test('back and forward: whole versions, both written while the old one may come back, and caught up after that', async (t) => {
  const it = await TestProject.open(t, {
    changes: { refresh: { rollbackWindowMs: hourMs }, semanticIds: { levels: [3, 3], churnBudget: 1 } },
  })
  await withTwo(it)
  const ids = itemIds(wantedItems + 20)
  const sids = async (): Promise<string[]> => (await it.read(ids)).map((feature) => feature!.sid.join('.'))
  const second = await sids()
  await it.daemon.versions.rollback('back')
  strictEqual(await it.live(), 1)
  const first = await sids()
  notDeepStrictEqual(first, second)
  await it.daemon.versions.activate(2, 'forward')
  strictEqual(await it.live(), 2)
  deepStrictEqual(await sids(), second)
  const repeated = await it.daemon.versions.activate(2, 'forward')
  strictEqual(repeated.outcome, 'repeated')

  await it.feed(contentOf('new', later))
  ok(await it.readOne('new', { version: 1 }))
  ok(await it.readOne('new', { version: 2 }))

  it.now += hourMs // the window of version 1 is over
  await it.daemon.versions.maintain()
  await it.feed(contentOf('newer', later + 1000))
  strictEqual(await it.readOne('newer', { version: 1 }), undefined, 'nobody writes version 1 any more')
  ok(await it.readOne('newer', { version: 2 }))

  // Before it is live again, it is brought up to date.
  await it.daemon.versions.rollback('back again')
  strictEqual(await it.live(), 1)
  ok(await it.readOne('newer'), 'the version went live without what came meanwhile')
})

test('collection waits for grace and keepVersions; a pinned version stays', async (t) => {
  const graceMs = 10_000
  const it = await TestProject.open(t, { changes: { store: { graceMs, keepVersions: 1 }, refresh: { rollbackWindowMs: 1000 } } })
  await withTwo(it)
  strictEqual((await it.daemon.refresh('three')).version, 3)
  const { store } = it.project
  const states = async (): Promise<string[]> => Promise.all([1, 2, 3].map(async (version) => (await it.record(version))!.state))
  deepStrictEqual(await states(), ['kept', 'kept', 'live'])
  await store.pin('test', 1, 'a reader', 60_000)

  it.now += graceMs - 1
  await it.daemon.versions.maintain()
  deepStrictEqual(await states(), ['kept', 'kept', 'live'])
  it.now += 2
  deepStrictEqual(await it.daemon.versions.maintain(), [])
  ok(await it.readOne('item-0', { version: 1 }), 'pinned')
  await store.unpin('test', 1, 'a reader')
  it.now += graceMs - 1
  deepStrictEqual(await it.daemon.versions.maintain(), [], 'grace counts from the last pin')
  it.now += 2
  deepStrictEqual(await it.daemon.versions.maintain(), [1])
  deepStrictEqual(await states(), ['gone', 'kept', 'live'])
  strictEqual((await store.usage('test', 1)).entries, 0)
  await rejects(it.readOne('item-0', { version: 1 }), { code: 'SIDESTREAM_VERSION_GONE' })

  it.now += 100 * graceMs
  deepStrictEqual(await it.daemon.versions.maintain(), [], 'one kept version stays for a rollback')
  await it.daemon.versions.rollback('back')
  strictEqual(await it.live(), 2)
})

test('a build that does not fit into store.maxBytes is refused with the arithmetic, before it writes', async (t) => {
  const it = await TestProject.open(t, { changes: { store: { maxBytes: 8000 } } })
  await it.bootstrap()
  strictEqual(await it.live(), 1)
  const { bytes } = await it.project.store.usage('test', 1)
  ok(bytes > 1000 && bytes < 8000)
  await it.feed(items(20, startTs + hourMs, wantedItems))
  await it.advance(startTs + 2 * hourMs)
  const used = (await it.project.store.usage('test', 1)).bytes
  const done = await it.daemon.refresh('two')
  deepStrictEqual([done.outcome, done.code], ['refused', 'SIDESTREAM_BUILD_REFUSED'])
  const [, counted, estimate, sum] = /version 1 \(live\) (\d+) \+ version 2 \(estimate\) (\d+) = (\d+) bytes/.exec(done.message) ?? []
  strictEqual(Number(counted), used)
  strictEqual(Number(counted) + Number(estimate), Number(sum))
  ok(Number(sum) > 8000 && done.message.includes('store.maxBytes 8000'), done.message)
  strictEqual((await it.project.store.usage('test', 2)).entries, 0)
  strictEqual(await it.live(), 1)
  ok(await it.readOne('item-0'))
})
