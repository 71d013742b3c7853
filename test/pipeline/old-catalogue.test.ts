/** A catalogue that is months old, an event from the far future: neither may keep the owner busy for ever. */

import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { clickOf, clicks, contentOf, hourMs, itemIds, startTs, TestProject, wantedItems } from './fixture.ts'
import { listDeadLetters } from '../../pipeline/index.ts'

const dayMs = 24 * hourMs

test('items spread over 60 days build one version, and one more after a round; empty stretches build none', async (t) => {
  const run = await TestProject.open(t, { changes: { refresh: { everyMs: 6 * hourMs } } })
  const ids = itemIds(wantedItems * 2)
  const contents = ids.map((id, i) => contentOf(id, startTs - 60 * dayMs + Math.floor((i * 60 * dayMs) / ids.length)))
  await run.feed(contents, clicks(60, startTs, ids))
  await run.end()
  const builds = run.control.all('build').map(({ body }) => body.reason)
  strictEqual(builds[0], 'bootstrap')
  strictEqual(builds.length <= 2, true, `built ${builds.join(', ')}`)
  strictEqual(run.control.all('trained').length > 0, true)
})

test('an event years ahead of the clock is set aside and closes no round', async (t) => {
  const run = await TestProject.open(t)
  const ids = itemIds(wantedItems)
  const far = clickOf('user-1', ids[0]!, run.now + 365 * dayMs)
  await run.feed(
    ids.map((id) => contentOf(id, startTs)),
    clicks(40, startTs, ids),
    far,
  )
  await run.end()
  deepStrictEqual(
    (await listDeadLetters(run.project)).map(({ code }) => code),
    ['SIDESTREAM_EVENT_IN_FUTURE'],
  )
  strictEqual(run.daemon.owner!.lanes.clock.late, 0)
})
