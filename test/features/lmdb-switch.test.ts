import { deepStrictEqual, ok } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { openLmdbStore } from '../../connectors/index.ts'
import { FeatureReader, activate, collectVersions, listVersions, rollback } from '../../features/index.ts'
import { project, readyVersion, writeItems } from './fixture.ts'

test('on LMDB, readers beside writes, switches, rollbacks and a collection see one whole version per request', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-'))
  let now = 1_000
  const store = await openLmdbStore({ directory, clock: () => now })
  t.after(async () => {
    await store.close()
    await rm(directory, { recursive: true, force: true })
  })
  const ids = Array.from({ length: 200 }, (_, i) => `item-${i}`)
  for (const version of [1, 2, 3]) {
    await readyVersion(store, version, version === 1 ? null : version - 1)
    for (const view of ['main', 'short']) await writeItems(store, version, view, ids, version)
    now += 100
    await activate(store, project, { version, commandId: `first-${version}` })
  }
  let switching = true
  const seen = new Map<number, number>()
  const readers = [1, 2, 3].map(async () => {
    const reader = new FeatureReader({ store, project })
    while (switching) {
      const { version, views } = await reader.readViews(['main', 'short'], ids)
      const marks = new Set(views.flatMap((features) => features.map((feature) => feature?.sid[0])))
      deepStrictEqual([...marks], [version])
      seen.set(version, (seen.get(version) ?? 0) + 1)
      await new Promise(setImmediate)
    }
  })
  for (let round = 0; round < 6; round++) {
    now += 100
    await rollback(store, project, `back-${round}`)
    await writeItems(store, 3, 'other', ids, round)
    await activate(store, project, { version: 3, commandId: `forth-${round}` })
  }
  now += 1_000_000
  deepStrictEqual(await collectVersions(store, project, { keepVersions: 1, graceMs: 0, rollbackWindowMs: 0 }), [1])
  switching = false
  await Promise.all(readers)
  ok(seen.has(2) && seen.has(3))
  deepStrictEqual(
    (await listVersions(store, project)).map(({ state }) => state),
    ['gone', 'kept', 'live'],
  )
})
