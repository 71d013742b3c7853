/** Version 1: when it is founded, and that nothing is live before. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { clicks, hourMs, itemIds, items, startTs, TestProject, wantedItems } from './fixture.ts'

test('version 1 is built at the end of the round in which the counted number of items is there, its head untrained', async (t) => {
  const it = await TestProject.open(t)
  await it.feed(items(wantedItems - 1), clicks(60, startTs + 60_000, itemIds(wantedItems - 1), hourMs - 60_000))
  await it.advance(startTs + 5 * hourMs)
  strictEqual(await it.live(), null)
  await rejects(it.read(['item-0']), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
  deepStrictEqual(it.control.all('build'), [])

  await it.feed(items(1, startTs + 5.5 * hourMs, wantedItems - 1))
  strictEqual(await it.live(), null, 'the round of the last item is still open')
  await it.advance(startTs + 6 * hourMs)
  strictEqual(await it.live(), 1)
  const [build] = it.control.all('build')
  strictEqual(build!.body.cutTs, startTs + 6 * hourMs)
  strictEqual(build!.body.reason, 'bootstrap')
  ok((await it.read(itemIds(wantedItems))).every((feature) => feature !== undefined))
  const record = (await it.record(1))!
  deepStrictEqual([record.head, record.trainedUntil, record.parent], ['heads/bootstrap', 0, null])
  deepStrictEqual(it.control.all('judged'), [])
})

test('version 1 is built after bootstrapMs with fewer items than wanted, but one per code', async (t) => {
  const it = await TestProject.open(t, { changes: { refresh: { bootstrapMs: 2 * hourMs } } })
  await it.feed(items(7))
  await it.advance(startTs + 4 * hourMs)
  strictEqual(await it.live(), null, 'seven items for eight codes')
  await it.feed(items(1, startTs + 4.5 * hourMs, 7))
  await it.advance(startTs + 5 * hourMs)
  strictEqual(await it.live(), 1)
  strictEqual(it.control.all('build')[0]!.body.cutTs, startTs + 5 * hourMs)
})

test('version 1 is built at bootstrapMs, not before', async (t) => {
  const it = await TestProject.open(t, { changes: { refresh: { bootstrapMs: 2 * hourMs } } })
  await it.feed(items(12))
  await it.advance(startTs + 2 * hourMs)
  strictEqual(await it.live(), null)
  await it.advance(startTs + 3 * hourMs)
  strictEqual(await it.live(), 1)
  strictEqual(it.control.all('build')[0]!.body.cutTs, startTs + 3 * hourMs)
})

test('version 1 is built at the end marks, whatever there is', async (t) => {
  const it = await TestProject.open(t)
  await it.feed(items(3))
  strictEqual(await it.live(), null)
  await it.end()
  strictEqual(await it.live(), 1)
  ok((await it.read(itemIds(3))).every((feature) => feature?.sid.length === 2))
})
